"""<q_i, keys_h(Delta_ij)> / (sqrt(D) log 2) for a tile: one product a row of the grid, then a shift.

The queries of one row y of the grid meet 2w-1 offsets across and the h offsets down that start at h-1-y: the table's
window of that row. So q is multiplied with h windows of [D, h (2w-1)] and not with N tables of [D, N], and the query at
x reads its keys from column w-1-x on, by strides.
"""

from __future__ import annotations

import torch
from torch import Tensor

from variants.backends.tiles import LN2, Block, Tiles
from variants.geometry import of_heads


class Relative:
    """A table [H or 1, D, 2h-1 or 1, 2w-1 or 1] on a block, the layer's `number`-th; x [images * heads, n, D]."""

    def __init__(self, table: Tensor, tiles: Tiles, block: Block, number: int):
        self.tiles, self.block, (self.h, self.w) = tiles, block, tiles.fixed.grid
        self.down, self.across = table.shape[-2:]
        self.rows = block.rows[::-1]
        mine = of_heads(table, block.heads).to(tiles.dtype) * tiles.in_twos
        self.alike = len(mine) == 1  # one table for all heads
        seen = [self._window(mine, y).flatten(2) for y in self.rows]
        room = tiles.empty(f"windows {number}", len(seen), *seen[0].shape)
        self.windows = torch.stack(seen, out=room).flatten(0, 1)

    def add(self, scores: Tensor, queries: Tensor) -> None:
        """Adds the products to the scores."""
        met = self._room("met", queries)
        torch.bmm(self._by_row(queries), self.windows, out=met)
        patches = self.tiles.patches(scores, self.block)
        patches += self._shifted(met, queries)

    def gradients(self, d: Tensor, queries: Tensor, onto_windows: Tensor, onto_queries: Tensor) -> None:
        """Adds the gradients, of the windows [rows * heads or 1, D, ...] and of the queries, for scores' gradient d."""
        met = self._room("met", queries).zero_()
        patches = self.tiles.patches(d, self.block)
        if self.down == 1:
            patches = patches.sum(-2, keepdim=True)
        if self.across == 1:
            patches = patches.sum(-1, keepdim=True)
        self._shifted(met, queries).copy_(patches)
        onto_windows.baddbmm_(self._by_row(queries).mT, met, alpha=self.tiles.scale)
        back = torch.bmm(met, self.windows.mT)
        images, heads = self._images(queries), self.block.shape[0]
        order = (images, heads) if self.alike else (heads, images)
        back = back.view(len(self.rows), *order, self.w, -1)
        back = back.permute(*((1, 2, 0, 3, 4) if self.alike else (2, 1, 0, 3, 4))).flatten(2, 3)
        onto_queries.view(images, heads, *onto_queries.shape[1:])[:, :, self.block.prefix :].add_(back, alpha=LN2)

    def onto(self, table: Tensor, windows: Tensor) -> None:
        """Adds the windows' gradients to the table's."""
        mine = of_heads(table, self.block.heads)
        windows = windows.view(len(self.rows), *mine.shape[:2], -1, self.across)
        for y, window in zip(self.rows, windows, strict=True):
            self._window(mine, y).add_(window)

    def _window(self, table: Tensor, y: int) -> Tensor:
        return table if self.down == 1 else table[:, :, self.h - 1 - y : 2 * self.h - 1 - y]

    def _images(self, queries: Tensor) -> int:
        return len(queries) // self.block.shape[0]

    def _by_row(self, queries: Tensor) -> Tensor:
        """[rows * (heads or 1), images * (1 or heads) * w, D]"""
        each = queries.view(self._images(queries), self.block.shape[0], *queries.shape[1:])[:, :, self.block.prefix :]
        each = each.unflatten(2, (len(self.rows), self.w)).permute(
            *((2, 0, 1, 3, 4) if self.alike else (2, 1, 0, 3, 4))
        )
        copy = self.tiles.empty("by row", *each.shape).copy_(each)
        return copy.view(len(self.windows), -1, queries.shape[-1])

    def _room(self, name: str, queries: Tensor) -> Tensor:
        lanes = self._images(queries) * (self.block.shape[0] if self.alike else 1) * self.w
        return self.tiles.empty(name, len(self.windows), lanes, self.windows.shape[-1])

    def _shifted(self, met: Tensor, queries: Tensor) -> Tensor:
        """[images, heads, rows, w, h or 1, w or 1]: the products by query and key, a view."""
        images, heads = self._images(queries), self.block.shape[0]
        order = (images, heads) if self.alike else (heads, images)
        met = met.view(len(self.rows), *order, self.w, -1, self.across)
        met = met.permute(*((1, 2, 0, 3, 4, 5) if self.alike else (2, 1, 0, 3, 4, 5)))
        if self.across == 1:
            return met
        *outer, x, down, step = met.stride()
        return met.as_strided((*met.shape[:-1], self.w), (*outer, x - 1, down, step), self.w - 1)
