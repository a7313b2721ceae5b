"""KERPLE: each head is punished for looking far, by a kernel of the distance whose shape it learns.

    kernel=log    logit[h,i,j] = <q_i, k_j> / sqrt(D) - r_h log(1 + s_h |Delta|),   r, s > 0
    kernel=power  logit[h,i,j] = <q_i, k_j> / sqrt(D) - s_h |Delta|^r_h,            s > 0, 0 < r <= 2

Source: Chi et al., KERPLE, arXiv 2205.09921, and its code (r is bias_p there, s bias_a): r starts uniform in (0, 2), s
in (0, 1), both are kept at 0.01 or more. With r = 1, `power` is alibi_2d with slopes that are learned, of 0.01 or more.
Departures: KERPLE is 1-D and causal, its distance i - j >= 0; here it is the Euclidean one, of all pairs, for which
both kernels are still conditionally positive definite. The bounds hold for the value that is read, and its gradient
passes; the code writes the bound into the parameter. A pair with a prefix token in it has bias 0.
Resolution: recomputed, as in the paper, which made it for lengths that were not trained on.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from variants.registry import register
from variants.relation import Site, SpatialRelation, Term

LEAST = 0.01


@register("kerple", family="biases")
class Kerple(SpatialRelation):
    """bias [H, 2h-1, 2w-1]; r and s are [H]."""

    equation = "logit += -r_h log(1 + s_h |Delta|)"
    source = "KERPLE, arXiv 2205.09921"

    def __init__(self, site: Site, *, kernel: Literal["log", "power"] = "log"):
        super().__init__(site)
        self.kernel = kernel
        self.r = nn.Parameter(2 * torch.rand(site.num_heads))
        self.s = nn.Parameter(torch.rand(site.num_heads))

    def bias(self, offsets: Tensor) -> Term:
        distance = torch.linalg.vector_norm(offsets, dim=0)
        s = _bounded(self.s)[:, None, None]
        if self.kernel == "log":
            return -_bounded(self.r)[:, None, None] * torch.log1p(s * distance)
        return -s * distance ** _bounded(self.r, most=2.0)[:, None, None]


def _bounded(parameter: Tensor, most: float | None = None) -> Tensor:
    """The parameter within its bounds; its gradient is that of the parameter itself, so that it can come back."""
    return parameter + (parameter.clamp(LEAST, most) - parameter).detach()
