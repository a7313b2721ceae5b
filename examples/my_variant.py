"""Each head looks through its own window, soft and learned: bias = -log(1 + dy^2 / s_y^2 + dx^2 / s_x^2)."""

import torch
from torch import Tensor, nn

from variants import Site, SpatialRelation, register


@register("cauchy")
class Cauchy(SpatialRelation):
    def __init__(self, site: Site, *, sigma: float = 2.0):  # in patches; heads start between sigma/2 and 2 sigma
        super().__init__(site)
        if sigma <= 0:
            raise ValueError(f"cauchy[sigma={sigma}] has no width; sigma is more than 0")
        spread = sigma * 2 ** torch.linspace(-1, 1, site.num_heads)
        self.log_sigma = nn.Parameter(spread.log()[:, None].repeat(1, 2))

    def bias(self, offsets: Tensor) -> Tensor:
        sharpness = (-2 * self.log_sigma).exp()
        return -torch.einsum("hc,cyx->hyx", sharpness, offsets.square()).log1p()
