"""alibi_2d: the slopes of any number of heads by hand, CROMA's loop over points, errors on purpose."""

import itertools
import math

import pytest
import torch

from variants import alibi, build, geometry

from .agreement import SQUARE, WIDE, agree, agrees_with_equation, at, on, rejected
from .biases import SLOPES


@at("heads", *SLOPES)
def test_the_slopes_are_those_by_hand(heads):
    agree(alibi.head_slopes(heads), SLOPES[heads])


@at("heads", 5, 7, 9, 11, 16, 24)
def test_any_number_of_heads_has_as_many_slopes_all_different_and_below_1(heads):
    slopes = alibi.head_slopes(heads)
    assert len(set(slopes)) == heads
    assert all(0 < slope < 1 for slope in slopes)


def croma(heads, side):
    """CROMA's bias, point by point: [H, N, N]."""
    points = list(itertools.product(range(side), range(side)))
    slopes = torch.tensor(SLOPES[heads], dtype=torch.float64)
    rows = [[-slopes * math.sqrt((a - c) ** 2 + (b - d) ** 2) for c, d in points] for a, b in points]
    return torch.stack([torch.stack(row) for row in rows]).movedim(-1, 0)


def agrees_with_croma(heads, side):
    attention = build("alibi_2d", 12 * heads, heads, grid=(side, side)).double()
    terms = attention.terms(torch.zeros(1, 1, 1, dtype=torch.float64), (side, side))
    agree(geometry.to_pairs(terms.bias[0], (side, side)), croma(heads, side))


@pytest.mark.proof("CROMA's loop", "alibi_2d")
@at("heads", 1, 3, 4, 6, 12)
def test_the_bias_is_cromas_at_every_pair(heads):
    agrees_with_croma(heads, 4)


def _every_second(heads):
    lower = 1 << heads.bit_length() - 1
    return alibi._slopes(lower) + alibi._slopes(2 * lower)[1::2][: heads - lower]


PLANTED = {
    "linear slopes": (4, lambda heads: [(h + 1) / heads for h in range(heads)]),
    "base 2^-8 for every head": (4, lambda heads: [2.0 ** -(8 + h) for h in range(heads)]),
    "heads in another order": (4, lambda heads: SLOPES[heads][::-1]),
    "numbered from 0": (4, lambda heads: [2.0 ** (-8 * h / heads) for h in range(heads)]),
    "the formula for powers of two with six heads": (6, lambda heads: [2.0 ** (-8 * h / heads) for h in range(1, 7)]),
    "every second slope from the second": (6, _every_second),
}


@pytest.mark.parametrize(("heads", "slopes"), PLANTED.values(), ids=PLANTED)
def test_other_slopes_are_rejected(heads, slopes, monkeypatch):
    monkeypatch.setattr(alibi, "head_slopes", slopes)
    with rejected():
        agrees_with_croma(heads, 3)


@pytest.mark.parametrize("order", [1, float("inf")])
def test_another_distance_is_rejected(order, monkeypatch):
    true = torch.linalg.vector_norm
    monkeypatch.setattr(torch.linalg, "vector_norm", lambda x, **k: true(x, ord=order, **k))
    with rejected():
        agrees_with_equation("alibi_2d", SQUARE)


def test_a_reward_for_looking_far_is_rejected(monkeypatch):
    true = alibi.head_slopes
    monkeypatch.setattr(alibi, "head_slopes", lambda heads: [-m for m in true(heads)])
    with rejected():
        agrees_with_equation("alibi_2d", SQUARE)


@on(WIDE, (2, 6))
def test_it_has_nothing_to_learn_and_the_same_punishment_on_any_grid(grid):
    attention = build("alibi_2d", 24, 4, grid=SQUARE)
    assert not list(attention.relation.parameters())
    bias = attention.relation.bias(geometry.offsets(grid))
    h, w = grid
    agree(bias[:, h - 1, w], [-m for m in SLOPES[4]])  # the right neighbour
    assert not bias[:, h - 1, w - 1].any()
