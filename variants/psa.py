"""PSA and GPSA: positional self-attention by a quadratic form in the offset, added or gated.

    PSA   logit[h,i,j] = <q_i, k_j> / sqrt(D) + w_h . (|Delta|^2, dy, dx)
    GPSA  A_h = (1 - s(g_h)) softmax_j(<q_i, k_j> / sqrt(D)) + s(g_h) softmax_j(w_h . (|Delta|^2, dy, dx)),  s = sigmoid

Source: d'Ascoli et al., ConViT, arXiv 2103.10697, eq. 5 to 8; psa as SP-ViT's quadratic relation (arXiv 2206.07662).
With init=local, head (a, b) of a sqrt(H) x sqrt(H) square starts at w = -(1, -2 c_y, -2 c_x), which peaks at the offset
c = (a, b) - (sqrt(H) - 1)/2, the y offset running fastest: a convolution of that kernel size.
Departures: key minus query in (dy, dx), where the code's columns are (x, y, |Delta|^2); no bias in the form, since
softmax ignores it; init=local leaves the shared weights alone (the code also sets V = I, here init=convit), so seeds
stay paired; no division by the row sum, which is 1. A prefix pair has positional logit 0.
Resolution: offsets are recomputed, in raw patches.
"""

from __future__ import annotations

from math import isqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn

from variants import backends, geometry
from variants.attention import Attention
from variants.backends import eager
from variants.geometry import Grid
from variants.registry import register
from variants.relation import Site, SpatialRelation, Term, Unsupported, resolution_rules

Init = Literal["local", "convit", "normal"]


@register("psa", family=("convit", "paper"))
class PSA(SpatialRelation):
    """bias = weight [H, 3] . (|Delta|^2, dy, dx), in logits.

    init: `local`, the convolutional start, for a square number of heads; `convit`, the same and V = I, which gives up
    the pairing of the shared weights; `normal`, trunc-normal(0.02).
    """

    equation = "logit += v_h . (|Delta|^2, dy, dx)"
    source = "ConViT, d'Ascoli et al., arXiv 2103.10697"

    def __init__(self, site: Site, *, init: Init = "local"):
        super().__init__(site)
        self.init = init
        if init == "normal":
            weight = nn.init.trunc_normal_(torch.empty(site.num_heads, 3), std=0.02)
        else:
            weight = local_init(site.num_heads)
        self.weight = nn.Parameter(weight)

    def bias(self, offsets: Tensor) -> Term:
        quadratic = torch.cat([offsets.square().sum(0, keepdim=True), offsets])
        return torch.einsum("hc,cyx->hyx", self.weight, quadratic)

    def init_qkv(self, qkv: nn.Linear) -> None:
        if self.init == "convit":
            nn.init.eye_(qkv.weight.data[-qkv.in_features :])


def local_init(num_heads: int, strength: float = 1.0) -> Tensor:
    """[H, 3]: the weights of (|Delta|^2, dy, dx) by which the heads peak at the places of a square kernel."""
    side = isqrt(num_heads)
    if side**2 != num_heads:
        raise Unsupported(f"the local initialisation of psa and gpsa needs a square number of heads, not {num_heads}; "
                          f"use {side**2} or {(side + 1) ** 2} heads, or init=normal")  # fmt: skip
    place = torch.arange(num_heads)
    centre = torch.stack([place % side, place // side], dim=1) - (side - 1) / 2
    return strength * torch.cat([-torch.ones(num_heads, 1), 2 * centre], dim=1)


@register("gpsa", family=("convit", "paper"))
class GPSA(Attention):
    """A learned mixture of content and position for each head; `gate` is where g starts (sigmoid(1) = 0.73).

    `.position` is the quadratic relation, `.relation` what else a spec adds: its terms act on the content, its mask on
    both softmaxes.
    """

    equation = "A = (1 - s(g_h)) softmax(logit) + s(g_h) softmax(v_h . (|Delta|^2, dy, dx))"
    source = PSA.source

    def __init__(self, site: Site, *parts: Any, init: Init = "local", gate: float = 1.0, backend: str = "auto"):
        super().__init__(site, *parts, backend=backend)
        self.position = PSA(site, init=init)
        self.gate = nn.Parameter(torch.full((site.num_heads,), gate))

    def weights(self, q: Tensor, k: Tensor, grid: Grid) -> Tensor:
        gate = self.gate.sigmoid().to(q.dtype)[:, None, None]
        return (1 - gate) * super().weights(q, k, grid) + gate * self.positional(q, grid)

    def positional(self, q: Tensor, grid: Grid) -> Tensor:
        """[1, H, P+N, P+N]: the attention by position alone, the same for every image."""

        def compute() -> Tensor:
            terms = self.terms(q, grid)
            prefix = eager.prefix_of(q.shape[2], terms)
            quadratic = self.position.terms(grid, q.device, self.position.weight.dtype)
            scores = geometry.pad_prefix(geometry.to_pairs(quadratic.bias[0], grid), prefix, neutral=0.0)
            return eager.keep(scores, terms, prefix).softmax(dim=-1).to(q.dtype)[None]

        return self.once(compute, "positional", grid, q.shape[2], q.device, q.dtype)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """The two softmaxes mix v each on its own, the positional one for all images at once; eager mixes the maps."""
        terms = self.terms(q, grid)
        if backends.choose(self.backend, q, q.shape, terms) == "eager":
            return eager.apply(self.weights(q, k, grid), v, terms)
        gate = self.gate.sigmoid().to(q.dtype)[:, None, None]
        positional = eager.apply(gate * self.positional(q, grid), v, terms, one_map=True)
        return (1 - gate) * super().attend(q, k, v, grid) + positional

    def resolution_rule(self) -> str:
        return resolution_rules((self.position, self.relation))

    def init_qkv(self) -> None:
        super().init_qkv()
        self.position.init_qkv(self.qkv)
