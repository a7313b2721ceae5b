"""tiled takes exp of the scores as they are; where a row would lose digits by it, it takes the usual way."""

import pytest
import torch

from variants import backends
from variants.backends import tiled

from .published.agreement import WIDE, agree, drawn, rejected, tokens


def computed(size, shift, backend, dtype=torch.float32):
    """The output and the gradients of q, k, v and the tables: q is `size` times as large, the bias `shift` more."""
    torch.manual_seed(0)
    attention = drawn("sp_sa+psa", WIDE, backend=backend).to(dtype)
    x = tokens(WIDE, batch=3).to(dtype)
    q, k, v = (t.detach().requires_grad_() for t in attention.project(x, WIDE))
    terms = attention.terms(q, WIDE)
    terms = type(terms)(terms.grid, prior=terms.prior, bias=tuple(table + shift for table in terms.bias))
    out = backends.BACKENDS[backend](size * q, k, v, terms)
    parameters = [p for p in attention.relation.parameters() if p.requires_grad]
    return [out.detach(), *torch.autograd.grad(out.square().sum(), [q, k, v, *parameters])]


SCORES = [(1, 0), (10, 0), (100, 0), (1, 300), (1, -300), (10, -5000)]


def as_near_as_eager(size, shift):
    """In float32 tiled is at most three times as far from float64 as the plain formula is."""
    exact = computed(size, shift, "eager", torch.float64)
    eager, found = computed(size, shift, "eager"), computed(size, shift, "tiled")
    for one, two, truth in zip(found, eager, exact, strict=True):
        far = float((two.double() - truth).abs().max() / truth.abs().max())
        agree(one, truth, tolerance=3 * far + 1e-6)


@pytest.mark.parametrize(("size", "shift"), SCORES)
def test_no_size_of_scores_costs_digits(size, shift):
    as_near_as_eager(size, shift)


@pytest.mark.parametrize(("size", "shift"), SCORES[2:])
def test_exp_alone_would_cost_them(size, shift, monkeypatch):
    monkeypatch.setattr(tiled, "_safe", lambda sums: True)
    with rejected():
        as_near_as_eager(size, shift)


def test_a_row_that_is_no_number_stays_one():
    attention, x = drawn("sp_sa", WIDE, backend="tiled"), tokens(WIDE)
    x[0, 3] = torch.nan
    out = attention(x, WIDE)
    assert out[0].isnan().all()
    assert out[1].isfinite().all()
