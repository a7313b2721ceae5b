"""Grids, offsets, and the way from a table over offsets to all pairs; pure functions.

A grid is (h, w) patches, numbered row by row. The offset of a pair is position(key) - position(query) = (dy, dx), rows
first. A grid has N^2 pairs and only (2h-1)(2w-1) distinct offsets, so whatever depends on the offset alone is a table
[..., 2h-1, 2w-1] whose centre is the offset (0, 0).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Grid = tuple[int, int]


def offsets(grid: Grid, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """[2, 2h-1, 2w-1]: the distinct offsets (dy, dx) = key - query of a grid, in patches."""
    h, w = grid
    dy = torch.arange(1 - h, h, device=device, dtype=dtype)
    dx = torch.arange(1 - w, w, device=device, dtype=dtype)
    return torch.stack(torch.meshgrid(dy, dx, indexing="ij"))


def grid_of(offsets: Tensor) -> Grid:
    """The grid (h, w) whose offsets these are."""
    return (offsets.shape[-2] + 1) // 2, (offsets.shape[-1] + 1) // 2


def coordinates(grid: Grid, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Row and column of each token, int64 [N] each, in patches."""
    y, x = torch.meshgrid(*(torch.arange(side, device=device) for side in grid), indexing="ij")
    return y.flatten(), x.flatten()


def windows(table: Tensor, grid: Grid) -> Tensor:
    """A table [..., 2h-1, 2w-1] seen by pairs of grid places: [..., h, w, h, w] (query row, column, key row, column).

    The keys of the query (qy, qx) are the h x w window of the table that starts at (h-1-qy, w-1-qx), so this is a
    sliding-window view, flipped once. A table axis of size 1 holds for every offset; its two pair axes have size 1.
    """
    _check(table, grid)
    h, w = (side if size > 1 else 1 for side, size in zip(grid, table.shape[-2:], strict=True))
    return table.unfold(-2, h, 1).unfold(-2, w, 1).flip(-4, -3)


def to_pairs(table: Tensor, grid: Grid) -> Tensor:
    """A table [..., 2h-1, 2w-1] (or with axes of size 1) on all pairs: [..., N, N], query first.

    Each column of queries sees its run of offsets across; each row of queries copies its run of these down.
    """
    h, runs = grid[0], _runs(table, grid)
    seen = [runs[..., h - 1 - y : 2 * h - 1 - y, :] for y in range(h)]
    return torch.stack(seen, dim=-4).flatten(-4, -3).flatten(-2)


def rising_pairs(table: Tensor, grid: Grid, rows: range) -> Tensor:
    """The pairs of the queries in some rows of the grid, the last row first: [..., rows, w, h, w], a view.

    With every row up, the window of the table moves one row down: a stride, where to_pairs copies.
    """
    h, w = grid
    runs = _runs(table, grid)
    *lead, x, dy, dx = runs.stride()
    size = (*runs.shape[:-3], len(rows), w, h, w)
    return runs.as_strided(size, (*lead, dy, x, dy, dx), runs.storage_offset() + (h - rows.stop) * dy)


def from_pairs(pairs: Tensor, grid: Grid, size: tuple[int, int], rows: range) -> Tensor:
    """What lies on pairs [..., rows, w, h, w], queries in these rows in their order, summed by offset: [..., *size].

    The adjoint of to_pairs.
    """
    h, w = grid
    down = pairs.new_zeros(*pairs.shape[:-4], w, size[0], w)
    for y, keys in zip(rows, pairs.unbind(-4), strict=True):
        if size[0] == 1:
            down += keys.sum(-2, keepdim=True)
        else:
            down[..., h - 1 - y : 2 * h - 1 - y, :].add_(keys)  # += would write the sum twice
    if size[1] == 1:
        return down.sum((-3, -1))[..., None]
    table = pairs.new_zeros(*pairs.shape[:-4], *size)
    for x, keys in enumerate(down.unbind(-3)):
        table[..., w - 1 - x : 2 * w - 1 - x].add_(keys)
    return table


def flat(table: Tensor, grid: Grid) -> Tensor:
    """A table [..., 2h-1 or 1, 2w-1 or 1] with an entry for every offset, in one row: [..., (2h-1)(2w-1)]."""
    h, w = grid
    return table.expand(*table.shape[:-2], 2 * h - 1, 2 * w - 1).flatten(-2)


def places(grid: Grid, device: torch.device | None = None, prefix: int = 0) -> tuple[Tensor, int]:
    """Where a flat table has the offset of a pair: at place[key] - place[query] + centre.

    int64 [P+N], 0 for prefix tokens, which have no offset; and the centre.
    """
    h, w = grid
    y, x = coordinates(grid, device)
    return F.pad(y * (2 * w - 1) + x, (prefix, 0)), (h - 1) * (2 * w - 1) + w - 1


def _runs(table: Tensor, grid: Grid) -> Tensor:
    """[..., w, 2h-1, w]: for each column of queries what it sees across, at every offset down."""
    _check(table, grid)
    h, w = grid
    across = table.unfold(-1, w, 1).flip(-2) if table.shape[-1] > 1 else table[..., None].expand(*table.shape, w)
    across = across.transpose(-3, -2).expand(*across.shape[:-3], w, -1, w).contiguous()
    return across.expand(*across.shape[:-2], 2 * h - 1, w)


def _check(table: Tensor, grid: Grid) -> None:
    """Raises ValueError unless each of the table's axes spans the offsets of the grid or has size 1."""
    spans = tuple(2 * side - 1 for side in grid)
    if any(size not in (1, span) for size, span in zip(table.shape[-2:], spans, strict=True)):
        raise ValueError(f"a table over the offsets of a {grid} grid ends in {spans} or ones, "
                         f"this one in {tuple(table.shape[-2:])}")  # fmt: skip


def pad_prefix(pairs: Tensor, prefix: int, neutral: float) -> Tensor:
    """[..., N, N] -> [..., P+N, P+N]: a pair with a prefix token in it gets the neutral value."""
    return F.pad(pairs, (prefix, 0, prefix, 0), value=neutral) if prefix else pairs


def resample(table: Tensor, size: tuple[int, int]) -> Tensor:
    """A table [..., a, b] at another size, bicubic (linear along a lone axis), corners and centre kept.

    An axis of size 1 keeps the centre alone.
    """
    for axis in (-2, -1):
        if size[axis] == 1:
            table = table.narrow(axis, table.shape[axis] // 2, 1)
    a, b = table.shape[-2:]
    if (a, b) == tuple(size):
        return table
    flat = table.reshape(1, -1, a, b)
    if a == 1 or b == 1:
        new = F.interpolate(flat, size=size, mode="bilinear", align_corners=True)
    else:
        new = F.interpolate(flat, size=size, mode="bicubic", align_corners=True)
    return new.reshape(*table.shape[:-2], *size)


def lookup(table: Tensor, offsets: Tensor, extent: int | None = None) -> Tensor:
    """A learned table [..., a, b] read at the offsets [2, 2h-1, 2w-1] of any grid.

    Without `extent` the table spans the grid and is resampled to it. With it, the table covers |dy|, |dx| < extent in
    patches, and offsets beyond are clipped to its border (Shaw et al., arXiv 1803.02155).
    An axis of size 1 stays so.
    """
    h, w = grid_of(offsets)
    a, b = table.shape[-2:]
    if extent is None:
        return resample(table, (1 if a == 1 else 2 * h - 1, 1 if b == 1 else 2 * w - 1))
    for axis, side, size in ((-2, h, a), (-1, w, b)):
        if size > 1:
            clipped = torch.arange(1 - side, side, device=table.device).clamp(1 - extent, extent - 1)
            table = table.index_select(axis, clipped + extent - 1)
    return table


def of_heads(table: Tensor, heads: slice) -> Tensor:
    """The share of some heads in what is [H or 1, ...]: one that all heads have is the share of each."""
    return table if len(table) == 1 else table[heads]
