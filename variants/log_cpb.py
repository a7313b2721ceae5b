"""Log-spaced continuous position bias: a small MLP of the offset, which is dense near by and coarse far away.

    logit[h,i,j] = <q_i, k_j> / sqrt(D) + 16 s(W2_h . ReLU(W1 c + b1)),   s the sigmoid
    c = sign(u) log2(1 + |u|) / log2(8),   u = 8 Delta / (M - 1) axis by axis

Source: Liu et al., Swin V2, arXiv 2111.09883, eq. 3 and 4, and its code, which has the 8, the log2(8) and the 16 s that
the paper's equation leaves out. M is the side by which offsets are measured: that of the training grid, axis by axis,
or `extent` (the window's side: Swin V2 as published is `swin[window=8]+log_cpb[extent=8]+cosine`). W1 and W2 start
trunc-normal(0.02), b1 = 0, so at first the bias is near 8 between all patches, which softmax ignores.
Departures: key minus query, where the code has query minus key (another sign of W1); computed for all offsets of the
grid, also under a window. No parameter of the MLP decays, as in the code.
Class token: Swin V2 has none; a pair with one in it has bias 0, as in timm's RelPosMlp, so at first a patch gives it
e^-8 of the weight of a patch. Insert it late (--class-token late), or do without.
Resolution: M stays that of the grid it was built for (Swin V2's pretrained window), so new offsets are new inputs. A
state dict does not hold M: build for that grid (or with `extent`), then set the new one.
"""

from __future__ import annotations

from math import log2
from typing import Literal

import torch
from torch import Tensor, nn

from variants.registry import register
from variants.relation import Site, SpatialRelation, Term


@register("log_cpb", family="biases")
class LogCPB(SpatialRelation):
    """bias [H, 2h-1, 2w-1]: W1 [hidden, 2] meets (dy, dx), W2 [H, hidden]."""

    equation = "logit += 16 s(MLP_h(log Delta))"
    source = "Swin V2, arXiv 2111.09883"

    def __init__(self, site: Site, *, hidden: int = 512, extent: int | Literal["grid"] = "grid"):
        super().__init__(site)
        if hidden < 1:
            raise ValueError(f"log_cpb[hidden={hidden}] has no hidden unit; hidden is a whole number from 1")
        if extent != "grid" and extent < 1:
            raise ValueError(f"log_cpb[extent={extent}] is no side; extent is grid or a whole number from 1")
        self.sides = site.grid if extent == "grid" else (extent, extent)
        first, second = nn.Linear(2, hidden), nn.Linear(hidden, site.num_heads, bias=False)
        for layer in (first, second):
            nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(first.bias)
        self.mlp = nn.Sequential(first, nn.ReLU(), second)

    def bias(self, offsets: Tensor) -> Term:
        return 16 * self.mlp(self.coordinates(offsets).movedim(0, -1)).sigmoid().movedim(-1, 0)

    def coordinates(self, offsets: Tensor) -> Tensor:
        """[2, 2h-1, 2w-1]: c, which is 1.06 at the far offset of the training grid."""
        reach = offsets.new_tensor([max(side - 1, 1) for side in self.sides])  # one patch has the offset 0 alone
        scaled = 8 * offsets / reach[:, None, None]
        return torch.sign(scaled) * torch.log2(1 + scaled.abs()) / log2(8)

    def no_weight_decay(self) -> set[str]:
        return {name for name, _ in self.named_parameters()}
