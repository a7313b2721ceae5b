"""The exact counters count exactly: closed forms, repetitions, and SP-SA's memory beside plain attention's."""

import pytest
import torch

from .conditions import HEADS, Condition
from .counters import counters, graph_breaks, saved_bytes
from .layers import layer, tokens

AT = Condition((4, 3), 2, "training")


def test_counters_of_a_layer_are_the_closed_forms_and_stay_the_same():
    dim, n = 8 * HEADS, 12
    sa, x = layer("sa", AT, dim), tokens(AT, dim)
    found = counters(sa, x, AT.grid)
    assert found["gmac"] == pytest.approx((4 * n * dim**2 + 2 * n**2 * dim) / 1e9)
    assert found["params"] == 4 * dim**2 + 4 * dim
    assert counters(sa, x, AT.grid) == found
    assert sa.training
    assert counters(sa.eval(), x, AT.grid).keys() == {"gmac", "params", "graph_breaks"}
    assert not sa.training
    with_prior = counters(layer("sp_sa", AT, dim), x, AT.grid)
    assert with_prior["params"] - found["params"] == HEADS * (4 * 32 + 1)
    assert with_prior["gmac"] > found["gmac"]


def test_saved_bytes_count_a_storage_once_and_no_parameter():
    class Product(torch.nn.Linear):
        def forward(self, x, grid):
            y = super().forward(x)  # keeps x, and the weight, which is a parameter
            return y[:2] * y[2:]  # keeps two views of one storage

    product, x = Product(8, 8, bias=False), torch.randn(4, 8, requires_grad=True)
    assert saved_bytes(product, x, (1, 1)) == 4 * (4 * 8 + 4 * 8)


def test_a_planted_graph_break_is_counted():
    class Breaks(torch.nn.Module):
        def forward(self, x, grid):
            y = x + 1
            torch._dynamo.graph_break()
            return y + 1

    class Whole(torch.nn.Module):
        def forward(self, x, grid):
            return x + 2

    x = torch.zeros(2)
    assert graph_breaks(Whole(), x, (1, 1)) == 0
    assert graph_breaks(Breaks(), x, (1, 1)) == 1


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("grid", [(7, 7), (14, 14)], ids=str)
def test_sp_sa_keeps_hardly_more_for_the_backward_than_fused_attention(grid, batch):
    """In tiles, whatever the batch; `auto` takes the plain formula for the smallest, which is then the faster."""
    at = Condition(grid, batch, "training")
    x = tokens(at)
    plain, prior = layer("sa", at), layer("sp_sa", at)
    plain.backend, prior.backend = "sdpa", "tiled"
    assert saved_bytes(prior, x, grid) <= 1.1 * saved_bytes(plain, x, grid)
    prior.backend = "eager"
    assert saved_bytes(prior, x, grid) > 1.1 * saved_bytes(plain, x, grid)
