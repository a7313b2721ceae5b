"""Neighbourhood attention: a patch sees the K x K patches nearest to it, K x K at the border of the grid too.

    kept along an axis of n patches:  start_i <= j < start_i + K,  start_i = clamp(i - floor(K/2), 0, n - K)

Source: Hassani et al., Neighborhood Attention Transformer, arXiv 2204.07143; dilation, Hassani and Shi, arXiv
2209.15001: patches whose places have the same remainder by `dilation` are a grid of their own, with the same rule. As
in NATTEN: an even K sees K/2 patches before and K/2 - 1 after. NAT's table is a summand:
neighborhood[kernel=7]+rpe_2d[extent=7,mode=bias].
Departures: where K is larger than an axis (of the dilated grid), which NATTEN refuses, the whole axis is seen. `auto`
is ours: 7, as in NAT, or where this is more than half of the shorter side the largest odd number up to that, and at
least 3. A pair with a prefix token in it is kept.
Resolution: the kernel is fixed when the model is built.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from variants.geometry import Grid
from variants.registry import register
from variants.relation import Site, SpatialRelation


@register("neighborhood", family="masks")
class Neighborhood(SpatialRelation):
    """mask [N, N]: the kernel's patches around each patch, shifted inwards at the border; both sides in patches."""

    equation: ClassVar[str] = "kept where j is one of the K x K patches nearest to i"
    source: ClassVar[str] = "NAT/NATTEN, Hassani et al., arXiv 2204.07143"

    def __init__(self, site: Site, *, kernel: int | Literal["auto"] = "auto", dilation: int = 1):
        super().__init__(site)
        if kernel != "auto" and kernel < 1:
            raise ValueError(f"neighborhood[kernel={kernel}] holds no patch; it is auto or a whole number from 1")
        if dilation < 1:
            raise ValueError(f"neighborhood[dilation={dilation}] is no step; it is a whole number from 1")
        self.kernel = auto_kernel(site.grid) if kernel == "auto" else kernel
        self.dilation = dilation

    def mask(self, qy: Tensor, qx: Tensor, ky: Tensor, kx: Tensor, grid: Grid) -> Tensor:
        return self._near(qy, ky, grid[0]) & self._near(qx, kx, grid[1])

    def _near(self, query: Tensor, key: Tensor, side: int) -> Tensor:
        """Whether the key is in the query's neighbourhood along an axis of `side` patches."""
        step, phase = self.dilation, query % self.dilation
        count = (side - phase + step - 1) // step  # of the patches with this remainder
        kernel = count.clamp(max=self.kernel)
        start = (query // step - kernel // 2).clamp(min=0).minimum(count - kernel)
        return (key % step == phase) & (key // step >= start) & (key // step < start + kernel)

    def resolution_rule(self) -> str:
        return "fixed"


def auto_kernel(grid: Grid) -> int:
    """An odd side in 3..7, at most half of the shorter side where that is 3 or more."""
    half = min(grid) // 2
    return min(7, max(3, half - 1 + half % 2))
