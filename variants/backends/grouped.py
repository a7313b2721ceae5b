"""grouped: windows that partition the grid, executed as a batch of small attentions, by slices and reshapes.

Where the groups are the rectangles between cuts across the grid (Swin, shifted Swin, stripes), windows of one size that
lie side by side are one reshape. Each is attention on a small grid of its own, with the middle of the tables as its
tables, so a query costs as many keys as its window has. Heads whose groups differ (CSWin) go in turns.

Source: Liu et al., Swin, arXiv 2103.14030, eq. 5 (the saving). Departure: a shifted grid is neither rolled nor masked,
the narrow windows at its border are small attentions too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from variants.geometry import Grid, of_heads
from variants.recording import real_numbers
from variants.relation import Terms, Unsupported

Inner = Callable[[Tensor, Tensor, Tensor, Terms], Tensor]


class Run(NamedTuple):
    """So many windows of so many patches, side by side."""

    windows: int
    side: int


class Layout(NamedTuple):
    """Heads that have the same windows: the runs of these down and across the grid."""

    heads: slice
    down: tuple[Run, ...]
    across: tuple[Run, ...]


def attend(q: Tensor, k: Tensor, v: Tensor, terms: Terms, inner: Inner) -> Tensor:
    """[B, H, N, D], each window by `inner`. Raises Unsupported for a mask, prefix tokens, or groups of other shapes."""
    why = obstacle(terms, q.shape[2])
    if why:
        raise Unsupported(f"the grouped backend works window by window, and {why}; use backend=eager or auto")
    assert terms.groups is not None

    def within(pieces: Sequence[Tensor], heads: slice, window: Grid) -> Tensor:
        its_q, its_k, its_v = pieces
        return inner(its_q, its_k, its_v, _of_window(terms, heads, window))

    return over_windows([q, k, v], terms.groups, terms.grid, within)


def over_windows(
    tensors: Sequence[Tensor], groups: Tensor, grid: Grid, within: Callable[[Sequence[Tensor], slice, Grid], Tensor]
) -> Tensor:
    """[B, H, N, D], made of tensors of that shape window by window; the groups are those between cuts.

    within: makes one such piece of pieces [B * windows, H', patches, D], their heads, and (rows, columns) of a window.
    """
    of_heads = []
    for layout in layouts(groups, grid):
        pieces = [_pieces(x[:, layout.heads], layout, grid) for x in tensors]
        columns = []
        for y, down in enumerate(layout.down):
            row = []
            for x, across in enumerate(layout.across):
                made = within([piece[y][x] for piece in pieces], layout.heads, (down.side, across.side))
                row.append(_together(made, down, across))
            columns.append(_cat(row, 2))
        of_heads.append(_cat(columns, 1))
    return _cat(of_heads, 3).flatten(1, 2).transpose(1, 2)


def obstacle(terms: Terms, tokens: int) -> str | None:
    """Why these terms cannot be executed so; None where they can."""
    h, w = terms.grid
    if terms.groups is None:
        return "there are no groups"
    if terms.kept is not None:
        return "the mask does not stop at the windows"
    if tokens != h * w:
        return "a prefix token sees all windows"
    if not layouts(terms.groups, terms.grid):
        return "these groups are not the rectangles between cuts across the grid"
    return None


@torch.compiler.assume_constant_result  # reads numbers, which no input changes
def layouts(groups: Tensor, grid: Grid) -> tuple[Layout, ...]:
    """The windows of every head; empty where they are not rectangles between cuts."""
    with real_numbers():
        groups = groups.cpu()
        return _read(groups.numpy().tobytes(), groups.shape[0], groups.dtype, grid)


@lru_cache(maxsize=64)
def _read(groups: bytes, heads: int, dtype: torch.dtype, grid: Grid) -> tuple[Layout, ...]:
    maps = torch.frombuffer(bytearray(groups), dtype=dtype).view(heads, *grid)
    found, first = [], 0
    for _, alike in groupby(maps, key=lambda one: one.numpy().tobytes()):
        same = list(alike)
        one = same[0]
        down, across = _sides((one[1:] != one[:-1]).any(1)), _sides((one[:, 1:] != one[:, :-1]).any(0))
        if len(one.unique()) != len(down) * len(across):
            return ()
        heads_alike = slice(first, first + len(same)) if heads > 1 else slice(None)
        found.append(Layout(heads_alike, _runs(down), _runs(across)))
        first += len(same)
    return tuple(found)


def _sides(cut: Tensor) -> list[int]:
    """The patches between cuts; `cut` [side - 1] says after which patch there is one."""
    places = [0, *(cut.nonzero().flatten() + 1).tolist(), len(cut) + 1]
    return [b - a for a, b in pairwise(places)]


def _runs(sides: list[int]) -> tuple[Run, ...]:
    return tuple(Run(len(list(alike)), side) for side, alike in groupby(sides))


def _pieces(x: Tensor, layout: Layout, grid: Grid) -> list[list[Tensor]]:
    """x [B, H, N, D] -> for each run down and each across [B * windows, H, patches, D]."""
    rows = x.unflatten(2, grid).split([down.windows * down.side for down in layout.down], dim=2)
    pieces = []
    for row, down in zip(rows, layout.down, strict=True):
        parts = row.split([across.windows * across.side for across in layout.across], dim=3)
        pieces.append([_apart(part, down, across) for part, across in zip(parts, layout.across, strict=True)])
    return pieces


def _apart(x: Tensor, down: Run, across: Run) -> Tensor:
    """[B, H, rows, columns, D] -> [B * windows, H, patches of a window, D]"""
    x = x.unflatten(3, across).unflatten(2, down)
    return x.permute(0, 2, 4, 1, 3, 5, 6).flatten(4, 5).flatten(0, 2)


def _together(x: Tensor, down: Run, across: Run) -> Tensor:
    """[B * windows, H, patches of a window, D] -> [B, rows, columns, H, D]"""
    x = x.unflatten(2, (down.side, across.side)).unflatten(0, (-1, down.windows, across.windows))
    return x.permute(0, 1, 4, 2, 5, 3, 6).flatten(3, 4).flatten(1, 2)


def _of_window(terms: Terms, heads: slice, grid: Grid) -> Terms:
    """The terms within a window: the tables of some heads, their middle."""

    def cut(tables: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(_middle(of_heads(table, heads), grid) for table in tables)

    return Terms(grid, cut(terms.prior), cut(terms.bias), cut(terms.keys), cut(terms.queries), cut(terms.values))


def _middle(table: Tensor, grid: Grid) -> Tensor:
    """A table over the offsets of a grid, cut to those of a smaller one."""
    for axis, side in zip((-2, -1), grid, strict=True):
        size = table.shape[axis]
        if size > 1:
            table = table.narrow(axis, size // 2 - (side - 1), 2 * side - 1)
    return table


def _cat(parts: list[Tensor], axis: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)
