"""FIRE: a learned function of the distance, which is measured logarithmically and in units of the grid.

    logit[h,i,j] = <q_i, k_j> / sqrt(D) + W2_h . ReLU(W1 x + b1),   x = psi(|Delta|) / psi(|Delta| of opposite corners)
    psi(d) = log(1 + |c| d)

Source: Li et al., FIRE, arXiv 2310.04418, section 3. c starts at 0.1, the MLP as torch's Linear does, 32 hidden units.
Departures: FIRE is 1-D and causal: x = psi(i - j) / psi(max(i, L)), the distance as a share of the farthest key that
the query i sees, but at least of a learned L, for the first few queries. In the plane the distance is Euclidean, every
query sees the whole grid, and the farthest distance of the grid stands for i, the same for all queries, so that x
depends on the offset; L, which would be no more than another constant, is left out. No bias in the last layer, since
softmax ignores it. A pair with a prefix token in it has bias 0.
Resolution: the function stretches with the grid (progressive interpolation), so x never leaves [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from variants.registry import register
from variants.relation import Site, SpatialRelation, Term

EPSILON = 1e-6  # as in the paper's listing; it decides where the grid is one patch


@register("fire", family="biases")
class Fire(SpatialRelation):
    """bias [H, 2h-1, 2w-1]: 1 -> hidden -> H on the share of the farthest distance; c is one number a layer."""

    equation = "logit += MLP_h(psi(|Delta|) / psi(farthest))"
    source = "FIRE, arXiv 2310.04418"

    def __init__(self, site: Site, *, hidden: int = 32):
        super().__init__(site)
        if hidden < 8:
            raise ValueError(f"fire[hidden={hidden}] may be drawn as a straight line, since one unit in four bends "
                             f"between near and far; hidden is a whole number from 8")  # fmt: skip
        self.c = nn.Parameter(torch.tensor(0.1))
        self.mlp = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, site.num_heads, bias=False))

    def bias(self, offsets: Tensor) -> Term:
        distance = torch.log1p(self.c.abs() * torch.linalg.vector_norm(offsets, dim=0))
        return self.mlp((distance / (distance[0, 0] + EPSILON))[..., None]).movedim(-1, 0)

    def resolution_rule(self) -> str:
        return "rescaled"
