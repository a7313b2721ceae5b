"""A learned prior made binary: for each head a share of the offsets is kept, the other pairs are not attended at all.

    kept_h(Delta) = score_h(Delta) is among the largest `keep` of head h's offsets, or Delta = 0

by=deviation: the score is |Omega_h(Delta) - 1|, how far the prior is from plain attention. by=mass: the attention that
the trained model spends on an offset, summed over all pairs and some validation images. Two forms: `values` keeps the
prior's values inside (Omega inside, no pair outside); `ones` drops them (1 inside), which leaves a mask alone.
A grid has its own table: the prior is thresholded on the offsets of that grid. Source: none; SP-ViT (arXiv 2206.07662)
names binarised priors as future work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from variants import Attention
from variants.geometry import Grid
from variants.relation import Composed, Site, SpatialRelation, total_prior
from variants.sp_sa import SPSA

By = Literal["deviation", "mass"]
Form = Literal["values", "ones"]
BYS: tuple[By, ...] = ("deviation", "mass")
FORMS: tuple[Form, ...] = ("values", "ones")


class Kept(SpatialRelation):
    """A mask by tables over the offsets: for each grid bool [H or 1, 2h-1, 2w-1], True where the pair is kept.

    The offset (0, 0) is always kept. Raises ValueError for a grid that has no table.
    """

    def __init__(self, site: Site, tables: Mapping[Grid, Tensor]):
        super().__init__(site)
        self.tables = dict(tables)

    def mask(self, qy: Tensor, qx: Tensor, ky: Tensor, kx: Tensor, grid: Grid) -> Tensor:
        if grid not in self.tables:
            known = ", ".join(f"{h}x{w}" for h, w in self.tables)
            raise ValueError(f"no offsets were chosen for a {grid[0]}x{grid[1]} grid, only for {known}; choose some")
        table = self.tables[grid].to(ky.device)
        return table[:, ky - qy + grid[0] - 1, kx - qx + grid[1] - 1]


def largest(scores: Tensor, keep: float) -> Tensor:
    """bool [H, 2h-1, 2w-1]: the `keep` largest scores of each head, at least one offset, and (0, 0) among them.

    Of equal scores the nearer offset comes first, so that a prior without any shape keeps a disc.
    """
    _, height, width = scores.shape
    y, x = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    far = (y[:, None].square() + x.square()).flatten().to(scores.device)
    near = far.argsort(stable=True)  # the centre first
    ranked = scores.flatten(1)[:, near].double()
    ranked[:, 0] = torch.inf
    number = max(1, round(keep * height * width))
    best = near[ranked.argsort(dim=1, descending=True, stable=True)[:, :number]]
    return torch.zeros_like(scores, dtype=torch.bool).flatten(1).scatter_(1, best, True).view_as(scores)


@torch.no_grad()
def deviation(attention: Attention, grid: Grid) -> Tensor:
    """[H, 2h-1, 2w-1]: |Omega - 1| on the offsets of a grid."""
    like = attention.qkv.weight
    terms = attention.relation.terms(grid, like.device, like.dtype, (None, None))
    prior = total_prior(terms)
    assert prior is not None
    return (prior - 1).abs().expand(attention.num_heads, 2 * grid[0] - 1, 2 * grid[1] - 1)


def priors_of(relation: SpatialRelation) -> list[SPSA]:
    """The sp_sa in a relation whose prior multiplies."""
    parts = relation.parts if isinstance(relation, Composed) else [relation]
    return [part for part in parts if isinstance(part, SPSA) and part.combine == "mul"]


def binarise(attention: Attention, tables: Mapping[Grid, Tensor], form: Form) -> None:
    """Puts the mask into a layer that has an sp_sa, whose prior stays inside (`values`) or is dropped (`ones`)."""
    kept, priors = Kept(attention.site, tables), priors_of(attention.relation)
    parts = attention.relation.parts if isinstance(attention.relation, Composed) else [attention.relation]
    rest = [part for part in parts if form == "values" or not any(part is one for one in priors)]
    attention.relation = Composed([*rest, kept]) if rest else kept


def pairs(table: Tensor, grid: Grid) -> Tensor:
    """[H]: the share of the pairs of a grid whose offset a table [H, 2h-1, 2w-1] keeps."""
    h, w = grid
    down, across = h - torch.arange(1 - h, h).abs(), w - torch.arange(1 - w, w).abs()
    count = (down[:, None] * across).to(table.device, torch.float64)
    return (table * count).sum((1, 2)) / (h * w) ** 2
