"""Scaled cosine attention: the score is the angle between query and key, not their product.

    logit[h,i,j] = prior_h(Delta) tau_h cos(q_i, k_j) + bias_h(Delta),   tau_h = exp(min(t_h, ln 100))

Source: Liu et al., Swin V2, arXiv 2111.09883, section 3.2, and its code: t starts at ln 10, the key has no bias (one
changes the angle, where softmax ignores it in the plain product), t does not decay. Swin V2's attention is
`swin[window=8]+log_cpb[extent=8]+cosine`.
A prior multiplies the scaled cosine, biases, values and windows act as ever. Keys and queries are refused: what a
position embedding should be once its partner has length 1 is not defined.
Departures: qkv is that of sa, so seeds stay paired; with key_bias=False its key bias is counted among the parameters,
has no part and no gradient. Swin V2's norms after the residual are the backbone's matter and not here.
Class token: its scores are scaled cosines too. Resolution: that of the relation; an angle needs no rule.
"""

from __future__ import annotations

from math import log
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from variants.attention import Attention
from variants.geometry import Grid
from variants.registry import register
from variants.relation import Site, SpatialRelation, Unsupported


@register("cosine", family="modules")
class Cosine(Attention):
    """logit_scale [H] is t. Raises Unsupported for a relation with keys or queries."""

    equation = "logit = tau_h cos(q_i, k_j)"
    source = "Swin V2, arXiv 2111.09883"

    def __init__(
        self, site: Site, relation: SpatialRelation, *parts: Any, key_bias: bool = False, backend: str = "auto"
    ):
        super().__init__(site, relation, *parts, backend=backend)
        given = self.given()
        if given & {"keys", "queries"}:
            raise Unsupported(f"cosine has vectors of length 1 for {' and '.join(sorted(given & {'keys', 'queries'}))} "
                              f"to meet, which no paper defines; add biases, priors or windows (rel_bias, log_cpb, "
                              f"sp_sa, swin), or leave cosine out")  # fmt: skip
        self.key_bias = key_bias
        self.logit_scale = nn.Parameter(torch.full((site.num_heads,), log(10)))

    def project(self, x: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        """q [B, H, P+N, D] of length tau sqrt(D), whose root is divided out again with the scale; k of length 1."""
        bias: Tensor | None = self.qkv.bias
        if bias is not None and not self.key_bias:
            query, key, value = bias.chunk(3)
            bias = torch.cat([query, torch.zeros_like(key), value])
        qkv = F.linear(x, self.qkv.weight, bias)
        q, k, v = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        length = self.logit_scale.clamp(max=log(100)).exp() * q.shape[-1] ** 0.5
        exact = torch.promote_types(q.dtype, length.dtype)  # rounded once, and not with every step
        angle, other = (F.normalize(x.to(exact), dim=-1) for x in (q, k))
        return (angle * length[:, None, None]).to(v.dtype), other.to(v.dtype), v

    def no_weight_decay(self) -> set[str]:
        return super().no_weight_decay() | {"logit_scale"}
