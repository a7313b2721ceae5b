"""CrossFormer's dynamic position bias: a learned function of the raw offset, added; the additive cousin of sp_sa.

    logit[h,i,j] = <q_i, k_j> / sqrt(D) + W4_h . f(W3 f(W2 f(W1 Delta + b1) + b2) + b3),   f = ReLU after a LayerNorm

Source: Wang et al., CrossFormer, arXiv 2108.00154 (dynamic position bias), and its code. All W start
trunc-normal(0.02), biases 0.
Departures: key minus query, where the code has query minus key (another sign of W1); no bias in the last layer, since
softmax ignores it; `hidden` is C/16 as in the code (C/4 in vit-pytorch, whose bias all heads share), but at least 8,
since a LayerNorm over a few units leaves next to nothing; CrossFormer's groups of near and of far patches are not
here; a pair with a prefix token in it has bias 0.
Resolution: raw offsets of a new grid are a new input.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from variants.registry import register
from variants.relation import Site, SpatialRelation, Term


@register("crossformer", family="biases")
class CrossFormer(SpatialRelation):
    """bias [H, 2h-1, 2w-1]: 2 -> hidden -> hidden -> hidden -> H on (dy, dx), in patches."""

    equation = "logit += MLP_h(Delta)"
    source = "CrossFormer, arXiv 2108.00154"

    def __init__(self, site: Site, *, hidden: int | Literal["auto"] = "auto"):
        super().__init__(site)
        width = max(8, site.num_heads * site.head_dim // 16) if hidden == "auto" else hidden
        if width < 2:
            raise ValueError(f"crossformer[hidden={hidden}] leaves a LayerNorm nothing; hidden is auto or from 2 on")
        layers: list[nn.Module] = [nn.Linear(2, width)]
        for last in (False, False, True):
            out = site.num_heads if last else width
            layers += [nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, out, bias=not last)]
        self.mlp = nn.Sequential(*layers)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def bias(self, offsets: Tensor) -> Term:
        return self.mlp(offsets.movedim(0, -1)).movedim(-1, 0)
