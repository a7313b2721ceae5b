"""Attention over kept offsets, executed by gathering: a tile of queries meets the keys that one of them keeps.

A grid is cut into tiles (a divisor of its height by one of its width); a tile's keys are the union over its queries, so
offsets that lie together cost little more than what they keep, and offsets that are strewn cost the whole grid. Heads
have tiles of their own, each the cheapest by count: pairs, and what copying a key costs. Tiles with fewer keys are
filled up to the largest of their head. Inference on the CPU; the idea is that of block-sparse attention (Child et al.,
arXiv 1904.10509; FlexAttention, arXiv 2412.05496) with blocks made to fit the mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from variants import geometry
from variants.geometry import Grid, of_heads
from variants.relation import Terms, Unsupported, total_prior

COPY = 16  # pairs that a gathered key is worth, by measurement at a head width of 16


@dataclass(frozen=True)
class Head:
    """One head's tiles: queries [T, Q] and keys [T, U] by number, prior and what is added to the scores, [T, Q, U]."""

    queries: Tensor
    keys: Tensor
    prior: Tensor | None
    added: Tensor

    @property
    def executed(self) -> int:
        """The pairs whose score is computed."""
        return self.queries.numel() * self.keys.shape[1]


class Gathered:
    """The plan for one layer on one grid; call it with q, k, v [B, H, N, D]."""

    def __init__(self, terms: Terms, heads: int):
        beyond = sorted(terms.present - {"prior", "kept"})
        if beyond or terms.kept is None:
            what = f"cannot serve {', '.join(beyond)}" if beyond else "wants a mask"
            raise Unsupported(f"gathered attention {what}; use backend=auto")
        prior = total_prior(terms)
        pairs = None if prior is None else geometry.to_pairs(prior, terms.grid)
        self.heads = []
        for number in range(heads):
            one = slice(number, number + 1)
            own = None if pairs is None else of_heads(pairs, one)[0]
            self.heads.append(_head(of_heads(terms.kept, one)[0], own, terms.grid))

    @property
    def executed(self) -> int:
        """Pairs of all heads whose score is computed, for one image."""
        return sum(head.executed for head in self.heads)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, H, N, D]. Raises Unsupported where there are prefix tokens, which every query keeps."""
        if q.shape[2] != self.heads[0].queries.numel():
            raise Unsupported("gathered attention knows no prefix tokens; use class_token=late or none")
        out = torch.empty_like(q)
        scale = q.shape[-1] ** -0.5
        for number, head in enumerate(self.heads):
            mine, (tiles, size) = q[:, number] * scale, head.queries.shape
            keys, values = (x[:, number].index_select(1, head.keys.flatten()) for x in (k, v))
            queries = mine.index_select(1, head.queries.flatten()).unflatten(1, (tiles, size))
            scores = queries @ keys.unflatten(1, (tiles, -1)).mT
            if head.prior is not None:
                scores.mul_(head.prior)
            weights = scores.add_(head.added).softmax(dim=-1)
            mixed = weights @ values.unflatten(1, (tiles, -1))
            out[:, number].index_copy_(1, head.queries.flatten(), mixed.flatten(1, 2))
        return out


def _head(kept: Tensor, prior: Tensor | None, grid: Grid) -> Head:
    """The cheapest tiles for a mask [N, N]."""
    places = torch.arange(len(kept), device=kept.device).view(grid)
    best: tuple[float, Tensor, Tensor, int] | None = None
    for down in _divisors(grid[0]):
        for across in _divisors(grid[1]):
            queries = _tiled(places, down, across)
            wanted = _tiled(kept.view(*grid, -1), down, across).any(dim=1)  # [T, N]
            most = int(wanted.sum(1).max())
            cost = len(queries) * most * (down * across + COPY)
            if best is None or cost < best[0]:
                best = cost, queries, wanted, most
    assert best is not None
    _, queries, wanted, most = best
    keys = wanted.byte().argsort(dim=1, descending=True, stable=True)[:, :most]  # the wanted ones, then any others
    at = (queries[:, :, None], keys[:, None, :])
    dropped = ~kept[at]
    added = torch.zeros(dropped.shape, device=kept.device).masked_fill(dropped, -torch.inf)
    return Head(queries, keys, None if prior is None else prior[at], added)


def _tiled(x: Tensor, down: int, across: int) -> Tensor:
    """[h, w, ...] -> [T, Q, ...]: tiles of down x across places."""
    cut = x.unflatten(0, (-1, down)).unflatten(2, (-1, across)).transpose(1, 2)
    return cut.flatten(2, 3).flatten(0, 1)


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]
