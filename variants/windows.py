"""Windows as fixed relations: who sees whom depends on place alone.

    swin    a token sees its M x M window; windows are shifted by floor(M/2) in every odd layer
    cswin   floor(H/2) heads see their vertical stripe of `stripe` columns, the other heads the horizontal one of rows
    window  a token sees the offsets |dx - s_x| <= width and |dy - s_y| <= height

Sources: Liu et al., Swin, arXiv 2103.14030, section 3.2; Dong et al., CSWin, arXiv 2107.00652, section 3.2 (the
vertical half first, as in its code); `window` as in SP-ViT, arXiv 2206.07662. Windows alone: Swin's table is a summand
(`swin+rpe_2d[mode=bias,extent=7]`), so is CSWin's LePE.
Swin's roll and region mask are the same as windows whose borders lie at floor(M/2): no roll is needed.
Departures: a ragged last window is its own smaller group, where Swin pads; the shift is left out on an axis that one
window spans. `window` always keeps Delta = 0, so no row is empty.
Resolution: the window's side is fixed when the model is built; a larger grid has more windows.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from variants import geometry
from variants.geometry import Grid
from variants.registry import register
from variants.relation import Site, SpatialRelation


def auto_window(grid: Grid) -> tuple[int, int]:
    """Swin's window for a grid: the largest divisor of both sides in 2..7 smaller than the grid, or min(7, side)."""
    for side in range(7, 1, -1):
        if grid[0] % side == 0 and grid[1] % side == 0 and (side, side) != tuple(grid):
            return side, side
    return min(7, grid[0]), min(7, grid[1])


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name}={value} holds no patch; it is auto or a whole number from 1")
    return value


@register("swin", family=("windows", "paper"))
class Swin(SpatialRelation):
    """groups [1, N]: the window of each token; `window` is its side M in patches."""

    equation = "kept where i and j share a window"
    source = "Swin, Liu et al., arXiv 2103.14030"

    def __init__(self, site: Site, *, window: int | Literal["auto"] = "auto"):
        super().__init__(site)
        self.window = auto_window(site.grid) if window == "auto" else (_positive("swin[window", window),) * 2

    def resolution_rule(self) -> str:
        return "fixed"

    def groups(self, grid: Grid) -> Tensor:
        shifted = self.site.layer % 2 == 1
        shift = (m // 2 if shifted and m < side else 0 for m, side in zip(self.window, grid, strict=True))
        y, x = geometry.coordinates(grid)
        row, column = ((p - s + m) // m for p, s, m in zip((y, x), shift, self.window, strict=True))
        return (row * (column.max() + 1) + column)[None]


@register("cswin", family=("windows", "paper"))
class CSWin(SpatialRelation):
    """groups [H, N]: the stripe of each token; `stripe` is its width in patches, auto half of Swin's window."""

    equation = "kept where i and j share a stripe"
    source = "CSWin, Dong et al., arXiv 2107.00652"

    def __init__(self, site: Site, *, stripe: int | Literal["auto"] = "auto"):
        super().__init__(site)
        auto = tuple(max(1, side // 2) for side in auto_window(site.grid))
        self.stripe = auto if stripe == "auto" else (_positive("cswin[stripe", stripe),) * 2

    def resolution_rule(self) -> str:
        return "fixed"

    def groups(self, grid: Grid) -> Tensor:
        y, x = geometry.coordinates(grid)
        vertical = self.site.num_heads // 2
        horizontal = self.site.num_heads - vertical
        return torch.stack([x // self.stripe[1]] * vertical + [y // self.stripe[0]] * horizontal)


@register("window", family=("masks", "paper"))
class Window(SpatialRelation):
    """mask [N, N]: a box of offsets, `width` and `height` patches to either side of its centre (`dy`, `dx`)."""

    equation = "kept where |dy - s_y| <= height and |dx - s_x| <= width"
    source = "SP-ViT, Zhou et al., arXiv 2206.07662"

    def __init__(self, site: Site, *, width: int = 3, height: int = 3, dy: int = 0, dx: int = 0):
        super().__init__(site)
        if min(width, height) < 0:
            raise ValueError(f"window[width={width},height={height}] is no box; both are whole numbers from 0")
        self.width, self.height, self.dy, self.dx = width, height, dy, dx

    def resolution_rule(self) -> str:
        return "fixed"

    def mask(self, qy: Tensor, qx: Tensor, ky: Tensor, kx: Tensor, grid: Grid) -> Tensor:
        across = (kx - qx - self.dx).abs() <= self.width
        return across & ((ky - qy - self.dy).abs() <= self.height)
