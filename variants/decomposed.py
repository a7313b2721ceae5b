"""Decomposed relative position: the query meets a learned vector for the row step and one for the column step.

    logit[h,i,j] = <q_i, k_j> / sqrt(D) + <q_i, R^y(dy)> + <q_i, R^x(dx)>

Source: Li et al., MViTv2, arXiv 2112.01526; the same in ViTDet (arXiv 2203.16527) and SAM (arXiv 2304.02643).
One pair of tables serves all heads, and the position products are not divided by sqrt(D): their tables here are
multiplied by it, since every key is divided. They start at 0, so the layer is plain attention at first, and are not
decayed (MViTv2). rpe_2d[factorized=True] is the same, divided, drawn at random, resampled otherwise.
Departures: key minus query, where the authors' tables are query minus key (flip them); queries and keys share one
grid, there is no pooling. A pair with a prefix token in it gets nothing, as in MViTv2.
Resolution: each table is interpolated, linear between the centres of its entries; one with `extent` (for windows, where
ViTDet's and SAM's tables have the window's size) is clipped beyond it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants import geometry
from variants.geometry import Grid
from variants.registry import register
from variants.relation import Site, SpatialRelation, Term


@register("decomposed", family="contextual")
class Decomposed(SpatialRelation):
    """Tables rows [1, D, 2h-1, 1] and columns [1, D, 1, 2w-1] of the training grid; with extent=M, 2M-1 entries."""

    equation: ClassVar[str] = "logit += <q_i, R^y(dy) + R^x(dx)>"
    source: ClassVar[str] = "MViTv2, ViTDet, SAM; Li et al., arXiv 2112.01526"
    starts_as_sa = True

    def __init__(self, site: Site, *, extent: int | Literal["grid"] = "grid"):
        super().__init__(site)
        if extent != "grid" and extent < 1:
            raise ValueError(f"decomposed[extent={extent}] covers no offset; extent is grid or a whole number from 1")
        self.extent = None if extent == "grid" else extent
        a, b = (2 * (side if self.extent is None else self.extent) - 1 for side in site.grid)
        self.rows = nn.Parameter(torch.zeros(1, site.head_dim, a, 1))
        self.columns = nn.Parameter(torch.zeros(1, site.head_dim, 1, b))

    def keys(self, offsets: Tensor) -> Term:
        return tuple(self.site.head_dim**0.5 * self._read(table, offsets) for table in (self.rows, self.columns))

    def _read(self, table: Tensor, offsets: Tensor) -> Tensor:
        if self.extent is None:
            return interpolated(table, geometry.grid_of(offsets))
        return geometry.lookup(table, offsets, self.extent)

    def no_weight_decay(self) -> set[str]:
        return {"rows", "columns"}

    def resolution_rule(self) -> str:
        return "resampled" if self.extent is None else "clipped"

    def resample(self, grid: Grid) -> None:
        if self.extent is None:
            for table in (self.rows, self.columns):
                table.data = interpolated(table.detach(), grid)


def interpolated(table: Tensor, grid: Grid) -> Tensor:
    """A table [1, D, a, 1] or [1, D, 1, b] at the offsets of a grid, as it is where it spans them already."""
    down, across = (size if size == 1 else 2 * side - 1 for size, side in zip(table.shape[-2:], grid, strict=True))
    if table.shape[-2:] == (down, across):
        return table
    return F.interpolate(table, size=(down, across), mode="bilinear", align_corners=False)
