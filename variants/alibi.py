"""ALiBi in the plane: each head is punished for looking far, by a slope of its own that is fixed and not learned.

    logit[h,i,j] = <q_i, k_j> / sqrt(D) - m_h |Delta|,   |Delta| = sqrt(dy^2 + dx^2) in patches

Sources: Press et al., ALiBi, arXiv 2108.12409 (1-D, causal); Fuller et al., CROMA, arXiv 2311.00566, and its code (the
Euclidean distance in the plane, all pairs). H a power of two: m = 2^(-8/H), 2^(-16/H), ..., 2^-8. Else the slopes of
the next lower power of two, then every second slope of the next higher one, from its first, until H are there.
Departures: none known; CROMA has no class token, here a pair with a prefix token in it has bias 0.
Resolution: recomputed; CROMA trains at 120 px and reads at up to 504 px.
"""

from __future__ import annotations

import torch
from torch import Tensor

from variants.registry import register
from variants.relation import SpatialRelation, Term


@register("alibi_2d", family="biases")
class ALiBi2D(SpatialRelation):
    """bias [H, 2h-1, 2w-1], without parameters and settings."""

    equation = "logit += -m_h |Delta|"
    source = "ALiBi, arXiv 2108.12409; in the plane CROMA, arXiv 2311.00566"

    def bias(self, offsets: Tensor) -> Term:
        slopes = offsets.new_tensor(head_slopes(self.site.num_heads))
        return -slopes[:, None, None] * torch.linalg.vector_norm(offsets, dim=0)


def head_slopes(num_heads: int) -> list[float]:
    """The slope of each head, any number of heads: six have 1/4, 1/16, 1/64, 1/256, then 1/2, 1/8."""
    lower = 1 << num_heads.bit_length() - 1
    between = _slopes(2 * lower)[::2]  # those of the power of two above which lie between the ones of that below
    return _slopes(lower) + between[: num_heads - lower]


def _slopes(power_of_two: int) -> list[float]:
    return [2.0 ** (-8 * head / power_of_two) for head in range(1, power_of_two + 1)]
