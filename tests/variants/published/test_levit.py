"""levit: timm's levit.Attention as a whole; the table of distances at other resolutions; how it starts."""

import pytest
import torch
from timm.models import levit as timm_levit
from torch import nn

from variants import build, geometry, levit

from .agreement import HEAD_DIM, SQUARE, WIDE, WIDTH, agree, at, drawn, on, rejected, tokens


def _no_norm(linear_norm):
    """LeViT's Linear without the batch norm after it: mean 0, variance and weight such that nothing is left of it."""
    for name, value in (("running_mean", 0.0), ("running_var", 1 - linear_norm.bn.eps), ("weight", 1.0)):
        getattr(linear_norm.bn, name).data.fill_(value)


def agrees_with_levit(grid, change=lambda table: table):
    """Its qkv is ordered head by head; its activation and projection are out of the way."""
    attention = drawn("levit", grid)
    other = timm_levit.Attention(WIDTH, HEAD_DIM, num_heads=4, attn_ratio=1, resolution=grid).double()
    other.eval()  # which returns nothing there
    _no_norm(other.qkv)
    order = torch.arange(3 * WIDTH).view(3, 4, HEAD_DIM).transpose(0, 1).flatten()
    other.qkv.linear.weight.data = attention.qkv.weight.detach()[order]
    other.qkv.bn.bias.data = attention.qkv.bias.detach()[order]
    other.attention_biases.data = change(attention.relation.table.detach()).flatten(1)
    attention.proj = other.proj = nn.Identity()
    x = tokens(grid)
    agree(attention(x, grid), other(x))


@pytest.mark.proof("timm's levit.Attention", "levit")
@on(SQUARE, WIDE, (6, 2))
def test_levit_equals_timms_attention_as_a_whole(grid):
    agrees_with_levit(grid)


PLANTED = {
    "no table": lambda table: 0 * table,
    "rows and columns exchanged": lambda table: table.mT,
    "far and near exchanged": lambda table: table.flip(1, 2),
    "off by one row": lambda table: table.roll(1, 1),
    "heads rolled": lambda table: table.roll(1, 0),
}


@pytest.mark.parametrize("change", PLANTED.values(), ids=PLANTED)
def test_timms_attention_rejects_another_table(change):
    with rejected():
        agrees_with_levit(SQUARE, change)


def test_the_bias_is_the_same_to_either_side():
    (bias,) = drawn("levit", WIDE).terms(tokens(WIDE), WIDE).bias
    agree(bias, bias.flip(-1))
    agree(bias, bias.flip(-2))
    with rejected():
        agree(bias, bias.roll(1, -1))


@at("grid", (6, 7), (2, 3), (3, 9), (1, 1))
def test_on_another_grid_it_is_the_resampled_table_still_mirrored_and_resample_keeps_it(grid):
    attention = drawn("levit", WIDE)
    h, w = grid
    expected = geometry.resample(levit.mirrored(attention.relation.table.detach()), (2 * h - 1, 2 * w - 1))
    (bias,) = attention.terms(tokens(grid), grid).bias
    agree(bias, expected)
    agree(bias, bias.flip(-2, -1))
    agree(bias[:, h - 1, w - 1], attention.relation.table[:, 0, 0])
    attention.resample(grid)
    assert attention.relation.table.shape == (4, h, w)
    (after,) = attention.terms(tokens(grid), grid).bias
    agree(after, bias)


def test_it_starts_as_plain_attention_exactly_has_an_entry_for_each_distance_and_does_not_decay():
    x, found = torch.randn(2, 15, WIDTH), {}
    for spec in ("sa", "levit"):
        torch.manual_seed(0)
        found[spec] = build(spec, WIDTH, 4, grid=WIDE, backend="eager")
    assert torch.equal(found["sa"](x, WIDE), found["levit"](x, WIDE))
    assert found["levit"].relation.table.shape == (4, 3, 5)
    assert found["levit"].no_weight_decay() == {"relation.table"}
