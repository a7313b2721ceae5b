"""What the kernels are told of a grid and its mask, worked out once: places, groups, and which blocks have a kept pair.

A mask is served where it is a function of the offset (it becomes a bias of -inf) and where it is made of groups. No
tensor of all pairs is handed to a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from variants import geometry
from variants.backends import order
from variants.geometry import Grid
from variants.relation import Terms, Unsupported

ORDERED = 64  # tokens of a block for which the order of the patches is chosen
OFFSETS = 256  # entries of a table that one program of `collect` sums up
_found: Any = WeakTensorKeyDictionary()  # by mask, then by groups, which live as long as their layer remembers them
_plain: dict[Any, Layout] = {}


@dataclass(frozen=True)
class Blocks:
    """For each of some blocks the others that it meets: lists int32 [heads or 1, blocks, others], counts [.., blocks].

    None for both where every block meets every other.
    """

    lists: Tensor | None
    counts: Tensor | None


@dataclass(frozen=True)
class Pairs:
    """For the gradients of tables: the pairs of blocks of queries and keys with a kept pair, and the offsets in each.

    which: int32 [pairs], block of queries * blocks of keys + block of keys; kept: int32 [heads or 1, pairs], 0 where a
    head keeps none, or None; first, spans: int32 [pairs], the first offset of each and how many there are to its last;
    lists, counts: for OFFSETS entries of a table each, the pairs that have one of them.
    """

    which: Tensor
    kept: Tensor | None
    first: Tensor
    spans: Tensor
    lists: Tensor
    counts: Tensor
    span: int


@dataclass(frozen=True, eq=False)
class Layout:
    """A grid with P prefix tokens and its mask, on one device.

    place: int32 [P+N], places of two tokens less each other plus `centre` number their offset in a flat table;
    token: int32 [h (2w-1)], the token at a place, -1 where no patch has it;
    groups: int32 [heads or 1, P+N] or None; order, back: int64 [P+N], where tokens come from, and the way back, or None
    where they stay;
    offsets: bool [heads or 1, 2h-1, 2w-1], what a mask keeps, or None; made: lists, by the sizes of blocks.
    """

    grid: Grid
    prefix: int
    place: Tensor
    centre: int
    token: Tensor
    groups: Tensor | None
    order: Tensor | None
    back: Tensor | None
    offsets: Tensor | None
    made: dict[Any, Any]

    @property
    def entries(self) -> int:
        h, w = self.grid
        return (2 * h - 1) * (2 * w - 1)

    @cached_property
    def tokens(self) -> int:
        return len(self.place)

    def blocks(self, queries: int, keys: int, turned: bool = False) -> Blocks:
        """For blocks of `queries` tokens the blocks of `keys` tokens that they see; turned: for those of keys."""
        key = ("blocks", queries, keys, turned)
        if key not in self.made:
            self.made[key] = self._blocks(queries, keys, turned)
        return self.made[key]

    def pairs(self, queries: int, keys: int) -> Pairs:
        key = ("pairs", queries, keys)
        if key not in self.made:
            self.made[key] = self._pairs(queries, keys)
        return self.made[key]

    def _blocks(self, queries: int, keys: int, turned: bool) -> Blocks:
        met = self._met(queries, keys)
        if met is None or bool(met.all()):
            return Blocks(None, None)
        return Blocks(*_compact(met.transpose(1, 2) if turned else met))

    def _pairs(self, queries: int, keys: int) -> Pairs:
        met = self._met(queries, keys)
        device = self.place.device
        ends = []  # the least and the largest place of patches in each block; blocks of prefix tokens alone have none
        for size in (queries, keys):
            short = -self.tokens % size
            low, high = (
                F.pad(torch.cat([self.place.new_full((self.prefix,), none), self.place[self.prefix :]]), (0, short),
                      value=none).view(-1, size) for none in (self.entries * 4, -self.entries * 4)
            )  # fmt: skip
            ends.append((low.amin(1), high.amax(1)))
        (q_low, q_high), (k_low, k_high) = ends
        first = (k_low[None, :] - q_high[:, None] + self.centre).flatten()
        spans = (k_high[None, :] - q_low[:, None] + self.centre).flatten() - first + 1
        live = spans > 0 if met is None else (spans > 0) & met.any(0).flatten()
        which = live.nonzero().flatten()
        first, spans = first[which], spans[which]
        starts = torch.arange(0, self.entries, OFFSETS, device=device)
        meets = (first[None] < starts[:, None] + OFFSETS) & (first[None] + spans[None] > starts[:, None])
        lists, counts = _compact(meets)
        kept = None if met is None else met.flatten(1)[:, which].int()
        return Pairs(which.int(), kept, first.int(), spans.int(), lists, counts, int(spans.max()))

    def _met(self, queries: int, keys: int) -> Tensor | None:
        """bool [heads or 1, blocks of queries, blocks of keys]: those with a pair that is kept; None for all."""
        if self.groups is None and self.offsets is None:
            return None
        rows = []
        for tokens in torch.arange(self.tokens, device=self.place.device).split(queries):
            seen = self._seen(tokens).any(1)  # [heads or 1, P+N]
            rows.append(F.pad(seen, (0, -self.tokens % keys)).unflatten(1, (-1, keys)).any(2))
        return torch.stack(rows, 1)

    def _seen(self, tokens: Tensor) -> Tensor:
        """bool [heads or 1, queries, P+N]: what some queries see."""
        patch = torch.arange(self.tokens, device=self.place.device) >= self.prefix
        among = patch[tokens][:, None] & patch[None, :]
        seen = torch.ones_like(among)[None]
        if self.groups is not None:
            seen = seen & (self.groups[:, tokens, None] == self.groups[:, None, :])
        if self.offsets is not None:
            at = (self.place[None, :] - self.place[tokens][:, None] + self.centre).clamp(0, self.entries - 1)
            seen = seen & self.offsets.flatten(1)[:, at]
        return seen | ~among


@dataclass(frozen=True)
class _Known:
    """The layouts of a mask, and of the groups that it came with."""

    layouts: dict[Any, Layout]
    by_groups: Any


def layout(terms: Terms, prefix: int, device: torch.device) -> Layout:
    """Raises Unsupported for a mask that is neither made of groups nor a function of the offset."""
    if terms.kept is None and terms.groups is None:
        key = (terms.grid, prefix, device)
        if key not in _plain:
            _plain[key] = _laid_out(terms, prefix, device)
        return _plain[key]
    known = _found
    for owner in (term for term in (terms.kept, terms.groups) if term is not None):
        below = known.get(owner)
        if below is None:
            below = known[owner] = _Known({}, WeakTensorKeyDictionary())
        known = below.by_groups
    case = (terms.grid, prefix, device)
    if case not in below.layouts:
        with torch.inference_mode(False):  # what is kept here serves a later backward as well
            below.layouts[case] = _laid_out(terms, prefix, device)
    return below.layouts[case]


def offsets_of(kept: Tensor, grid: Grid) -> Tensor | None:
    """bool [H or 1, 2h-1, 2w-1]: a mask [H or 1, N, N] as a function of the offset; None where it is none."""
    h, w = grid
    whole = kept.view(-1, h, w, h, w)
    table = kept.new_zeros(len(kept), 2 * h - 1, 2 * w - 1)
    for y, x in ((0, 0), (0, w - 1), (h - 1, 0), (h - 1, w - 1)):  # from the corners every offset is seen
        table[:, h - 1 - y : 2 * h - 1 - y, w - 1 - x : 2 * w - 1 - x] = whole[:, y, x]
    return table if torch.equal(geometry.to_pairs(table, grid), kept) else None


def _laid_out(terms: Terms, prefix: int, device: torch.device) -> Layout:
    (h, w), offsets, groups, patches = terms.grid, None, None, None
    if terms.kept is not None:
        offsets = offsets_of(terms.kept, terms.grid)
        if offsets is None:
            raise Unsupported("the triton backend serves masks by offset and windows, and this mask is neither; "
                              "use backend=sdpa, eager or auto")  # fmt: skip
    if terms.kept is not None or terms.groups is not None:
        whole = terms.mask(device)
        assert whole is not None
        patches = order.best(whole, terms.grid, ORDERED, prefix)
    place, centre = geometry.places(terms.grid, device, prefix)
    place = place.int()
    if terms.groups is not None:
        groups = F.pad(terms.groups.to(device).int(), (prefix, 0))
    moved = None
    if patches is not None:
        moved = torch.cat([torch.arange(prefix, device=device), patches + prefix])
        place = place[moved]
        groups = None if groups is None else groups[:, moved].contiguous()
    token = place.new_full((h * (2 * w - 1),), -1)
    token[place[prefix:].long()] = torch.arange(prefix, len(place), device=device).int()
    back = None if moved is None else moved.argsort()
    return Layout(terms.grid, prefix, place.contiguous(), centre, token, groups, moved, back, offsets, {})


def _compact(met: Tensor) -> tuple[Tensor, Tensor]:
    """bool [.., n] -> int32 [.., n], the places of what is True, first, in their order, and how many [..]."""
    return (~met).int().argsort(dim=-1, stable=True).int().contiguous(), met.sum(-1).int().contiguous()
