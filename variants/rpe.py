"""RPE-1D and RPE-2D: learned relative position embeddings that meet the query, or learned biases.

    mode=query  logit[h,i,j] = <q_i, k_j> / sqrt(D) + <q_i, R(Delta)> / sqrt(D)
    mode=bias   logit[h,i,j] = <q_i, k_j> / sqrt(D) + t_h(Delta)
    rpe_1d      R and t depend on the flattened step dy*w + dx
    rpe_2d      R and t depend on (dy, dx); factorized: R = R^y(dy) + R^x(dx), and t likewise
    values      out_i = sum_j A_ij (v_j + R^v(Delta))

Source: Shaw et al., arXiv 1803.02155, eq. 3 and 4 (one table for all heads, key minus query, the scale on both
products); 2-D factorised as in BoTNet, arXiv 2101.11605; biases as in Swin, arXiv 2103.14030 (there query minus key:
flip both axes). All tables start trunc-normal(0.02), as Swin's and timm's.
Departures: Shaw's clipping distance is the grid (or `extent`); BoTNet leaves the position product unscaled in timm.
Resolution: a table that spans the grid is resampled (bicubic; linear in 1-D); one with `extent` is clipped beyond it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from variants import geometry
from variants.geometry import Grid
from variants.registry import register
from variants.relation import Site, SpatialRelation, Term

Mode = Literal["query", "bias"]


def _table(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=0.02))


@register("rpe_1d", family=("rpe", "paper"))
class RPE1D(SpatialRelation):
    """table [1, D, 1, 2N-1] (mode=query) or [H, 1, 2N-1] (mode=bias) over the flattened step, N the training grid's."""

    equation = "logit += <q_i, R[dy w + dx]> / sqrt(D)"
    source = "Shaw et al., arXiv 1803.02155"

    def __init__(self, site: Site, *, mode: Mode = "query", values: bool = False):
        super().__init__(site)
        self.mode = mode
        steps = 2 * site.grid[0] * site.grid[1] - 1
        self.table = _table(*((1, site.head_dim) if mode == "query" else (site.num_heads,)), 1, steps)
        self.value_table = _table(1, site.head_dim, 1, steps) if values else None

    def keys(self, offsets: Tensor) -> Term:
        return flattened(self.table, offsets) if self.mode == "query" else None

    def bias(self, offsets: Tensor) -> Term:
        return flattened(self.table, offsets) if self.mode == "bias" else None

    def values(self, offsets: Tensor) -> Term:
        return None if self.value_table is None else flattened(self.value_table, offsets)

    def no_weight_decay(self) -> set[str]:
        return {name for name, _ in self.named_parameters()}  # as Swin's tables

    def resolution_rule(self) -> str:
        return "resampled"

    def resample(self, grid: Grid) -> None:
        _resample_all(self, (1, 2 * grid[0] * grid[1] - 1))


def flattened(table: Tensor, offsets: Tensor) -> Tensor:
    """A table [..., 1, 2N-1] over steps in row-major order -> [..., 2h-1, 2w-1]: the entry of dy*w + dx."""
    h, w = geometry.grid_of(offsets)
    dy = torch.arange(1 - h, h, device=table.device)
    dx = torch.arange(1 - w, w, device=table.device)
    step = dy[:, None] * w + dx
    resampled = geometry.resample(table, (1, 2 * h * w - 1)).squeeze(-2)
    return resampled.index_select(-1, (step + h * w - 1).flatten()).unflatten(-1, step.shape)


@register("rpe_2d", family=("rpe", "paper"))
class RPE2D(SpatialRelation):
    """Tables over (dy, dx): [1, D, ...] that meet the query, or [H, ...] that add; `factorized` has one for each axis.

    extent: `grid`, the table spans the training grid; M, it covers |dy|, |dx| < M.
    """

    equation = "logit += <q_i, R[dy, dx]> / sqrt(D)"
    source = "Shaw et al., arXiv 1803.02155; BoTNet, arXiv 2101.11605"

    def __init__(
        self,
        site: Site,
        *,
        mode: Mode = "query",
        factorized: bool = False,
        extent: int | Literal["grid"] = "grid",
        values: bool = False,
    ):
        super().__init__(site)
        if extent != "grid" and extent < 1:
            raise ValueError(f"rpe_2d[extent={extent}] covers no offset; extent is grid or a whole number from 1")
        self.mode, self.extent = mode, None if extent == "grid" else extent
        a, b = (2 * (side if self.extent is None else self.extent) - 1 for side in site.grid)
        axes = [(a, 1), (1, b)] if factorized else [(a, b)]
        lead = (1, site.head_dim) if mode == "query" else (site.num_heads,)
        self.tables = nn.ParameterList(_table(*lead, *axis) for axis in axes)
        self.value_tables = nn.ParameterList(_table(1, site.head_dim, *axis) for axis in axes) if values else None

    def keys(self, offsets: Tensor) -> Term:
        return self._read(self.tables, offsets) if self.mode == "query" else None

    def bias(self, offsets: Tensor) -> Term:
        return self._read(self.tables, offsets) if self.mode == "bias" else None

    def values(self, offsets: Tensor) -> Term:
        return None if self.value_tables is None else self._read(self.value_tables, offsets)

    def _read(self, tables: nn.ParameterList, offsets: Tensor) -> Term:
        return tuple(geometry.lookup(table, offsets, self.extent) for table in tables)

    def no_weight_decay(self) -> set[str]:
        return {name for name, _ in self.named_parameters()}

    def resolution_rule(self) -> str:
        return "resampled" if self.extent is None else "clipped"

    def resample(self, grid: Grid) -> None:
        if self.extent is None:
            _resample_all(self, (2 * grid[0] - 1, 2 * grid[1] - 1))


def _resample_all(relation: nn.Module, size: tuple[int, int]) -> None:
    for parameter in relation.parameters():
        a, b = (new if old > 1 else 1 for old, new in zip(parameter.shape[-2:], size, strict=True))
        parameter.data = geometry.resample(parameter.detach(), (a, b))
