"""rel_bias: timm's RelPosBias, Swin's attention and block, BEiT's bias; the geometric resampling; how it starts."""

import numpy as np
import pytest
import torch
from timm.layers import RelPosBias, resize_rel_pos_bias_table
from timm.models import beit
from timm.models.swin_transformer import SwinTransformerBlock, WindowAttention, get_relative_position_index

from variants import build, geometry, rel_bias

from .agreement import HEAD_DIM, SQUARE, WIDE, WIDTH, agree, agrees_with_equation, drawn, on, rejected, sized, tokens
from .initial import is_normal, layer

SCALE = HEAD_DIM**-0.5


def _flipped(table):
    """To timm's order: query minus key, row by row, heads last."""
    return table.flip(-2, -1).flatten(1).T.detach()


def _as_it_is(table):
    return table.flatten(1).T.detach()


def agrees_with_RelPosBias(grid, change=_flipped):
    attention = drawn("rel_bias", grid)
    other = RelPosBias(grid, 4).double()
    other.relative_position_bias_table.data = change(attention.relation.tables[0])
    q, k, _ = attention.project(tokens(grid), grid)
    agree(attention.weights(q, k, grid), other(q @ k.mT * SCALE).softmax(-1))


@pytest.mark.proof("timm's RelPosBias", "rel_bias")
@on(SQUARE, WIDE, (6, 2))
def test_rel_bias_equals_timms_RelPosBias(grid):
    agrees_with_RelPosBias(grid)


@on(SQUARE, WIDE)
def test_timms_RelPosBias_rejects_an_unflipped_table(grid):
    with rejected():
        agrees_with_RelPosBias(grid, _as_it_is)


def agrees_with_swin(window, change=_flipped, extent=None):
    """One window: swin does nothing there; the whole module, projections too."""
    attention = drawn(f"swin[window={window}]+rel_bias[extent={extent or window}]", (window, window))
    other = WindowAttention(WIDTH, 4, window_size=window).double()
    for name in ("qkv", "proj"):
        getattr(other, name).load_state_dict(getattr(attention, name).state_dict())
    other.relative_position_bias_table.data = change(attention.relation.parts[1].tables[0])
    x = tokens((window, window))
    agree(attention(x, (window, window)), other(x))


@pytest.mark.proof("timm's Swin WindowAttention", "rel_bias")
@pytest.mark.parametrize("window", [2, 4, 5], ids=sized)
def test_swin_and_rel_bias_equal_timms_WindowAttention(window):
    agrees_with_swin(window)


def test_timms_WindowAttention_rejects_an_unflipped_table():
    with rejected():
        agrees_with_swin(4, _as_it_is)


def agrees_with_a_block(grid, window, layer, shift):
    """Windows, shift, mask and table of a whole SwinTransformerBlock, its norms and MLP out of the way."""
    attention = drawn(f"swin[window={window}]+rel_bias[extent={window}]", grid, layer=layer)
    block = SwinTransformerBlock(WIDTH, grid, num_heads=4, window_size=window, shift_size=shift).double().eval()
    block.norm1 = block.norm2 = block.mlp = torch.nn.Identity()
    for name in ("qkv", "proj"):
        getattr(block.attn, name).load_state_dict(getattr(attention, name).state_dict())
    block.attn.relative_position_bias_table.data = _flipped(attention.relation.parts[1].tables[0])
    x = tokens(grid)
    images = x.unflatten(1, grid)
    agree(attention(x, grid), (block._attn(images)).flatten(1, 2))


@pytest.mark.proof("timm's SwinTransformerBlock", "rel_bias")
@pytest.mark.parametrize(("grid", "window"), [((6, 6), 3), ((4, 8), 4), ((8, 4), 2)], ids=sized)
@pytest.mark.parametrize("layer", [0, 1])
def test_swin_and_rel_bias_equal_timms_block_with_its_shift(grid, window, layer):
    agrees_with_a_block(grid, window, layer, window // 2 if layer else 0)


def test_timms_block_rejects_a_window_that_is_not_shifted():
    with rejected():
        agrees_with_a_block((6, 6), 3, 1, 0)


def agrees_with_beit(grid, change=_flipped):
    """BEiT's own index; its last three entries are for pairs with the class token."""
    attention = drawn("rel_bias[init=beit]", grid)
    other = beit.RelativePositionBias(grid, 4).double()
    patches = change(attention.relation.tables[0])
    other.relative_position_bias_table.data = torch.cat([patches, torch.randn(3, 4, dtype=torch.float64)])
    terms = attention.terms(tokens(grid), grid)
    agree(geometry.to_pairs(terms.bias[0], grid), other()[..., 1:, 1:].reshape(4, *(2 * [grid[0] * grid[1]])))


@pytest.mark.proof("timm's BEiT RelativePositionBias", "rel_bias")
@on(SQUARE, WIDE)
def test_rel_bias_equals_timms_BEiT_among_the_patches(grid):
    agrees_with_beit(grid)
    with rejected():
        agrees_with_beit(grid, _as_it_is)


def test_the_index_of_swin_is_query_minus_key():
    assert get_relative_position_index(2, 2)[0].tolist() == [4, 3, 1, 0]  # of the query (0, 0)


# BEiT's resampling.


def resampled_agrees_with_timm(old, new, change=lambda t: t, tolerance=1e-5):
    """timm works in fp32 and finds q to 1e-6."""
    attention = drawn("rel_bias[resampling=geometric]", old)
    table = attention.relation.tables[0].detach().clone()
    h, w = (2 * side - 1 for side in new)
    expected = resize_rel_pos_bias_table(_flipped(table), new, (h * w, 4), old).T.unflatten(1, (h, w)).flip(-2, -1)
    terms = attention.terms(tokens(new), new)
    agree(change(terms.bias[0]), expected, tolerance)
    attention.resample(new)
    agree(attention.relation.tables[0], expected, tolerance)


@pytest.mark.proof("timm's resize_rel_pos_bias_table", "rel_bias")
@pytest.mark.parametrize(("old", "new"), [((4, 4), (7, 7)), ((3, 5), (6, 8)), ((7, 7), (12, 9)), ((6, 6), (4, 3))])
def test_geometric_resampling_equals_timms(old, new):
    resampled_agrees_with_timm(old, new)


def test_timms_resampling_rejects_bicubic_and_a_transposed_table(monkeypatch):
    with rejected():
        resampled_agrees_with_timm((4, 4), (7, 7), lambda t: t.mT)
    monkeypatch.setattr(rel_bias, "geometric", lambda t, grid: geometry.resample(t, (2 * grid[0] - 1, 2 * grid[1] - 1)))
    with rejected():
        resampled_agrees_with_timm((4, 4), (7, 7))


def test_geometric_places_grow_by_one_factor_up_to_the_new_border_and_keep_the_nearest():
    """A table of 4x4 at 5x5: 1 + q + q^2 = 4, so entries lie at 1, 2.30 and 4."""
    table = torch.arange(7.0, dtype=torch.float64).repeat(4, 7, 1)
    found = rel_bias.geometric(table, (5, 5))[0, 4]
    q = (-1 + 13**0.5) / 2
    expected = np.interp(range(5), [0, 1, 1 + q, 1 + q + q * q], [3, 4, 5, 6])
    agree(found[4:], expected, 1e-6)
    agree(found, 6 - found.flip(0), 1e-9)


@pytest.mark.parametrize("spec", ["rel_bias", "rel_bias[resampling=geometric]"])
def test_on_an_unseen_grid_the_centre_is_kept_and_the_own_grid_is_left_alone(spec):
    attention = drawn(spec, WIDE)
    table = attention.relation.tables[0].detach()
    for grid in ((6, 7), (2, 3), (3, 9), (1, 1)):
        found = attention.relation.bias(geometry.offsets(grid))
        (found,) = found if isinstance(found, tuple) else (found,)
        agree(found[:, grid[0] - 1, grid[1] - 1], table[:, 2, 4])
    agrees_with_equation(spec, WIDE)


# How it starts, and what is refused.


def test_swins_table_starts_normal_and_beits_at_zero():
    is_normal(layer("rel_bias").relation.tables[0], 0.02)
    is_normal(layer("rel_bias[extent=7]").relation.tables[0], 0.02)
    assert not layer("rel_bias[init=beit]").relation.tables[0].any()


def test_with_beits_zeros_it_starts_as_plain_attention_exactly():
    x, found = torch.randn(2, 15, 24), {}
    for spec in ("sa", "rel_bias[init=beit]", "rel_bias"):
        torch.manual_seed(0)
        found[spec] = build(spec, 24, 4, grid=WIDE, backend="eager")(x, WIDE)
    assert torch.equal(found["sa"], found["rel_bias[init=beit]"])
    assert not torch.equal(found["sa"], found["rel_bias"])


def test_its_table_has_the_published_number_of_entries_and_does_not_decay():
    assert drawn("rel_bias", (14, 14)).relation.tables[0].numel() == 729 * 4
    attention = drawn("swin[window=7]+rel_bias[extent=7]", (14, 14))
    assert attention.relation.parts[1].tables[0].numel() == 169 * 4
    assert attention.no_weight_decay() == {"relation.parts.1.tables.0"}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("rel_bias[extent=0]", r"rel_bias\[extent=0\] covers no offset"),
        ("rel_bias[extent=3,resampling=geometric]", "clipped and never resampled"),
        ("rel_bias[init=normal]", "init is swin or beit"),
        ("rel_bias[mode=query]", "has no setting 'mode'"),
    ],
)
def test_what_it_refuses_is_a_sentence(spec, says):
    with pytest.raises(ValueError, match=says):
        build(spec, WIDTH, 4, grid=WIDE)
