"""A soft window: each head looks through a Gaussian around the query, whose width along rows and columns it learns.

    logit[h,i,j] = <q_i, k_j> / sqrt(D) - dy^2 / (2 a_h^2) - dx^2 / (2 b_h^2),   a, b > 0 in patches

so that the weights are multiplied by a Gaussian of the offset. Source: none of its own; psa without its linear terms
and with a width for each axis; Guo et al., Gaussian Transformer (AAAI 2019), has one learned width on a line of words.
The logarithms of a and b are learned; they do not decay, which would pull every width to one patch. Heads start at
widths from sigma/2 to 2 sigma, in geometric steps, a single head at sigma.
A pair with a prefix token in it has bias 0. Resolution: recomputed, in patches.
"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor, nn

from variants.registry import register
from variants.relation import Site, SpatialRelation, Term


@register("gaussian", family="biases")
class Gaussian(SpatialRelation):
    """bias [H, 2h-1, 2w-1]; log_sigma [H, 2] of rows and columns; `sigma` in patches."""

    equation = "logit += -dy^2 / (2 a_h^2) - dx^2 / (2 b_h^2)"
    source = "a control of this library"

    def __init__(self, site: Site, *, sigma: float = 2.0):
        super().__init__(site)
        if not 1e-3 <= sigma < inf:  # there a neighbour weighs nothing, and much further down exp overflows
            raise ValueError(f"gaussian[sigma={sigma}] has no width; sigma is a number of patches from 0.001")
        steps = torch.linspace(-1, 1, site.num_heads) if site.num_heads > 1 else torch.zeros(1)
        spread = sigma * 2**steps
        self.log_sigma = nn.Parameter(spread.log()[:, None].repeat(1, 2))

    def bias(self, offsets: Tensor) -> Term:
        down, across = offsets[0, :, :1].square(), offsets[1, :1].square()
        sharpness = -(-2 * self.log_sigma).exp()[..., None, None] / 2
        return sharpness[:, 0] * down, sharpness[:, 1] * across

    def no_weight_decay(self) -> set[str]:
        return {"log_sigma"}
