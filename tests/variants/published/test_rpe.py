"""rpe_1d and rpe_2d: learned tables of the relative position, against loops, timm's PosEmbedRel, SAM and RelPosBias."""

import pytest
import torch
from timm.layers import RelPosBias, bottleneck_attn, halo_attn
from timm.models import vision_transformer_sam as sam
from torch import nn

from variants import backends, geometry, rpe

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

SCALE = HEAD_DIM**-0.5
RPE_1D = ["rpe_1d", "rpe_1d[mode=bias]", "rpe_1d[values=True]", "rpe_1d[mode=bias,values=True]"]
RPE_2D = [
    f"rpe_2d[extent={extent},factorized={factorized},mode={mode},values={values}]"
    for mode in ("query", "bias")
    for factorized in (False, True)
    for extent in ("grid", 2, 4)
    for values in (False, True)
]


@pytest.mark.proof("the equation by loops", "{spec}")
@at("prefix", 0, 1)
@on(SQUARE, WIDE)
@pytest.mark.parametrize("spec", RPE_1D + RPE_2D)
def test_rpe_is_the_equation(spec, grid, prefix):
    """extent=2 clips on both grids; extent=4 spans 4x4 and more than the rows of 3x5."""
    agrees_with_equation(spec, grid, prefix)


@pytest.mark.parametrize("spec", [s for s in RPE_2D if "extent=grid" not in s])
def test_at_another_resolution_a_table_with_an_extent_is_clipped(spec):
    agrees_with_equation(spec, (2, 6), trained_at=SQUARE)


@pytest.mark.parametrize("spec", RPE_1D)
@on((2, 3), (4, 5))
def test_at_another_resolution_the_line_of_rpe_1d_is_stretched(spec, grid):
    agrees_with_equation(spec, grid, 1, trained_at=SQUARE)


@on((1, 5), (5, 1), (1, 1))
@pytest.mark.parametrize(
    "spec", ["rpe_1d", "rpe_1d[mode=bias]", "rpe_2d", "rpe_2d[mode=bias]", "rpe_2d[factorized=True]"]
)
def test_rpe_is_the_equation_on_a_line_of_patches(spec, grid):
    agrees_with_equation(spec, grid, 1) if grid != (1, 1) else _on_one_patch(spec)


def _on_one_patch(spec):
    attention, x = drawn(spec, (1, 1)), tokens((1, 1))
    _, _, v = attention.project(x, (1, 1))
    agree(attention.attend(*attention.project(x, (1, 1)), (1, 1)), v)  # one key: the value, whatever the logit


def _steps(change):
    """rpe_1d whose step is another function of (dy, dx, h, w)."""

    def flattened(table, offsets):
        h, w = geometry.grid_of(offsets)
        dy, dx = torch.arange(1 - h, h)[:, None], torch.arange(1 - w, w)
        step = change(dy, dx, h, w).clamp(1 - h * w, h * w - 1)
        return table.squeeze(-2).index_select(-1, (step + h * w - 1).flatten()).unflatten(-1, step.shape)

    return flattened


WRONG_STEPS = {
    "column by column": _steps(lambda dy, dx, h, w: dx * h + dy),
    "the height for the width": _steps(lambda dy, dx, h, w: dy * h + dx),
    "query minus key": _steps(lambda dy, dx, h, w: -dy * w - dx),
    "off by one": _steps(lambda dy, dx, h, w: dy * w + dx + 1),
    "stride of the offsets, 2w-1": _steps(lambda dy, dx, h, w: dy * (2 * w - 1) + dx),
}


@pytest.mark.parametrize("flattened", WRONG_STEPS.values(), ids=WRONG_STEPS)
@pytest.mark.parametrize("spec", RPE_1D)
def test_a_wrong_step_of_rpe_1d_is_rejected(spec, flattened, monkeypatch):
    monkeypatch.setattr(rpe, "flattened", flattened)
    with rejected():
        agrees_with_equation(spec, WIDE)


def _wrapped(table, offsets, extent=None):
    """Beyond the extent the other border, as an index modulo its size reads."""
    h, w = geometry.grid_of(offsets)
    for axis, side in ((-2, h), (-1, w)):
        table = table.index_select(axis, (torch.arange(1 - side, side) + extent - 1) % table.shape[axis])
    return table


def test_an_extent_that_wraps_around_is_rejected(monkeypatch):
    monkeypatch.setattr(geometry, "lookup", _wrapped)
    with rejected():
        agrees_with_equation("rpe_2d[extent=2]", SQUARE)


def test_position_scores_that_are_not_scaled_are_rejected(monkeypatch):
    true = backends.eager.contextual
    monkeypatch.setattr(backends.eager, "contextual", lambda q, *args: true(q * q.shape[-1] ** 0.5, *args))
    for spec in ("rpe_1d", "rpe_2d"):
        with rejected():
            agrees_with_equation(spec, WIDE)


# BoTNet's decomposed embedding in timm: key minus query, as here; unscaled unless scale_pos_embed.


def _vectors(attention):
    """rows [2h-1, D], columns [2w-1, D] of rpe_2d[factorized=True]."""
    rows, columns = attention.relation.tables
    return rows[0, :, :, 0].T, columns[0, :, 0, :].T


def position_scores(attention, q, grid):
    """[B, H, N, N]: the part of the logits that the tables bring."""
    terms = attention.terms(q, grid)
    return backends.eager.logits(q, torch.zeros_like(q), terms)


def _turned(t):
    return t.flip(0)


def factorized_agrees_with_timms_embedding(grid, change=lambda t: t, scale=None):
    attention = drawn("rpe_2d[factorized=True]", grid)
    q, _, _ = attention.project(tokens(grid), grid)
    rows, columns = _vectors(attention)
    other = bottleneck_attn.PosEmbedRel(grid, dim_head=HEAD_DIM, scale=1.0).double()
    other.height_rel.data, other.width_rel.data = change(rows).detach(), change(columns).detach()
    expected = other(q.flatten(0, 1)).unflatten(0, q.shape[:2])
    agree(position_scores(attention, q, grid), expected * (SCALE if scale is None else scale))


@on(SQUARE, WIDE, (6, 2))
def test_factorized_scores_are_timms_bottleneck_PosEmbedRel(grid):
    factorized_agrees_with_timms_embedding(grid)


@on(SQUARE, WIDE)
def test_timms_bottleneck_PosEmbedRel_rejects_flipped_tables_and_a_forgotten_scale(grid):
    with rejected():
        factorized_agrees_with_timms_embedding(grid, _turned)
    with rejected():
        factorized_agrees_with_timms_embedding(grid, scale=1.0)


def _convolution(linear):
    return linear.weight[..., None, None].detach(), linear.bias.detach()


def bottleneck_agrees(grid, *, change=lambda t: t, scale_pos_embed=True):
    """The whole module: its 1x1 convolution is our qkv, it has no projection."""
    attention = drawn("rpe_2d[factorized=True]", grid)
    attention.proj = nn.Identity()
    other = bottleneck_attn.BottleneckAttn(
        WIDTH, feat_size=grid, num_heads=4, dim_head=HEAD_DIM, qkv_bias=True, scale_pos_embed=scale_pos_embed
    ).double()
    other.qkv.weight.data, other.qkv.bias.data = _convolution(attention.qkv)
    rows, columns = _vectors(attention)
    other.pos_embed.height_rel.data, other.pos_embed.width_rel.data = change(rows).detach(), change(columns).detach()
    x = tokens(grid)
    image = x.mT.unflatten(2, grid)
    agree(attention(x, grid), other(image).flatten(2).mT)


@pytest.mark.proof("timm's BottleneckAttn", "rpe_2d")
@on(SQUARE, WIDE)
def test_factorized_is_timms_BottleneckAttn_as_a_whole(grid):
    bottleneck_agrees(grid)
    bottleneck_agrees(grid, change=lambda t: t * SCALE, scale_pos_embed=False)


@on(SQUARE, WIDE)
def test_timms_BottleneckAttn_rejects_flipped_tables_and_another_scale(grid):
    with rejected():
        bottleneck_agrees(grid, change=_turned)
    with rejected():
        bottleneck_agrees(grid, scale_pos_embed=False)


def halo_agrees(grid, block=4, change=lambda t: t, layer=0):
    """HaloAttn without a halo is block by block attention: windows and tables over their offsets."""
    attention = drawn(f"swin[window={block}]+rpe_2d[extent={block},factorized=True]", grid, layer=layer)
    attention.proj = nn.Identity()
    other = halo_attn.HaloAttn(
        WIDTH, num_heads=4, dim_head=HEAD_DIM, block_size=block, halo_size=0, qkv_bias=True, scale_pos_embed=True
    ).double()
    weight, bias = _convolution(attention.qkv)
    kv = torch.arange(WIDTH, 3 * WIDTH).view(2, 4, HEAD_DIM).transpose(0, 1).flatten()  # there head by head
    other.q.weight.data, other.q.bias.data = weight[:WIDTH], bias[:WIDTH]
    other.kv.weight.data, other.kv.bias.data = weight[kv], bias[kv]
    rows, columns = (t[0].flatten(1).T for t in attention.relation.parts[1].tables)
    other.pos_embed.height_rel.data, other.pos_embed.width_rel.data = change(rows).detach(), change(columns).detach()
    x = tokens(grid)
    agree(attention(x, grid), other(x.mT.unflatten(2, grid)).flatten(2).mT)


@pytest.mark.proof("timm's HaloAttn", "rpe_2d")
@pytest.mark.parametrize(("grid", "block"), [((4, 8), 4), ((8, 8), 4), ((4, 6), 2)], ids=sized)
def test_windows_and_factorized_are_timms_HaloAttn_as_a_whole(grid, block):
    halo_agrees(grid, block)


def test_timms_HaloAttn_rejects_flipped_tables_and_shifted_windows():
    with rejected():
        halo_agrees((4, 8), change=_turned)
    with rejected():
        halo_agrees((4, 8), layer=1)


# SAM, ViTDet, MViTv2: query minus key; the query is not scaled there.


def factorized_agrees_with_sam(grid, change=_turned, scale=SCALE):
    """The function and the whole module; 1/sqrt(D) goes into the tables."""
    attention, x = drawn("rpe_2d[factorized=True]", grid), tokens(grid)
    q, _, _ = attention.project(x, grid)
    rows, columns = (change(t).detach() * scale for t in _vectors(attention))
    expected = sam.get_decomposed_rel_pos_bias(q.flatten(0, 1), rows, columns, grid, grid)
    agree(position_scores(attention, q, grid), expected.unflatten(0, q.shape[:2]))

    other = sam.Attention(WIDTH, num_heads=4, use_rel_pos=True, input_size=grid).double()
    other.qkv.load_state_dict(attention.qkv.state_dict())
    other.proj.load_state_dict(attention.proj.state_dict())
    other.rel_pos_h.data, other.rel_pos_w.data = rows, columns
    agree(attention(x, grid), other(x.unflatten(1, grid)).flatten(1, 2))


@pytest.mark.proof("SAM's decomposed bias in timm", "rpe_2d")
@on(SQUARE, WIDE, (6, 2))
def test_factorized_is_SAMs_decomposed_bias_with_flipped_tables(grid):
    factorized_agrees_with_sam(grid)


@on(SQUARE, WIDE)
def test_SAMs_decomposed_bias_rejects_unflipped_tables_and_a_forgotten_scale(grid):
    with rejected():
        factorized_agrees_with_sam(grid, lambda t: t)
    with rejected():
        factorized_agrees_with_sam(grid, scale=1.0)


# timm's table of biases: query minus key.


def bias_agrees_with_timm(grid, change=lambda t: t.flip(-2, -1)):
    attention = drawn("rpe_2d[mode=bias]", grid)
    (table,) = attention.relation.tables
    other = RelPosBias(grid, 4).double()
    other.relative_position_bias_table.data = change(table).flatten(1).T.detach()
    q, k, _ = attention.project(tokens(grid), grid)
    expected = other.get_bias()
    agree(position_scores(attention, q, grid), expected.expand(2, -1, -1, -1))
    agree(attention.weights(q, k, grid), other(q @ k.mT * SCALE).softmax(-1))


@pytest.mark.proof("timm's RelPosBias", "rpe_2d")
@on(SQUARE, WIDE, (6, 2))
def test_bias_is_timms_RelPosBias_with_a_flipped_table(grid):
    bias_agrees_with_timm(grid)


@pytest.mark.parametrize(
    "change",
    [lambda t: t, lambda t: t.flip(-1), lambda t: t.flip(-2), lambda t: t.flip(0)],
    ids=["none", "columns alone", "rows alone", "heads"],
)
def test_timms_RelPosBias_rejects_another_flip(change):
    with rejected():
        bias_agrees_with_timm(WIDE, change)


@on(SQUARE, WIDE, (14, 14))
def test_tables_have_the_published_numbers_of_entries(grid):
    """1-D 2N-1 and 2-D (2h-1)(2w-1) a head, decomposed (2h+2w-2) D for all heads."""
    h, w = grid
    expected = {
        "rpe_1d[mode=bias]": (2 * h * w - 1) * 4,
        "rpe_1d": (2 * h * w - 1) * 16,
        "rpe_2d[mode=bias]": (2 * h - 1) * (2 * w - 1) * 4,
        "rpe_2d": (2 * h - 1) * (2 * w - 1) * 16,
        "rpe_2d[factorized=True]": (2 * h + 2 * w - 2) * 16,
        "rpe_2d[factorized=True,mode=bias]": (2 * h + 2 * w - 2) * 4,
        "rpe_2d[extent=7,mode=bias]": 169 * 4,
        "rpe_2d[factorized=True,values=True]": (2 * h + 2 * w - 2) * 32,
    }
    for spec, entries in expected.items():
        assert sum(p.numel() for p in drawn(spec, grid, width=64).relation.parameters()) == entries, spec


def test_rpe_1d_cannot_tell_a_line_break_from_a_right_neighbour_and_rpe_2d_can():
    attention = drawn("rpe_1d[mode=bias]", WIDE)
    terms = attention.relation.terms(WIDE, torch.device("cpu"), torch.float64)
    pairs = geometry.to_pairs(terms.bias[0], WIDE)
    agree(pairs[:, 0, 1], pairs[:, 4, 5])  # (0, +1) and (+1, -4)
    attention = drawn("rpe_2d[mode=bias]", WIDE)
    pairs = geometry.to_pairs(attention.relation.terms(WIDE, torch.device("cpu"), torch.float64).bias[0], WIDE)
    with rejected():
        agree(pairs[:, 0, 1], pairs[:, 4, 5])
