"""The attention map cut into tiles that fit the core's cache, and what is the same for all images in a part of it.

A tile holds several images, or one image's heads, or one head, or rows of one head, whatever fits. Its queries come
with the last row of the grid first: so the pairs of a table over the offsets are a view of it, and are never made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log, prod

import torch
import torch.nn.functional as F
from torch import Tensor

from variants import geometry
from variants.backends.eager import prefix_of
from variants.geometry import of_heads
from variants.relation import Terms

LN2 = log(2)  # scores are counted in it, so that their exponential is 2 ** score
CACHE = 2**18  # float32 scores in a tile of one image, 1 MiB: the second-level cache of a core; of several, half
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
            return cls(max(1, CACHE // 2 // (heads * scores)), heads, rows)
        together = max(n for n in range(1, heads + 1) if heads % n == 0 and (n == 1 or n * scores <= CACHE))
        parts = 1 if together > 1 else min(rows, -(-scores // WHOLE))
        return cls(1, together, -(-rows // parts))


@dataclass(frozen=True)
class Block:
    """Some heads and some rows of the grid, with what all images share there.

    Its n queries are the prefix tokens, where the first row is among the rows, and then the patches, last row first.
    prior and bias / log 2 [heads or 1, rows, w, h, w] are views of tables; dropped [heads or 1, n, P+N] is not kept.
    """

    heads: slice
    rows: range
    tokens: slice
    prefix: int  # queries
    prior: Tensor | None
    bias: Tensor | None
    dropped: Tensor | None

    @property
    def shape(self) -> tuple[int, int]:
        """(heads, n)"""
        return self.heads.stop - self.heads.start, self.tokens.stop - self.tokens.start


def sums_type(like: Tensor) -> torch.dtype:
    """What is added up in."""
    return torch.float64 if like.dtype == torch.float64 else torch.float32


class Tiles:
    """The walk over the maps of x [B, H, P+N, D]: groups of heads, blocks of rows, chunks of images, their tiles."""

    def __init__(self, like: Tensor, fixed: Terms):
        """`like` is q, k or v; `fixed` has the grid, the mask and the groups."""
        self.images, self.heads, self.tokens, self.width = like.shape
        self.fixed, self.prefix = fixed, prefix_of(self.tokens, fixed)
        self.dtype = sums_type(like)
        self.tile = Tile.sized(self.heads, self.tokens, fixed.grid[0])
        self.room: dict[str, Tensor] = {}
        self.views: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self.device = like.device
        self.whole = self.tile.rows == fixed.grid[0]  # a block has all rows
        self.scale = self.width**-0.5
        self.in_twos = self.scale / LN2
        self.backwards = torch.arange(fixed.grid[0] - 1, -1, -1, device=like.device)

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
        prior, bias = (None if t is None else of_heads(t, heads).to(self.dtype) for t in (prior, bias))
        bias = None if bias is None else bias / LN2  # in the type of the sums: in half precision it would be rounded
        for first in range(0, h, self.tile.rows):
            rows = range(first, min(first + self.tile.rows, h))
            tokens = slice(p + first * w if first else 0, p + rows.stop * w)
            prior_pairs, bias_pairs = (
                None if t is None else geometry.rising_pairs(t, self.fixed.grid, rows) for t in (prior, bias)
            )
            prefix = 0 if first else p
            yield Block(heads, rows, tokens, prefix, prior_pairs, bias_pairs, self._dropped(heads, rows, prefix))

    def _dropped(self, heads: slice, rows: range, prefix: int) -> Tensor | None:
        w = self.fixed.grid[1]
        kept = self.fixed.mask(self.device, heads, slice(rows.start * w, rows.stop * w))
        if kept is None:
            return None
        dropped = ~kept[:, None].unflatten(2, (len(rows), w)).flip(2).flatten(1, 3)
        return F.pad(dropped, (self.prefix, 0, prefix, 0), value=False)

    def patches(self, scores: Tensor, block: Block) -> Tensor:
        """The scores [images * heads, n, P+N] among patches: [images, heads, rows, w, h, w], a view."""
        each = scores.view(-1, *block.shape, scores.shape[-1])[:, :, block.prefix :, self.prefix :]
        return each.unflatten(-1, self.fixed.grid).unflatten(2, (len(block.rows), -1))

    def all_of(self, name: str, x: Tensor, images: slice, heads: slice) -> Tensor:
        """[images * heads, P+N, D]: the share of x [B, H, P+N, D], side by side in memory."""
        part = x[images, heads]
        return self.empty(name, *part.shape).copy_(part).flatten(0, 1)

    def queries_of(self, name: str, x: Tensor, images: slice, block: Block) -> Tensor:
        """[images * heads, n, D]: a block's queries in x [B, H, P+N, D], in their order."""
        part = x[images, block.heads, block.tokens]
        found = self.empty(name, *part.shape)
        self._exchange(found, part, block)
        return found.flatten(0, 1)

    def put(self, x: Tensor, images: slice, block: Block, found: Tensor) -> None:
        """Writes what was found for a block's queries [images * heads, n, D] into x [B, H, P+N, D]."""
        part = x[images, block.heads, block.tokens]
        self._exchange(part, found.view(part.shape), block)

    def _exchange(self, to: Tensor, x: Tensor, block: Block) -> None:
        """Copies, with the rows of the grid in the other order."""
        if block.prefix:
            to[:, :, : block.prefix] = x[:, :, : block.prefix]
        rows, to_rows = (t[:, :, block.prefix :].unflatten(2, (len(block.rows), -1)) for t in (x, to))
        if x.dtype == to.dtype:  # one pass where a copy of what was turned would take two
            torch.index_select(rows, 2, self.backwards[-len(block.rows) :], out=to_rows)
        else:
            to_rows.copy_(rows.flip(2))

    def of_rows(self, numbers: Tensor, images: slice, block: Block) -> Tensor:
        """[images, heads, n]: a block's share of [B, H, P+N] numbers, which lie in the order of the blocks' queries."""
        return numbers[images, block.heads, block.tokens]

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
