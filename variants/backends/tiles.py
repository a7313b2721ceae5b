"""The attention map cut into tiles that fit the core's cache, and what is the same for all images in a part of it.

A tile holds several images, or one image's heads, or one head, or rows of one head, whatever fits. The pairs of a table
are made for one block (heads and rows) at a time and used for every image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from variants import geometry
from variants.backends.eager import pad_kept, prefix_of
from variants.relation import Terms

CACHE = 2**18  # float32 scores in a tile, 1 MiB: the second-level cache of a core
CHUNK = 2**18  # numbers in a copy of the queries, keys or values of some images
WHOLE = 2**20  # up to here a head's map is one tile all the same: larger products gain more than the cache


@dataclass(frozen=True)
class Tile:
    """How many images, heads and rows of the grid are worked on at once."""

    images: int
    heads: int
    rows: int

    @classmethod
    def sized(cls, heads: int, tokens: int, rows: int) -> Tile:
        """The tile for maps of `heads` heads and tokens x tokens scores on a grid of so many rows."""
        scores = tokens * tokens
        if heads * scores <= CACHE:
            return cls(CACHE // (heads * scores), heads, rows)
        together = max(n for n in range(1, heads + 1) if heads % n == 0 and (n == 1 or n * scores <= CACHE))
        parts = 1 if together > 1 else min(rows, -(-scores // WHOLE))
        return cls(1, together, -(-rows // parts))


@dataclass(frozen=True)
class Block:
    """Some heads and some rows of the grid; prior and added [heads or 1, n, P+N] are what all images share there.

    `tokens` are the n queries: the patches of these rows, and the prefix tokens where the first row is among them.
    """

    heads: slice
    rows: slice
    tokens: slice
    prior: Tensor | None
    added: Tensor | None

    @property
    def shape(self) -> tuple[int, int]:
        """(heads, n)"""
        return self.heads.stop - self.heads.start, self.tokens.stop - self.tokens.start

    @property
    def prefix_queries(self) -> bool:
        return self.rows.start == 0


class Tiles:
    """The walk over the maps of x [B, H, P+N, D]: groups of heads, blocks of rows, chunks of images, their tiles."""

    def __init__(self, like: Tensor, fixed: Terms):
        """`like` is q, k or v; `fixed` has the grid, the mask and the groups."""
        self.images, self.heads, self.tokens, self.width = like.shape
        self.fixed, self.prefix = fixed, prefix_of(self.tokens, fixed)
        self.dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        self.tile = Tile.sized(self.heads, self.tokens, fixed.grid[0])
        self.room: dict[str, Tensor] = {}
        self.views: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self.device = like.device
        self.whole = self.tile.rows == fixed.grid[0]  # a block has all rows

    def head_groups(self) -> Iterator[slice]:
        for first in range(0, self.heads, self.tile.heads):
            yield slice(first, first + self.tile.heads)

    def chunks(self) -> Iterator[slice]:
        """The images that are copied side by side at once, some tiles of them."""
        most = CHUNK // (self.tile.heads * self.tokens * self.width)
        most = max(1, most // self.tile.images) * self.tile.images
        for first in range(0, self.images, most):
            yield slice(first, min(first + most, self.images))

    def cut(self, chunk: slice) -> Iterator[slice]:
        """A chunk's tiles, as slices of its images * heads."""
        step, size = self.tile.images * self.tile.heads, (chunk.stop - chunk.start) * self.tile.heads
        for first in range(0, size, step):
            yield slice(first, min(first + step, size))

    def blocks(self, heads: slice, prior: Tensor | None, bias: Tensor | None) -> Iterator[Block]:
        """The rows of these heads; prior and bias are tables over the offsets, [H or 1, 2h-1 or 1, 2w-1 or 1]."""
        (h, w), p = self.fixed.grid, self.prefix
        for first in range(0, h, self.tile.rows):
            rows = slice(first, min(first + self.tile.rows, h))
            tokens = slice(p + first * w if first else 0, p + rows.stop * w)
            added = self._pairs(bias, heads, rows, 0.0)
            kept = self.fixed.mask(self.device, heads, slice(first * w, rows.stop * w))
            if kept is not None:
                neutral = torch.zeros((), dtype=self.dtype, device=self.device) if added is None else added
                added = torch.where(pad_kept(kept, p, first == 0), neutral, -torch.inf)
            yield Block(heads, rows, tokens, self._pairs(prior, heads, rows, 1.0), added)

    def take(self, name: str, x: Tensor, images: slice, heads: slice, tokens: slice = slice(None)) -> Tensor:
        """[images * heads, n, D]: the share of x [B, H, P+N, D], side by side in memory."""
        part = x[images, heads, tokens]
        return self.empty(name, *part.shape).copy_(part).flatten(0, 1)

    def sums(self, heads: slice) -> Tensor:
        """[B, heads, D, P+N] zeros, for what is added up over the blocks of some heads."""
        shape = (self.images, heads.stop - heads.start, self.width, self.tokens)
        return torch.zeros(shape, dtype=self.dtype, device=self.device)

    def empty(self, name: str, *shape: int) -> Tensor:
        """Room that every tile uses again."""
        key = (name, shape)
        if key not in self.views:
            size = prod(shape)
            if name not in self.room or self.room[name].numel() < size:
                self.room[name] = torch.empty(size, dtype=self.dtype, device=self.device)
            self.views[key] = self.room[name][:size].view(shape)
        return self.views[key]

    def _pairs(self, table: Tensor | None, heads: slice, rows: slice, neutral: float) -> Tensor | None:
        if table is None:
            return None
        pairs = geometry.to_pairs(geometry.of_heads(table, heads).to(self.dtype), self.fixed.grid, rows)
        return geometry.pad_prefix(pairs, self.prefix, neutral, rows.start == 0)
