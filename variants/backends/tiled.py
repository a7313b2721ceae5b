"""tiled: flash attention's idea in plain PyTorch, for the CPU, with the spatial terms that the fused kernels lack.

The scores are made tile by tile, small enough for the core's cache, and changed in place; the backward makes them again
and adds up the gradients of the tables, so that no tensor of B x H x N x N exists and none of N x N is kept. It serves
prior, bias, keys, mask and groups, in float32 (float64 for float64).

Source: Dao et al., FlashAttention, arXiv 2205.14135, algorithm 4 for the backward. Departures: a tile holds whole rows
of the attention map, so there is no running softmax; and exp is taken of the scores as they are, with the row's largest
subtracted only where a row's sum shows that it is needed: outside SAFE it may have lost digits. It is 2 ** (score /
log 2): torch's own exp takes 20 to 100 times as long where its result is next to nothing, as far from a patch it is.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from variants.backends.relative import Relative
from variants.backends.shares import shares, together
from variants.backends.tiles import LN2, Block, Tiles, sums_type
from variants.geometry import from_pairs, of_heads
from variants.recording import recorded
from variants.relation import Terms, Unsupported, total_bias, total_prior

BEYOND = frozenset({"queries", "values"})
SAFE = (1e-25, 1e30)  # sums of a row's exponentials: what has become 0 (below e^-87) is nothing beside the smallest sum


@torch.compiler.disable  # the tiles are written through views that its tracing cannot follow: one graph break
def attend(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
    """[B, H, P+N, D]. Raises Unsupported for queries and values, and where a second derivative is asked for."""
    beyond = sorted(terms.present & BEYOND)
    if beyond:
        raise Unsupported(f"the tiled backend cannot serve {', '.join(beyond)}; use backend=eager or auto")
    if recorded():
        raise Unsupported("the tiled backend walks over this batch alone, so it cannot be exported, traced or "
                          "transformed by torch.func; use backend=eager or auto")  # fmt: skip
    fixed = replace(terms, prior=(), bias=(), keys=())
    return _Tiled.apply(q, k, v, fixed, total_prior(terms), total_bias(terms), *terms.keys)


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, fixed: Terms, prior: Any, bias: Any, *keys: Tensor
    ) -> Tensor:
        batch, heads, tokens, width = q.shape
        mixed = q.new_empty(batch, tokens, heads, width).transpose(1, 2)  # as the merge of the heads wants it
        sums = q.new_empty(batch, heads, tokens, dtype=sums_type(q))  # of the exponentials in the maps' rows
        ctx.save_for_backward(q, k, v, sums, prior, bias, *keys)
        ctx.fixed = fixed
        together(
            lambda part: _forward(q[part], k[part], v[part], fixed, prior, bias, keys, mixed[part], sums[part]),
            shares(q),
        )
        return mixed

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise Unsupported("the tiled backend has no second derivative; for create_graph=True use backend=eager")
        q, k, v, sums, *tables = ctx.saved_tensors
        onto = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        by_share = together(
            lambda part: _backward(
                q[part], k[part], v[part], ctx.fixed, tables, above[part], sums[part], [x[part] for x in onto]
            ),
            shares(q),
        )  # fmt: skip
        return *onto, None, *(None if parts[0] is None else reduce(add, parts) for parts in zip(*by_share, strict=True))


def _forward(
    q: Tensor, k: Tensor, v: Tensor, fixed: Terms, prior: Any, bias: Any, keys: tuple[Tensor, ...], mixed: Tensor,
    sums: Tensor,
) -> None:  # fmt: skip
    """Writes the mixed values [B, H, P+N, D] of some images and the sums of exponentials in their rows [B, H, P+N]."""
    tiles = Tiles(q, fixed)
    with _own_precision(q):
        for heads in tiles.head_groups():
            for block in tiles.blocks(heads, prior, bias):
                relative = [Relative(table, tiles, block, i) for i, table in enumerate(keys)]
                for images in tiles.chunks():
                    part = _Part(tiles, images, block, q, k, v)
                    for tile in tiles.cut(images):
                        _tile_forward(tiles, part, tile, block, relative)
                    tiles.put(mixed, images, block, part.mixed)
                    tiles.of_rows(sums, images, block).copy_(part.sums.view(-1, *block.shape))


def _backward(
    q: Tensor, k: Tensor, v: Tensor, fixed: Terms, tables: list[Any], above: Tensor, sums: Tensor, onto: list[Tensor]
) -> list[Tensor | None]:
    """Writes the gradients of q, k and v of some images into `onto`; returns those of prior, bias and keys."""
    tiles = Tiles(q, fixed)
    prior, bias, *keys = tables
    dq, dk, dv = onto
    found = [None if table is None else torch.zeros_like(table, dtype=tiles.dtype) for table in tables]
    with _own_precision(q):
        for heads in tiles.head_groups():
            room = [None, None] if tiles.whole else [tiles.sums(heads) for _ in range(2)]
            for block in tiles.blocks(heads, prior, bias):
                relative = [Relative(table, tiles, block, i) for i, table in enumerate(keys)]
                onto_block = _Sums(tiles, block, prior, bias, relative)
                for images in tiles.chunks():
                    part = _Part(tiles, images, block, q, k, v)
                    part.collect(tiles, above, sums, *room)
                    for tile in tiles.cut(images):
                        _tile_backward(tiles, part, tile, block, onto_block)
                    tiles.put(dq, images, block, part.mixed)
                    if block.rows.stop == fixed.grid[0]:
                        for whole, made in ((dk, part.dk), (dv, part.dv)):
                            whole[images, heads] = made.view(-1, block.shape[0], *made.shape[1:]).mT
                onto_block.onto(*found)
    return found


class _Part:
    """A chunk's q, k, v and mixed values [images * heads, n or P+N, D], side by side in memory."""

    def __init__(self, tiles: Tiles, images: slice, block: Block, q: Tensor, k: Tensor, v: Tensor):
        self.images, self.block = images, block
        self.q = tiles.queries_of("q", q, images, block)
        self.k = tiles.all_of("k", k, images, block.heads)
        self.v = tiles.all_of("v", v, images, block.heads)
        self.mixed = tiles.empty("mixed", *self.q.shape)
        self.sums = tiles.empty("sums", *self.q.shape[:2], 1)

    def collect(self, tiles: Tiles, above: Tensor, sums: Tensor, dk: Tensor | None, dv: Tensor | None) -> None:
        """Room for gradients, transposed [images * heads, D, P+N]: of all blocks where a block has not all rows."""
        self.sums.view(-1, *self.block.shape).copy_(tiles.of_rows(sums, self.images, self.block))
        self.above = tiles.queries_of("above", above, self.images, self.block)
        shape = self.k.mT.shape
        self.dk = tiles.empty("dk", *shape).zero_() if dk is None else dk[self.images].flatten(0, 1)
        self.dv = tiles.empty("dv", *shape).zero_() if dv is None else dv[self.images].flatten(0, 1)


class _Sums:
    """A block's gradients over all images: on its pairs [heads, n, P+N], and on the windows of its relative keys."""

    def __init__(self, tiles: Tiles, block: Block, prior: Any, bias: Any, relative: list[Relative]):
        self.tiles, self.block, self.relative = tiles, block, relative
        self.prior, self.bias = (
            None if table is None else tiles.empty(name, *block.shape, tiles.tokens).zero_()
            for name, table in (("onto prior", prior), ("onto bias", bias))
        )
        self.windows = [tiles.empty(f"onto windows {i}", *one.windows.shape).zero_() for i, one in enumerate(relative)]

    def add(self, d: Tensor, raw: Tensor) -> None:
        """What the scores' gradient d means for bias and prior; raw is <q, k> / (sqrt(D) log 2)."""
        shape = (-1, *self.block.shape, d.shape[-1])
        for image, score in zip(d.view(shape), raw.view(shape), strict=True):
            if self.bias is not None:
                self.bias += image
            if self.prior is not None:
                self.prior.addcmul_(image, score, value=LN2)

    def onto(self, prior: Tensor | None, bias: Tensor | None, *keys: Tensor | None) -> None:
        """Adds all to the gradients of the tables over the offsets."""
        for table, pairs in ((prior, self.prior), (bias, self.bias)):
            if table is not None and pairs is not None:
                among = self.tiles.patches(pairs, self.block)[0]
                size = (table.shape[-2], table.shape[-1])
                found = from_pairs(among, self.tiles.fixed.grid, size, self.block.rows[::-1])
                of_heads(table, self.block.heads).add_(found if len(table) > 1 else found.sum(0, keepdim=True))
        for one, windows, table in zip(self.relative, self.windows, keys, strict=True):
            assert table is not None
            one.onto(table, windows)


def _tile_forward(tiles: Tiles, part: _Part, tile: slice, block: Block, relative: list[Relative]) -> None:
    """The mixed values of one tile, and its rows' sums."""
    q, k, v, mixed, sums = part.q[tile], part.k[tile], part.v[tile], part.mixed[tile], part.sums[tile]
    weights = tiles.empty("weights", *q.shape[:2], tiles.tokens)
    _scores(tiles, q, k, block, relative, weights, weights)
    torch.sum(weights.exp2_(), -1, keepdim=True, out=sums)
    if _safe(sums):
        torch.bmm(weights, v, out=mixed)
        mixed /= sums
    else:
        _scores(tiles, q, k, block, relative, weights, weights)
        torch.bmm(torch.softmax(weights.mul_(LN2), -1, out=weights), v, out=mixed)


def _safe(sums: Tensor) -> bool:
    """Whether exp of these rows lost nothing; not so for a sum that is no number. On meta there are no numbers."""
    low, high = torch.aminmax(sums)
    return sums.is_meta or bool(low > SAFE[0] and high < SAFE[1])


def _tile_backward(tiles: Tiles, part: _Part, tile: slice, block: Block, sums: _Sums) -> None:
    """The gradients of one tile, added to those of its chunk and its block."""
    q, k, above, dq = part.q[tile], part.k[tile], part.above[tile], part.mixed[tile]
    shape = (*q.shape[:2], tiles.tokens)
    weights, d = tiles.empty("weights", *shape), tiles.empty("d", *shape)
    raw = weights if block.prior is None else tiles.empty("raw", *shape)
    _scores(tiles, q, k, block, sums.relative, raw, weights)
    if _safe(part.sums[tile]):
        weights.exp2_().div_(part.sums[tile])
    else:
        torch.softmax(weights.mul_(LN2), -1, out=weights)
    part.dv[tile].baddbmm_(above.mT, weights)
    torch.bmm(above, part.v[tile].mT, out=d)
    torch._softmax_backward_data(d, weights, -1, tiles.dtype, grad_input=d)
    sums.add(d, raw)
    if sums.relative:
        dq.zero_()
    for one, windows in zip(sums.relative, sums.windows, strict=True):
        one.gradients(d, q, windows, dq)
    if block.prior is not None:
        tiles.patches(d, block).mul_(block.prior)
    part.dk[tile].baddbmm_(q.mT, d, alpha=tiles.scale)
    torch.baddbmm(dq, d, k, beta=1 if sums.relative else 0, alpha=tiles.scale, out=dq)


def _scores(
    tiles: Tiles, q: Tensor, k: Tensor, block: Block, relative: list[Relative], raw: Tensor, scores: Tensor
) -> None:
    """The scores of a tile over log 2 [images * heads, n, P+N]; <q, k> / (sqrt(D) log 2) into `raw`, maybe `scores`."""
    torch.baddbmm(raw, q, k.mT, beta=0, alpha=tiles.in_twos, out=raw)
    among = tiles.patches(scores, block)
    if raw is not scores and block.prefix + tiles.prefix:
        scores.copy_(raw)
    if block.prior is not None:
        torch.mul(tiles.patches(raw, block), block.prior, out=among)
    for one in relative:
        one.add(scores, q)
    if block.bias is not None:
        among += block.bias
    if block.dropped is not None:
        scores.view(-1, *block.shape, tiles.tokens).masked_fill_(block.dropped, -torch.inf)


def _own_precision(like: Tensor) -> AbstractContextManager[Any]:
    casts = torch.amp.is_autocast_available(like.device.type)
    return torch.autocast(like.device.type, enabled=False) if casts else nullcontext()
