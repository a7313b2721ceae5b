"""LePE: a depthwise 3 x 3 convolution of the values is added to what attention mixes.

    out_i = sum_j A_ij v_j + b + sum_{|dy|, |dx| <= 1} W(dy, dx) * v_{i+(dy,dx)},  over the neighbours that i may see

Source: Dong et al., CSWin, arXiv 2107.00652 (locally-enhanced positional encoding): `cswin+lepe` is CSWin's
attention. Zero padded at the grid's border and at the border of a window, as in the authors' code, head by head: with
stripes of one column only the taps along the stripe see anything. Weights and biases start as torch's convolution does,
uniform within 1/3.
Departures: a mask of a summand (window, neighborhood) stops it too. Prefix tokens get nothing and give nothing.
Resolution: three patches on every grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants import geometry
from variants.attention import Attention
from variants.backends import grouped
from variants.geometry import Grid
from variants.registry import register
from variants.relation import Site

STEPS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]  # rows first, as a convolution's weight lies


@register("lepe", family="modules")
class LePE(Attention):
    """Adds a convolution of v to the output; get_v holds weight [C, 1, 3, 3] and bias [C], channels head by head."""

    equation: ClassVar[str] = "out += DWConv3x3(v), within windows"
    source: ClassVar[str] = "LePE, CSWin, Dong et al., arXiv 2107.00652"

    def __init__(self, site: Site, *parts: Any, backend: str = "auto"):
        super().__init__(site, *parts, backend=backend)
        width = site.num_heads * site.head_dim
        self.get_v = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        return super().attend(q, k, v, grid) + self.enhanced(v, grid)

    def enhanced(self, v: Tensor, grid: Grid) -> Tensor:
        """[B, H, P+N, D]: the convolution; 0 for prefix tokens."""
        prefix = v.shape[2] - grid[0] * grid[1]
        kept, groups = self.fixed(v, grid)
        patches = v[:, :, prefix:]
        if kept is None and groups is None:
            mixed = self._convolved([patches], slice(None), grid)
        elif groups is not None and kept is None and grouped.layouts(groups, grid):
            mixed = grouped.over_windows([patches], groups, grid, self._convolved)
        else:
            mixed = self._by_taps(patches, grid)
        return F.pad(mixed, (0, 0, prefix, 0)) if prefix else mixed

    def _convolved(self, pieces: Sequence[Tensor], heads: slice, grid: Grid) -> Tensor:
        """[B, H', N, D] of one such v, of some heads, nothing hidden: by torch, in a tenth of the taps' time."""
        (v,) = pieces
        weight, bias = (p.unflatten(0, (self.num_heads, -1))[heads].flatten(0, 1) for p in self.get_v.parameters())
        images = v.transpose(1, 2).flatten(2).contiguous().unflatten(1, grid).permute(0, 3, 1, 2)  # channels last
        found = F.conv2d(images, weight.to(v.dtype), bias.to(v.dtype), padding=1, groups=len(weight))
        return found.permute(0, 2, 3, 1).flatten(1, 2).unflatten(2, (v.shape[1], -1)).transpose(1, 2)

    def _by_taps(self, v: Tensor, grid: Grid) -> Tensor:
        """[B, H, N, D]: tap by tap, where a head has borders that are no rectangles, or a mask."""
        patches = F.pad(v.unflatten(2, grid), (0, 0, 1, 1, 1, 1))
        seen = self.once(lambda: neighbours(grid, v.device, *self.fixed(v, grid)), "neighbours", grid, v.device)
        weight, bias = (p.to(v.dtype).unflatten(0, (self.num_heads, -1)) for p in self.get_v.parameters())
        total = bias[:, None, None]
        for (dy, dx), here, tap in zip(STEPS, seen, weight.flatten(2).unbind(-1), strict=True):
            shifted = patches[:, :, 1 + dy : 1 + dy + grid[0], 1 + dx : 1 + dx + grid[1]]
            total = total + torch.einsum("bhyxd,hyxd->bhyxd", shifted, tap[:, None, None] * here[..., None])
        return total.flatten(2, 3)

    def resolution_rule(self) -> str:
        return ", ".join(dict.fromkeys(filter(None, ["fixed", *super().resolution_rule().split(", ")])))


def neighbours(grid: Grid, device: torch.device, kept: Tensor | None, groups: Tensor | None) -> Tensor:
    """bool [9, H or 1, h, w]: whether the neighbour at each of STEPS is on the grid, in the token's group, and kept."""
    h, w = grid
    y, x = geometry.coordinates(grid, device)
    found = []
    for dy, dx in STEPS:
        there = (y + dy).clamp(0, h - 1) * w + (x + dx).clamp(0, w - 1)
        seen = ((y + dy >= 0) & (y + dy < h) & (x + dx >= 0) & (x + dx < w))[None]
        if groups is not None:
            number = groups.to(device)
            seen = seen & (number == number[:, there])
        if kept is not None:
            seen = seen & kept[:, y * w + x, there]
        found.append(seen)
    heads = max(len(seen) for seen in found)
    return torch.stack([seen.expand(heads, -1) for seen in found]).unflatten(-1, grid)
