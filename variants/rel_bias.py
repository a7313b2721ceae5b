"""Relative position bias: each head has a learned logit for every offset, as in Swin and BEiT.

    logit[h,i,j] = <q_i, k_j> / sqrt(D) + T_h[dy, dx]

Sources: Liu et al., Swin, arXiv 2103.14030, eq. 4 (init=swin: trunc-normal(0.02)); Bao et al., BEiT, arXiv 2106.08254,
and its code (init=beit: zeros, so the layer starts as plain attention). It is rpe_2d[mode=bias] with these two papers'
initial values and rules for a new resolution. Swin as published is `swin[window=7]+rel_bias[extent=7]`.
Departures: key minus query, where Swin, BEiT and timm index query minus key (flip both axes of a table); pairs with a
prefix token have bias 0, where BEiT learns three more entries; BEiT's qkv has no key bias, which softmax ignores; the
table is exempt from weight decay as in Swin, in BEiT's code it decays.
Resolution: a table that spans the grid is resampled. `bicubic` keeps corners and centre, where Swin's code aligns the
outer edges. `geometric` is BEiT's: the old entries are set at geometrically growing distances of the new grid, dense
near Delta = 0, and read between, linearly as in timm (BEiT's code is cubic; an axis that keeps its size is left as it
is). With `extent` offsets beyond it take the border.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from variants import geometry
from variants.geometry import Grid
from variants.registry import register
from variants.relation import Site, Term
from variants.rpe import RPE2D


@register("rel_bias", family="biases")
class RelBias(RPE2D):
    """One table [H, 2h-1, 2w-1] for the training grid, or [H, 2M-1, 2M-1] with extent=M (|dy|, |dx| < M)."""

    equation = "logit += T_h[dy, dx]"
    source = "Swin, arXiv 2103.14030; BEiT, arXiv 2106.08254"

    def __init__(
        self,
        site: Site,
        *,
        init: Literal["swin", "beit"] = "swin",
        extent: int | Literal["grid"] = "grid",
        resampling: Literal["bicubic", "geometric"] = "bicubic",
    ):
        if extent != "grid" and extent < 1:
            raise ValueError(f"rel_bias[extent={extent}] covers no offset; extent is grid or a whole number from 1")
        if extent != "grid" and resampling != "bicubic":
            raise ValueError(f"rel_bias[extent={extent}] is clipped and never resampled, so resampling={resampling} "
                             f"means nothing; leave one of them out")  # fmt: skip
        super().__init__(site, mode="bias", extent=extent)
        self.resampling = resampling
        if init == "beit":
            nn.init.zeros_(self.tables[0])

    def bias(self, offsets: Tensor) -> Term:
        if self.resampling == "bicubic":
            return super().bias(offsets)
        return geometric(self.tables[0], geometry.grid_of(offsets))

    def resample(self, grid: Grid) -> None:
        if self.resampling == "bicubic":
            super().resample(grid)
        else:
            self.tables[0].data = geometric(self.tables[0].detach(), grid)


def geometric(table: Tensor, grid: Grid) -> Tensor:
    """A table [H, a, b] over the offsets of another grid, by BEiT's geometric places; an axis of size 1 stays so."""
    down, across = ([1 if old == 1 else 2 * side - 1, old] for old, side in zip(table.shape[-2:], grid, strict=True))
    if down[0] != down[1]:
        table = torch.as_tensor(_weights(*down), dtype=table.dtype, device=table.device) @ table
    if across[0] != across[1]:
        table = table @ torch.as_tensor(_weights(*across), dtype=table.dtype, device=table.device).mT
    return table


@cache
def _weights(new: int, old: int) -> np.ndarray:
    """[new, old]: the shares of the old entries in each new one.

    The old distances are 1, 1 + q, 1 + q + q^2, ...; q is found by bisection so that the last is the new border, but
    between 1.01 and 1.5. Beyond the last, its value holds.
    """
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        if (1 - q ** (old // 2)) / (1 - q) > new // 2:
            high = q
        else:
            low = q
    far = list(accumulate(q**n for n in range(old // 2)))
    places = [*(-distance for distance in reversed(far)), 0.0, *far]
    wanted = np.arange(new) - new // 2
    return np.stack([np.interp(wanted, places, entry) for entry in np.eye(old)], axis=1)
