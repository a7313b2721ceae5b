"""The order of a grid's tokens: which one lets a block of so many tokens in a row be a compact rectangle of the grid.

    row-major   0 1 2 3 | 4 5 6 7 | ...             a block of 128 at 32x32 is 4 rows, as wide as the grid
    strips of r  r rows at a time, column by column, every second strip backwards: the block is r x 128/r

A mask that is local in two dimensions leaves pairs of far blocks empty, and compact blocks leave more of them. Walking
the strips to and fro keeps a block compact where it begins in one strip and ends in the next: a grid that no tile
divides, or prefix tokens in front, shift all blocks by a little. Source: none; the tiles are those of sliding tile
attention (Zhang et al., arXiv 2502.04507).
"""

from __future__ import annotations

import torch
from torch import Tensor

from variants.geometry import Grid

ROWS = range(2, 9)  # of a strip, beside all rows at once


def strips(grid: Grid, rows: int) -> Tensor:
    """[N]: the row-major numbers of the patches in the order in which strips of so many rows visit them."""
    numbers = torch.arange(grid[0] * grid[1]).view(grid)
    walks = [strip.T.flatten() for strip in numbers.split(rows)]  # the last strip may have fewer rows
    return torch.cat([walk.flip(0) if odd % 2 else walk for odd, walk in enumerate(walks)])


def filled(mask: Tensor, block: int, prefix: int) -> int:
    """The blocks with a pair in them, over all heads: mask [H, N, N], and every pair with one of P prefix tokens."""
    whole = torch.nn.functional.pad(mask, (prefix, 0, prefix, 0), value=True)
    short = -whole.shape[-1] % block
    blocks = torch.nn.functional.pad(whole, (0, short, 0, short)).unflatten(2, (-1, block)).unflatten(1, (-1, block))
    return int(blocks.any(dim=4).any(dim=2).sum())


def best(mask: Tensor, grid: Grid, block: int, prefix: int) -> Tensor | None:
    """[N]: the order of the patches that fills the fewest blocks of a mask [H, N, N]; None where it is row-major."""
    found, fewest = None, filled(mask, block, prefix)
    for rows in sorted({min(rows, grid[0]) for rows in (*ROWS, grid[0])}):
        order = strips(grid, rows).to(mask.device)
        count = filled(mask[:, order][:, :, order], block, prefix)
        if count < fewest:
            found, fewest = order, count
    return found
