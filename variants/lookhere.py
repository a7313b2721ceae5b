"""LookHere: each head looks one way alone and pays for the distance; nothing is learned.

    logit[h,i,j] = <q_i, k_j> / sqrt(D) - l m_h |Delta|,  kept where Delta lies in the field of view of head h

Source: Fuller et al., LookHere, arXiv 2405.13985, and its code, where |Delta| is Euclidean and in patches.
directions  halves     up, down, left, right; 180 degrees each, with the query's own row or column
            corners    up and left, up and right, down and left, down and right; 90 degrees
            triangles  up, down, left, right; 90 degrees, with both diagonals
            diagonals  the half planes up and right, up and left, down and right, down and left of a diagonal
            eighths    each triangle cut in two; 45 degrees
Heads: 12 are 8 with a direction and 4 without, 16 are 8 and 8, 6 are 4 and 2, as in the code; else 4 floor(H/6) look
somewhere, but at least 4, and the rest everywhere. Of those with a direction each full turn has half the slope of the
one before it, from m = 1/2; those without have 1/4, 1/16, 1/64, 1/256, heads that share a slope side by side.
l goes linearly from `first` in the first layer to `last` in the last.
Departures: the code takes directions and l from a configuration that it does not ship; the defaults here are a choice
and no claim. It adds -3.4e38 where this masks, and rounds the bias to bfloat16.
Class token: it sees all and all see it, at bias 0, as in the code. Resolution: recomputed; the code has a factor on all
slopes, to be set for a new grid, which here is in `first` and `last`.
"""

from __future__ import annotations

from math import inf
from typing import Literal

import torch
from torch import Tensor

from variants.geometry import Grid
from variants.registry import register
from variants.relation import Site, SpatialRelation, Term, Unsupported

UP, DOWN, LEFT, RIGHT = (-1, 0), (1, 0), (0, -1), (0, 1)
RISING, FALLING = (-1, 1), (1, 1)  # up and right, down and right: the sides of the two diagonals


def _back(way: tuple[int, int]) -> tuple[int, int]:
    return -way[0], -way[1]


# A field of view is what lies on the right side of each of its lines: way . Delta >= 0.
TRIANGLES: list[tuple[tuple[int, int], ...]] = [
    (RISING, _back(FALLING)), (FALLING, _back(RISING)), (_back(RISING), _back(FALLING)), (RISING, FALLING),
]  # fmt: skip
VIEWS: dict[str, list[tuple[tuple[int, int], ...]]] = {
    "halves": [(UP,), (DOWN,), (LEFT,), (RIGHT,)],
    "corners": [(UP, LEFT), (UP, RIGHT), (DOWN, LEFT), (DOWN, RIGHT)],
    "triangles": TRIANGLES,
    "diagonals": [(RISING,), (_back(FALLING),), (FALLING,), (_back(RISING),)],
    "eighths": [(*view, side) for sides in ((LEFT, LEFT, UP, UP), (RIGHT, RIGHT, DOWN, DOWN))
                for view, side in zip(TRIANGLES, sides, strict=True)],
}  # fmt: skip


@register("lookhere", family="biases")
class LookHere(SpatialRelation):
    """bias [H, 2h-1, 2w-1] and mask [H, N, N], without parameters."""

    equation = "logit += -m_h |Delta| in the field of view of h"
    source = "LookHere, arXiv 2405.13985"

    def __init__(
        self,
        site: Site,
        *,
        directions: Literal["halves", "corners", "triangles", "diagonals", "eighths"] = "halves",
        first: float = 1.5,
        last: float = 0.5,
    ):
        super().__init__(site)
        if site.num_heads < 4:
            raise Unsupported(f"lookhere looks four ways and has {site.num_heads} heads; use 4 or more, or alibi_2d")
        if not all(0 <= factor < inf for factor in (first, last)):
            raise ValueError(f"lookhere[first={first},last={last}] rewards what is far; both are numbers from 0")
        directed = max(4, 4 * (site.num_heads // 6))
        free = site.num_heads - directed
        views = VIEWS[directions]
        self.views = [views[head % len(views)] for head in range(directed)] + [()] * free
        turns = [2.0 ** -(1 + head // len(views)) for head in range(directed)]
        layer = first + (last - first) * site.layer / max(site.depth - 1, 1)
        self.slopes = [layer * m for m in turns + [4.0 ** -(1 + 4 * n // max(free, 4)) for n in range(free)]]

    def bias(self, offsets: Tensor) -> Term:
        return -offsets.new_tensor(self.slopes)[:, None, None] * torch.linalg.vector_norm(offsets, dim=0)

    def mask(self, qy: Tensor, qx: Tensor, ky: Tensor, kx: Tensor, grid: Grid) -> Tensor:
        dy, dx = ky - qy, kx - qx
        everywhere = torch.ones(torch.broadcast_shapes(dy.shape, dx.shape), dtype=torch.bool, device=dy.device)
        kept = []
        for view in self.views:
            seen = everywhere
            for y, x in view:
                seen = seen & (y * dy + x * dx >= 0)
            kept.append(seen)
        return torch.stack(kept)
