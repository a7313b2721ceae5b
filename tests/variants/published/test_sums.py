"""Sums of relations: priors multiply, the rest adds, windows and masks intersect; and what inference keeps."""

import pytest
import torch

from variants import backends, relation
from variants.attention import Attention

from .agreement import SQUARE, WIDE, agree, agrees_with_equation, at, by_loops, drawn, on, rejected, tokens

SUMS = [
    "sp_sa[hidden=4]+sp_sa[form=linear]",
    "sp_sa[hidden=4]+sp_sa[combine=add,hidden=3]",
    "psa+rpe_2d[mode=bias]",
    "rpe_1d[values=True]+rpe_2d[values=True]",
    "swin[window=2]+cswin[stripe=2]",
    "swin[window=2]+swin[window=3]",
    "cswin[stripe=3]+window[height=1,width=1]",
    "window[dy=1,height=1,width=1]+window[height=1,width=2]",
    "sp_sa[hidden=4]+psa+rpe_2d[factorized=True,values=True]+swin[window=3]",
    "sp_sa[hidden=4]+gpsa+swin[window=2]",
]


@at("layer", 0, 1)
@at("prefix", 0, 1)
@on(SQUARE, WIDE)
@pytest.mark.parametrize("spec", SUMS)
def test_a_sum_is_the_equations_together(spec, grid, prefix, layer):
    agrees_with_equation(spec, grid, prefix, layer=layer)


def _groups(pair):
    """Groups of a sum, paired by another rule."""

    def groups(self, grid):
        first, second = (part.groups(grid) for part in self.parts)
        return pair(first, second)

    return groups


@pytest.mark.parametrize(
    "pair",
    [lambda a, b: a + b, lambda a, b: a + 0 * b, lambda a, b: b + 0 * a],
    ids=["numbers added", "second dropped", "first dropped"],
)
def test_windows_that_do_not_intersect_are_rejected(pair, monkeypatch):
    monkeypatch.setattr(relation.Composed, "groups", _groups(pair))
    with rejected():
        agrees_with_equation("swin[window=2]+swin[window=3]", (6, 6))


def test_priors_that_add_are_rejected(monkeypatch):
    monkeypatch.setattr(backends.eager, "total_prior", lambda terms: sum(terms.prior) if terms.prior else None)
    with rejected():
        agrees_with_equation("sp_sa[hidden=4]+sp_sa[form=linear]", SQUARE)


def inference_agrees_after_each_change(spec):
    """In inference: on one grid, on another, back again, with other weights, and in training once more."""
    attention = drawn(spec, SQUARE).eval()
    with torch.no_grad():
        for grid in (SQUARE, (3, 4), SQUARE):
            x = tokens(grid, 1)
            agree(attention(x, grid), by_loops(attention, spec, x, grid)[0])
        for parameter in attention.parameters():
            parameter.mul_(1.5)
        agree(attention(x, SQUARE), by_loops(attention, spec, x, SQUARE)[0])
    agree(attention(x, SQUARE), by_loops(attention, spec, x, SQUARE)[0])


@pytest.mark.parametrize("spec", ["sp_sa[hidden=4]", "psa", "gpsa", "rpe_2d[extent=3]", "rpe_1d", "swin[window=2]"])
def test_what_inference_keeps_is_never_stale(spec):
    inference_agrees_after_each_change(spec)


def test_stale_terms_are_rejected(monkeypatch):
    kept = {}

    def stale(self, compute, *key):
        if (id(self), key) not in kept:
            kept[id(self), key] = compute()
        return kept[id(self), key]

    monkeypatch.setattr(Attention, "once", stale)
    with rejected():
        inference_agrees_after_each_change("sp_sa[hidden=4]")
