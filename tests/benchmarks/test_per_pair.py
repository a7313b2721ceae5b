"""SP-SA as published, on all pairs: the same numbers as `sp_sa`, and how many times slower."""

import pytest
import torch

from . import per_pair
from .conditions import Condition
from .layers import executes, layer, tokens, work
from .pairs import ratios
from .per_pair import HIDDEN, WANTED, PerPair, pairs
from .record import record

SMALL = Condition((3, 5), 2, "training")


@pytest.fixture
def both():
    """The two forms on shared parameters, and x, in float64; the prior of each head is far from constant."""
    ours = layer("sp_sa", SMALL, 48).double()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(std=0.3)
    return ours, PerPair(ours), tokens(SMALL, 48).detach().double().requires_grad_()


def outcome(module, x):
    """The output, and the gradients of x and of all parameters."""
    out = module(x, SMALL.grid)
    above = torch.randn(out.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(3))
    named = dict(module.named_parameters())
    grads = torch.autograd.grad(out, [x, *named.values()], above)
    return out, dict(zip(["x", *(name.rpartition(".")[2] + str(tuple(p.shape)) for name, p in named.items())], grads,
                         strict=True))  # fmt: skip


def test_per_pair_is_sp_sa_in_outputs_and_gradients(both):
    ours, published, x = both
    (mine, my_grads), (theirs, their_grads) = outcome(ours, x), outcome(published, x)
    torch.testing.assert_close(theirs, mine, rtol=1e-10, atol=1e-12)
    assert len(their_grads) == 9
    assert their_grads.keys() == my_grads.keys()
    for name, grad in their_grads.items():
        assert grad.abs().max() > 0, name
        torch.testing.assert_close(grad, my_grads[name], rtol=1e-9, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}")


def test_the_comparison_sees_an_offset_the_wrong_way_round(both, monkeypatch):
    ours, published, x = both
    monkeypatch.setattr(per_pair, "pairs", lambda *args: -pairs(*args))
    assert (published(x, SMALL.grid) - ours(x, SMALL.grid)).abs().max() > 1e-3


@pytest.mark.parametrize("at", WANTED, ids=str)
def test_against_per_pair(benchmark, rounds, at):
    """`sp_sa` over the published form; a third of the rounds, since the difference is large."""
    real, dim = at, 384
    if benchmark.disabled:
        at, dim = Condition((4, 3), 2, at.mode), 48
    ours, x = layer(f"sp_sa[hidden={HIDDEN}]", at, dim), tokens(at, dim)
    with ours.keep_terms():
        found = ratios(benchmark, work(ours, x, at), work(PerPair(ours), x, at), max(1, rounds // 3))
    record(
        benchmark, found, variant="sp_sa", baseline="per pair", condition=f"{real}-over-per-pair",
        target=1 / WANTED[real], short=False, grid=f"{at.grid[0]}x{at.grid[1]}", batch=at.batch, mode=at.mode,
        backend=executes(ours, x, at), counters={},
    )  # fmt: skip
