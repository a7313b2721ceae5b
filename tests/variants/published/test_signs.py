"""Which way the offset points: each source's convention by name, and that flipping both axes of a table converts.

Here and in SP-SA, ConViT, BoTNet: key minus query. In Swin, BEiT, timm's RelPosBias, SAM: query minus key.
"""

import pytest
import torch
from timm.layers import RelPosBias, bottleneck_attn, halo_attn
from timm.models import beit, convit, swin_transformer
from timm.models import vision_transformer_sam as sam
from torchvision.models.swin_transformer import ShiftedWindowAttention

from variants import geometry

from . import oracles
from .agreement import SQUARE, WIDE, agree, rejected

KEY_MINUS_QUERY, QUERY_MINUS_KEY = "key minus query", "query minus key"

# A reader takes entries for the offsets of rows [2h-1] and of columns [2w-1] and gives their sum at every pair [N, N].


def _convit(rows, columns, grid):
    """pos_proj reads (x, y, |Delta|^2); the column of x comes first."""
    layer = convit.GPSA(4, 1).double()
    x, y, _ = layer.get_rel_indices(grid[0] * grid[1])[0].long().unbind(-1)
    return rows[y + grid[0] - 1] + columns[x + grid[1] - 1]


def _embedding(module):
    def read(rows, columns, grid):
        sizes = (grid,) if module is bottleneck_attn else (grid[0], grid[0])
        layer = module.PosEmbedRel(*sizes, dim_head=1, scale=1.0).double()
        layer.height_rel.data, layer.width_rel.data = rows[:, None], columns[:, None]
        ones = torch.ones(1, grid[0] * grid[1], 1, dtype=torch.float64)
        return layer(ones if module is bottleneck_attn else ones[None]).squeeze()

    return read


def _sam(rows, columns, grid):
    ones = torch.ones(1, grid[0] * grid[1], 1, dtype=torch.float64)
    return sam.get_decomposed_rel_pos_bias(ones, rows[:, None], columns[:, None], grid, grid)[0]


def _table(index):
    """A table [(2h-1)(2w-1)], read by a source's index [N, N]."""

    def read(rows, columns, grid):
        n = grid[0] * grid[1]
        return (rows[:, None] + columns).flatten()[index(grid).view(n, n)]

    return read


def _rel_pos_bias(rows, columns, grid):
    layer = RelPosBias(grid, 1).double()
    layer.relative_position_bias_table.data = (rows[:, None] + columns).flatten()[:, None]
    return layer.get_bias()[0, 0]


def _torchvision(grid):
    return ShiftedWindowAttention(4, list(grid), [0, 0], 1).relative_position_index


def _beit(grid):
    """Without its class token, whose entries are the last three."""
    return beit.gen_relative_position_index(grid)[1:, 1:]


def _ours(rows, columns, grid):
    return geometry.to_pairs(rows[:, None] + columns, grid)


SOURCES = {
    "this library, a table over the offsets": (KEY_MINUS_QUERY, _ours, WIDE),
    "ConViT GPSA, timm": (KEY_MINUS_QUERY, _convit, SQUARE),
    "BoTNet PosEmbedRel, timm": (KEY_MINUS_QUERY, _embedding(bottleneck_attn), WIDE),
    "Halo PosEmbedRel, timm": (KEY_MINUS_QUERY, _embedding(halo_attn), SQUARE),
    "Swin get_relative_position_index, timm": (
        QUERY_MINUS_KEY, _table(lambda grid: swin_transformer.get_relative_position_index(*grid)), WIDE,
    ),
    "Swin ShiftedWindowAttention, torchvision": (QUERY_MINUS_KEY, _table(_torchvision), WIDE),
    "BEiT gen_relative_position_index, timm": (QUERY_MINUS_KEY, _table(_beit), WIDE),
    "RelPosBias, timm": (QUERY_MINUS_KEY, _rel_pos_bias, WIDE),
    "SAM get_decomposed_rel_pos_bias, timm": (QUERY_MINUS_KEY, _sam, WIDE),
}  # fmt: skip


def convention_agrees(name, *, flip_rows, flip_columns):
    """Asserts that a source reads the tables as loops over key minus query do, after flipping the axes asked for."""
    _, read, grid = SOURCES[name]
    rows, columns = (torch.randn(2 * side - 1, dtype=torch.float64) for side in grid)
    given = (rows.flip(0) if flip_rows else rows, columns.flip(0) if flip_columns else columns)
    r, c = rows.tolist(), columns.tolist()
    expected = oracles.every_pair(grid, lambda dy, dx: r[dy + grid[0] - 1] + c[dx + grid[1] - 1])
    agree(read(*given, grid), expected)


@pytest.mark.parametrize("name", SOURCES, ids=[f"{name}: {source[0]}" for name, source in SOURCES.items()])
def test_convention_of(name):
    """A flip of both axes converts query minus key; no flip does for key minus query; and no other way does."""
    flip = SOURCES[name][0] == QUERY_MINUS_KEY
    convention_agrees(name, flip_rows=flip, flip_columns=flip)
    for flip_rows in (False, True):
        for flip_columns in (False, True):
            if (flip_rows, flip_columns) != (flip, flip):
                with rejected():
                    convention_agrees(name, flip_rows=flip_rows, flip_columns=flip_columns)


def test_offset_0_1_is_the_right_neighbour_and_1_0_the_one_below():
    """Rows first: token 1 of a 3x5 grid lies right of token 0, token 5 below it."""
    dy, dx = geometry.to_pairs(geometry.offsets(WIDE), WIDE)
    assert (dy[0, 1], dx[0, 1]) == (0, 1)
    assert (dy[0, 5], dx[0, 5]) == (1, 0)
    assert (dy[5, 0], dx[5, 0]) == (-1, 0)


def test_in_ConViT_rel_indices_0_1_is_x_1_y_0():
    layer = convit.GPSA(4, 1)
    assert layer.get_rel_indices(16)[0, 0, 1].tolist() == [1, 0, 1]
    assert layer.get_rel_indices(16)[0, 0, 4].tolist() == [0, 1, 1]


def test_functions_that_are_even_in_the_offset_do_not_care():
    rows, columns = (torch.randn(2 * side - 1, dtype=torch.float64) for side in WIDE)
    even = (rows + rows.flip(0), columns + columns.flip(0))
    for _, read, grid in SOURCES.values():
        if grid == WIDE:
            agree(read(*even, grid), _ours(*even, grid))
