"""swin, cswin, window: who sees whom, against brute force; Swin as a whole against timm's and torchvision's blocks."""

import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock, WindowAttention
from torchvision.models.swin_transformer import ShiftedWindowAttention

from variants import SpatialRelation, build, geometry, windows

from . import oracles
from .agreement import (
    HEAD_DIM,
    SQUARE,
    WIDE,
    WIDTH,
    agree,
    agrees_with_equation,
    at,
    drawn,
    on,
    rejected,
    sized,
    tokens,
)
from .seen import kept, mask_agrees, mask_rejected

CPU = torch.device("cpu")
SPECS = [
    "swin[window=1]", "swin[window=2]", "swin[window=3]", "swin[window=4]", "swin[window=9]", "cswin[stripe=1]",
    "cswin[stripe=2]", "cswin[stripe=3]", "window[height=0,width=0]", "window[height=1,width=1]",
    "window[height=0,width=2]", "window[dx=1,dy=-1,height=1,width=1]", "window[dy=2,height=0,width=1]",
]  # fmt: skip


@pytest.mark.proof("the equation by loops", "{spec}")
@at("prefix", 0, 1)
@at("layer", 0, 1)
@on(SQUARE, WIDE)
@pytest.mark.parametrize("spec", SPECS)
def test_windows_are_the_equation(spec, grid, layer, prefix):
    agrees_with_equation(spec, grid, prefix, layer=layer)


@pytest.mark.parametrize("spec", ["swin[window=2]", "cswin[stripe=2]", "window[height=1,width=2]"])
@at("layer", 0, 1)
def test_at_another_resolution_the_window_keeps_its_size(spec, layer):
    agrees_with_equation(spec, (5, 6), trained_at=SQUARE, layer=layer)


# Masks against brute force: every pair, every head.


GRIDS = [SQUARE, WIDE, (6, 9), (7, 5), (1, 6), (8, 8)]


@at("layer", 0, 1, 2, 3)
@at("window", 1, 2, 3, 4, 5, 7)
@on(*GRIDS)
def test_swin_keeps_the_pairs_of_pad_roll_and_region_mask(grid, window, layer):
    shift = window // 2 if layer % 2 else 0
    mask_agrees(kept(f"swin[window={window}]", grid, layer=layer), oracles.swin_seen(window, shift, grid), grid)


@at("stripe", 1, 2, 3, 7)
@at("heads", 1, 2, 3, 4)
@on(*GRIDS)
def test_cswin_keeps_vertical_stripes_in_the_first_half_of_the_heads(grid, heads, stripe):
    mask_agrees(kept(f"cswin[stripe={stripe}]", grid, heads=heads), oracles.cswin_seen(stripe, heads), grid)


@at("centre", (0, 0), (1, 0), (0, -1), (2, -3), (9, 9))
@at("box", (0, 0), (1, 1), (0, 2), (3, 1), (9, 9))
@on(SQUARE, WIDE)
def test_window_keeps_the_box_and_every_patch_itself(grid, box, centre):
    (height, width), (dy, dx) = box, centre
    found = kept(f"window[dx={dx},dy={dy},height={height},width={width}]", grid)
    mask_agrees(found, oracles.window_seen(width, height, dy, dx), grid)


WRONG_MASKS = {
    "swin, shift dropped": ("swin[window=4]", 1, oracles.swin_seen(4, 0, (8, 12))),
    "swin, shift by the window": ("swin[window=4]", 1, oracles.swin_seen(4, 1, (8, 12))),
    "swin, shifted in even layers": ("swin[window=4]", 0, oracles.swin_seen(4, 2, (8, 12))),
    "swin, window off by one": ("swin[window=4]", 0, oracles.swin_seen(3, 0, (8, 12))),
    "swin, no region mask": (
        "swin[window=4]",
        1,
        lambda h, q, k: all((a - 2) % n // 4 == (b - 2) % n // 4 for a, b, n in zip(q, k, (8, 12), strict=True)),
    ),
    "cswin, horizontal half first": ("cswin[stripe=2]", 0, lambda h, q, k: oracles.cswin_seen(2, 4)(3 - h, q, k)),
    "cswin, axes swapped": ("cswin[stripe=2]", 0, lambda h, q, k: oracles.cswin_seen(2, 4)(h, q[::-1], k[::-1])),
    "window, strict inequality": ("window[height=2,width=2]", 0, oracles.window_seen(1, 1, 0, 0)),
    "window, axes swapped": ("window[height=1,width=2]", 0, oracles.window_seen(1, 2, 0, 0)),
    "window, sign of the shift": ("window[dy=1,height=1,width=1]", 0, oracles.window_seen(1, 1, -1, 0)),
    "window, shifts exchanged": ("window[dy=1,height=1,width=1]", 0, oracles.window_seen(1, 1, 0, 1)),
}


@pytest.mark.parametrize(("spec", "layer", "seen"), WRONG_MASKS.values(), ids=WRONG_MASKS)
def test_brute_force_rejects_a_wrong_mask(spec, layer, seen):
    with mask_rejected():
        mask_agrees(kept(spec, (8, 12), layer=layer), seen, (8, 12))


# Groups, dense mask, roll: three ways to the same numbers.


class Dense(SpatialRelation):
    """A mask over all pairs, and no groups."""

    def __init__(self, site, seen):
        super().__init__(site)
        self.seen = seen

    def mask(self, qy, qx, ky, kx, grid):
        at = oracles.places(grid)
        pairs = [[[self.seen(h, q, k) for k in at] for q in at] for h in range(self.site.num_heads)]
        return torch.tensor(pairs)


def groups_agree(spec, grid, seen, *, layer=0, prefix=0):
    """Grouped windows against a dense mask, and (without prefix tokens) against plain attention inside each group."""
    attention, x = drawn(spec, grid, layer=layer), tokens(grid, prefix)
    grouped = attention(x, grid)
    q, k, v = attention.project(x, grid)
    groups = attention.relation.groups(grid).expand(4, -1)
    attention.relation = Dense(attention.site, seen)
    agree(grouped, attention(x, grid))
    if prefix == 0:
        out = torch.zeros_like(v)
        for h in range(4):
            for group in groups[h].unique():
                (of,) = (groups[h] == group).nonzero(as_tuple=True)
                inside = (q[:, h, of] @ k[:, h, of].mT * HEAD_DIM**-0.5).softmax(-1) @ v[:, h, of]
                out[:, h, of] = inside
        agree(grouped, attention.proj(out.transpose(1, 2).flatten(2)))


@at("prefix", 0, 1)
@at("layer", 0, 1)
@at("window", 2, 3)
@on(SQUARE, WIDE, (6, 6))
def test_swin_in_groups_is_swin_by_a_dense_mask(grid, window, layer, prefix):
    seen = oracles.swin_seen(window, window // 2 if layer else 0, grid)
    groups_agree(f"swin[window={window}]", grid, seen, layer=layer, prefix=prefix)


@at("prefix", 0, 1)
@on(SQUARE, WIDE)
def test_cswin_in_groups_is_cswin_by_a_dense_mask(grid, prefix):
    groups_agree("cswin[stripe=2]", grid, oracles.cswin_seen(2, 4), prefix=prefix)


def test_a_dense_mask_of_other_windows_is_rejected():
    with rejected():
        groups_agree("swin[window=2]", SQUARE, oracles.swin_seen(2, 0, SQUARE), layer=1)
    with rejected():
        groups_agree("cswin[stripe=2]", SQUARE, oracles.cswin_seen(1, 4))


def shifted_agrees_with_roll(grid, window, *, shift=None, back=None, regions=True):
    """Roll by -shift, attend in unshifted windows with the mask of the 9 regions, roll back."""
    attention, x = drawn(f"swin[window={window}]", grid, layer=1), tokens(grid)
    shift = window // 2 if shift is None else shift
    region = torch.zeros(grid, dtype=torch.long)
    for n, rows in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
        for m, columns in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
            region[rows, columns] = 3 * n + m
    y, x_ = (c.view(grid) for c in geometry.coordinates(grid))
    label = (y // window * 100 + x_ // window) * 10 + (region if regions else 0)
    rolled = x.unflatten(1, grid).roll((-shift, -shift), (1, 2)).flatten(1, 2)
    q, k, v = attention.project(rolled, grid)
    same = label.flatten()[:, None] == label.flatten()
    out = (q @ k.mT * HEAD_DIM**-0.5).masked_fill(~same, -torch.inf).softmax(-1) @ v
    out = attention.proj(out.transpose(1, 2).flatten(2)).unflatten(1, grid)
    back = shift if back is None else back
    agree(attention(x, grid), out.roll((back, back), (1, 2)).flatten(1, 2))


@pytest.mark.proof("roll, region mask and roll back", "swin")
@pytest.mark.parametrize(
    ("grid", "window"), [((4, 4), 2), ((4, 6), 2), ((6, 9), 3), ((8, 12), 4), ((10, 15), 5)], ids=sized
)
def test_a_shifted_window_is_roll_region_mask_and_roll_back(grid, window):
    shifted_agrees_with_roll(grid, window)


@pytest.mark.parametrize(
    "error",
    [{"shift": 1}, {"back": -2}, {"back": 0}, {"regions": False}],
    ids=["other shift", "rolled back the wrong way", "not rolled back", "no region mask"],
)
def test_roll_with_an_error_is_rejected(error):
    with rejected():
        shifted_agrees_with_roll((8, 12), 4, **error)


# Swin as published: windows and a table of biases, query minus key there.


def _flipped(table):
    return table.flip(-2, -1)


def _table_of(attention, change):
    """[(2M-1)^2, H] of our [H, 2M-1, 2M-1]."""
    (table,) = attention.relation.parts[1].tables
    return change(table).flatten(1).T.detach().contiguous()


def agrees_with_timms_block(grid, window, *, layer, heads=4, change=_flipped, shift=None):
    """The whole block: norm, shifted window attention, residual, norm, MLP, residual."""
    attention = drawn(f"swin[window={window}]+rpe_2d[extent={window},mode=bias]", grid, heads=heads, layer=layer)
    shift = (window // 2 if layer % 2 else 0) if shift is None else shift
    block = SwinTransformerBlock(WIDTH, grid, num_heads=heads, window_size=window, shift_size=shift).double().eval()
    block.attn.qkv.load_state_dict(attention.qkv.state_dict())
    block.attn.proj.load_state_dict(attention.proj.state_dict())
    block.attn.relative_position_bias_table.data = _table_of(attention, change)
    x = tokens(grid)
    agree(attention(x, grid), block._attn(x.unflatten(1, grid)).flatten(1, 2))
    ours = x + attention(block.norm1(x), grid)
    ours = ours + block.mlp(block.norm2(ours))
    agree(ours, block(x.unflatten(1, grid)).flatten(1, 2))


def agrees_with_torchvision(grid, window, *, layer, heads=4, change=_flipped, shift=None):
    attention = drawn(f"swin[window={window}]+rpe_2d[extent={window},mode=bias]", grid, heads=heads, layer=layer)
    shift = (window // 2 if layer % 2 else 0) if shift is None else shift
    other = ShiftedWindowAttention(WIDTH, [window, window], [shift, shift], heads).double().eval()
    other.qkv.load_state_dict(attention.qkv.state_dict())
    other.proj.load_state_dict(attention.proj.state_dict())
    other.relative_position_bias_table.data = _table_of(attention, change)
    x = tokens(grid)
    agree(attention(x, grid), other(x.unflatten(1, grid)).flatten(1, 2))


REFERENCES = pytest.mark.parametrize(
    "agrees",
    [agrees_with_timms_block, agrees_with_torchvision],
    ids=["timm SwinTransformerBlock", "torchvision ShiftedWindowAttention"],
)


@pytest.mark.proof("timm's SwinTransformerBlock and torchvision's ShiftedWindowAttention", "swin")
@REFERENCES
@pytest.mark.parametrize("layer", [0, 1, 2, 3], ids=lambda n: f"layer {n}, {'shifted' if n % 2 else 'not shifted'}")
@pytest.mark.parametrize(
    ("grid", "window"),
    [((4, 4), 2), ((4, 6), 2), ((6, 9), 3), ((8, 4), 4), ((8, 12), 4), ((14, 7), 7), ((3, 3), 3)],
    ids=sized,
)
def test_swin_with_a_table_is_the_published_block(agrees, grid, window, layer):
    agrees(grid, window, layer=layer)


@REFERENCES
@at("layer", 0, 1)
@pytest.mark.parametrize(("side", "heads"), [(28, 6), (14, 12), (7, 24)], ids=["stage 2", "stage 3", "stage 4"])
def test_swin_with_a_table_is_the_published_block_at_the_settings_of_swin_t(agrees, side, heads, layer):
    agrees((side, side), 7, layer=layer, heads=heads)


@pytest.mark.parametrize(("side", "heads", "stripe"), [(56, 2, 1), (28, 4, 2), (14, 8, 7), (7, 16, 7)])
def test_cswin_at_the_settings_of_cswin_t(side, heads, stripe):
    """Half of the heads see whole columns, `stripe` wide, the others whole rows."""
    groups = build(f"cswin[stripe={stripe}]", heads * 4, heads, grid=(side, side)).relation.groups((side, side))
    places = torch.arange(side * side)
    for head, found in enumerate(groups):
        expected = (places % side if head < heads // 2 else places // side) // stripe
        assert torch.equal(found, expected)
        assert (torch.bincount(found) == side * stripe).all()


@at("layer", 0, 1)
def test_swin_at_the_setting_of_the_first_stage_of_swin_t(layer):
    """56x56 patches in windows of 7, rolled by 3 in odd layers: the regions of Swin's own mask."""
    groups = build("swin[window=7]", 12, 3, grid=(56, 56), layer=layer).relation.groups((56, 56))[0].view(56, 56)
    shift = 3 * layer
    rolled = groups.roll((-shift, -shift), (0, 1)).unflatten(0, (8, 7)).unflatten(2, (8, 7)).transpose(1, 2)
    numbers = [set(window.flatten().tolist()) for row in rolled for window in row]
    assert [len(found) for found in numbers] == [
        (2 if layer and row == 7 else 1) * (2 if layer and column == 7 else 1)
        for row in range(8)
        for column in range(8)
    ]
    assert sum(map(len, numbers)) == len(set.union(*numbers))


@REFERENCES
@at("heads", 1, 2, 8)
def test_swin_with_a_table_is_the_published_block_for_any_number_of_heads(agrees, heads):
    agrees((4, 6), 2, layer=1, heads=heads)


@REFERENCES
@pytest.mark.parametrize(
    "error",
    [
        {"change": lambda t: t},
        {"change": lambda t: t.flip(-2, -1).mT},
        {"change": lambda t: t.flip(0, 1, 2)},
        {"shift": 0},
        {"shift": 1},
    ],
    ids=[
        "table not flipped",
        "axes of the table swapped",
        "heads of the table reversed",
        "shift dropped",
        "other shift",
    ],
)
def test_the_published_block_rejects_an_error(agrees, error):
    with rejected():
        agrees((8, 12), 4, layer=1, **error)


@REFERENCES
def test_the_published_block_rejects_a_shift_in_even_layers(agrees):
    with rejected():
        agrees((8, 12), 4, layer=0, shift=2)


@at("window", 2, 3, 4)
def test_one_window_is_timms_WindowAttention(window):
    grid = (window, window)
    attention = drawn(f"swin[window={window}]+rpe_2d[extent={window},mode=bias]", grid, layer=1)
    other = WindowAttention(WIDTH, 4, window_size=grid).double()
    other.qkv.load_state_dict(attention.qkv.state_dict())
    other.proj.load_state_dict(attention.proj.state_dict())
    x = tokens(grid)
    other.relative_position_bias_table.data = _table_of(attention, _flipped)
    agree(attention(x, grid), other(x))
    other.relative_position_bias_table.data = _table_of(attention, lambda t: t)
    with rejected():
        agree(attention(x, grid), other(x))


def test_on_a_ragged_grid_it_is_torchvisions_where_the_region_mask_cuts_the_padding_off():
    agrees_with_torchvision((3, 5), 2, layer=1)


def test_on_a_ragged_grid_torchvision_lets_zero_padding_take_part_and_this_does_not():
    """A named departure: the last window is smaller. The pairs of real patches are the same, see the masks above."""
    with rejected():
        agrees_with_torchvision((3, 5), 2, layer=0)


# The window that `auto` takes.


def _largest_window(h, w):
    fitting = [m for m in range(2, 8) if h % m == 0 and w % m == 0 and not (m == h and m == w)]
    return (max(fitting),) * 2 if fitting else (min(7, h), min(7, w))


def test_auto_is_the_largest_divisor_up_to_7_that_is_smaller_than_the_grid():
    for h in range(1, 30):
        for w in range(1, 30):
            assert windows.auto_window((h, w)) == _largest_window(h, w)
    assert [windows.auto_window((n, n))[0] for n in (4, 7, 8, 14, 24, 28, 56)] == [2, 7, 4, 7, 6, 7, 7]


@on((4, 4), (3, 5), (8, 12), (14, 14), (7, 14))
def test_auto_is_the_named_window(grid):
    (height, width) = _largest_window(*grid)
    seen = oracles.cswin_seen
    stripes = (max(1, height // 2), max(1, width // 2))
    mask_agrees(kept("cswin", grid), lambda h, q, k: seen(stripes[h < 2], 4)(h, q, k), grid)
    if height == width:
        for layer in (0, 1):
            assert torch.equal(kept("swin", grid, layer=layer), kept(f"swin[window={height}]", grid, layer=layer))


@pytest.mark.parametrize("spec", ["swin", "swin[window=3]", "cswin", "cswin[stripe=2]"])
@on(*GRIDS)
def test_groups_partition_the_grid_into_boxes(spec, grid):
    """Symmetric, transitive, with every patch in it; every group is a rectangle of patches."""
    found = kept(spec, grid, layer=1)
    assert found.diagonal(dim1=1, dim2=2).all()
    assert torch.equal(found, found.mT)
    assert torch.equal(found, (found.double() @ found.double()) > 0)
    y, x = geometry.coordinates(grid)
    for row in found.flatten(0, 1):
        height, width = (int(c[row].max() - c[row].min() + 1) for c in (y, x))
        assert height * width == int(row.sum())
