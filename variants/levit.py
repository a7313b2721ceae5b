"""LeViT's attention bias: a learned logit for each distance of rows and columns, the same to either side.

    logit[h,i,j] = <q_i, k_j> / sqrt(D) + T_h[|dy|, |dx|]

Source: Graham et al., LeViT, arXiv 2104.01136 (attention bias), and its code. T starts at zero, so the layer starts as
plain attention; it does not decay, as in the code.
Departures: LeViT's batch norms, wider values and activation are not here; a pair with a prefix token in it has bias 0.
Resolution: LeViT has one; here the table, mirrored to all offsets, is resampled (bicubic, corners and centre kept).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from variants import geometry
from variants.geometry import Grid
from variants.registry import register
from variants.relation import Site, SpatialRelation, Term


@register("levit", family="biases")
class LeViT(SpatialRelation):
    """table [H, h, w] over |dy|, |dx| of the training grid."""

    equation = "logit += T_h[|dy|, |dx|]"
    source = "LeViT, arXiv 2104.01136"
    starts_as_sa = True

    def __init__(self, site: Site):
        super().__init__(site)
        self.table = nn.Parameter(torch.zeros(site.num_heads, *site.grid))

    def bias(self, offsets: Tensor) -> Term:
        h, w = geometry.grid_of(offsets)
        return geometry.resample(mirrored(self.table), (2 * h - 1, 2 * w - 1))

    def no_weight_decay(self) -> set[str]:
        return {"table"}

    def resolution_rule(self) -> str:
        return "resampled"

    def resample(self, grid: Grid) -> None:
        h, w = grid
        every = geometry.resample(mirrored(self.table.detach()), (2 * h - 1, 2 * w - 1))
        self.table.data = every[:, h - 1 :, w - 1 :].contiguous()


def mirrored(table: Tensor) -> Tensor:
    """[H, h, w] over distances -> [H, 2h-1, 2w-1] over offsets."""
    for axis in (-2, -1):
        table = torch.cat([table.flip(axis), table.narrow(axis, 1, table.shape[axis] - 1)], axis)
    return table
