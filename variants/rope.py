"""RoPE in two dimensions: queries and keys are turned by angles that grow with their place; values are not.

    q'_i = R(a_i) q_i,  k'_j = R(a_j) k_j,  so that <q'_i, k'_j> depends on place(j) - place(i);  R turns channel pairs
    rope_axial  a_i = (x_i theta^(-4t/D), then y_i theta^(-4t/D)),  t = 0 .. D/4-1, fixed
    rope_mixed  a_i = x_i f^x + y_i f^y,  D/2 learned frequencies (f^x, f^y) for each head

Source: Heo et al., Rotary Position Embedding for Vision Transformer, arXiv 2403.13298, and the authors' code, which is
followed where they differ: all pairs of x first, then those of y; a pair is two adjacent channels; theta is 100. Places
are whole numbers of patches. Mixed frequencies start at 10^(-4t/D), the first half in a random direction of the head's
own, the second at right angles to it, and are not decayed. The authors drop the position embedding (--pos-embed none).
`coordinates` other than raw are those of DINOv3, arXiv 2508.10104: places in [-1, 1], each axis by its own side
(separate) or both by the smaller or larger one (min, max); angles 2 pi y theta^(-4t/D), those of y first; a pair is the
channels t and t + D/2.
Prefix tokens are not turned, as there. They meet turned keys, so a class token does see where a patch lies.
Departures: no random coordinates in training (DINOv3); mixed takes an odd number of pairs, one more in the first half.
In a sum: priors, biases, values and masks act on the turned product. Keys and queries would meet turned vectors, so
that what they give depends on place and not on the offset alone: they are refused.
Resolution: raw places of a new grid are a new input; places in [-1, 1] stretch with the grid.
"""

from __future__ import annotations

from math import isfinite, pi
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from variants import geometry
from variants.attention import Attention
from variants.geometry import Grid
from variants.registry import register
from variants.relation import Site, SpatialRelation, Unsupported


class Rotary(Attention):
    """Turns the patches' q and k by `angles`, computed in float32 at least, once for a grid in inference."""

    halves: bool = False  # whether a pair is the channels (t, t + D/2) and not (2t, 2t + 1)
    own_rule: str = "recomputed"

    def __init__(self, site: Site, relation: SpatialRelation, *parts: Any, backend: str = "auto"):
        super().__init__(site, relation, *parts, backend=backend)
        given = self.given()
        if given & {"keys", "queries"}:
            raise Unsupported(f"rope turns the vectors that {' and '.join(sorted(given & {'keys', 'queries'}))} would "
                              f"meet; add a prior, a bias or windows (rpe_2d[mode=bias], sp_sa, swin)")  # fmt: skip

    def angles(self, y: Tensor, x: Tensor, grid: Grid) -> Tensor:
        """[H or 1, N, D/2] of the places y, x [N], in the places' precision."""
        raise NotImplementedError

    def project(self, x: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().project(x, grid)
        dtype = torch.promote_types(self.qkv.weight.dtype, torch.float32)

        def turns() -> tuple[Tensor, Tensor]:
            row, column = (place.to(dtype) for place in geometry.coordinates(grid, x.device))
            angles = self.angles(row, column, grid)
            return angles.cos(), angles.sin()

        cos, sin = self.once(turns, "turns", grid, x.device, dtype)
        return turned(q, cos, sin, self.halves), turned(k, cos, sin, self.halves), v

    def resolution_rule(self) -> str:
        return ", ".join(dict.fromkeys(filter(None, [self.own_rule, *super().resolution_rule().split(", ")])))


def turned(x: Tensor, cos: Tensor, sin: Tensor, halves: bool) -> Tensor:
    """x [B, H, P+N, D] with the channel pairs of its last N tokens turned by angles [H or 1, N, D/2], in x's dtype."""
    prefix, patches = x.split([x.shape[2] - cos.shape[1], cos.shape[1]], dim=2)
    pairs = patches.unflatten(-1, (2, -1)).transpose(-2, -1) if halves else patches.unflatten(-1, (-1, 2))
    a, b = pairs.unbind(-1)
    out = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1)
    out = (out.transpose(-2, -1) if halves else out).flatten(-2)
    return torch.cat([prefix, out.to(x.dtype)], dim=2)


@register("rope_axial", family="rotary")
class RopeAxial(Rotary):
    """Half of the channels turn with x, half with y, by fixed frequencies. Raises Unsupported unless 4 divides D.

    coordinates: `raw`, whole numbers of patches, as RoPE-ViT; `separate`, `min`, `max`, normalised as in DINOv3.
    """

    equation: ClassVar[str] = "<R(a_i) q_i, R(a_j) k_j>/sqrt(D), a = (x, y) theta^(-4t/D)"
    source: ClassVar[str] = "RoPE axial, Heo et al., arXiv 2403.13298"

    def __init__(
        self,
        site: Site,
        *parts: Any,
        theta: float = 100.0,
        coordinates: Literal["raw", "separate", "min", "max"] = "raw",
        backend: str = "auto",
    ):
        if not (isfinite(theta) and theta > 0):
            raise ValueError(f"rope_axial[theta={theta}] is no base of frequencies; theta is more than 0, such as 100")
        if site.head_dim % 4:
            raise Unsupported(f"rope_axial turns pairs of channels by x and as many by y, so 4 divides the width of a "
                              f"head, not {site.head_dim}; choose other heads, or rope_mixed")  # fmt: skip
        super().__init__(site, *parts, backend=backend)
        self.theta, self.coordinates = theta, coordinates
        if coordinates != "raw":
            self.halves, self.own_rule = True, "rescaled"

    def angles(self, y: Tensor, x: Tensor, grid: Grid) -> Tensor:
        d = self.site.head_dim
        rates = self.theta ** (-4 / d * torch.arange(d // 4, device=x.device, dtype=x.dtype))
        if self.coordinates == "raw":
            return torch.cat([x[:, None] * rates, y[:, None] * rates], dim=-1)[None]
        sides = {"separate": grid, "min": (min(grid),) * 2, "max": (max(grid),) * 2}[self.coordinates]
        y, x = (2 * (place + 0.5) / side - 1 for place, side in zip((y, x), sides, strict=True))
        return 2 * pi * torch.cat([y[:, None] * rates, x[:, None] * rates], dim=-1)[None]


@register("rope_mixed", family="rotary")
class RopeMixed(Rotary):
    """Every pair of channels turns in a direction of its own; freqs [2, H, D/2], in (x, y) as in the authors' code.

    Raises Unsupported for an odd width of a head.
    """

    equation: ClassVar[str] = "<R(a_i) q_i, R(a_j) k_j>/sqrt(D), a = f^x x + f^y y"
    source: ClassVar[str] = "RoPE mixed, Heo et al., arXiv 2403.13298"

    def __init__(self, site: Site, *parts: Any, backend: str = "auto"):
        if site.head_dim % 2:
            raise Unsupported(f"rope_mixed turns pairs of channels, so the width of a head is even, not "
                              f"{site.head_dim}; choose other heads")  # fmt: skip
        super().__init__(site, *parts, backend=backend)
        self.freqs = nn.Parameter(mixed_init(site.num_heads, site.head_dim))

    def angles(self, y: Tensor, x: Tensor, grid: Grid) -> Tensor:
        along_x, along_y = self.freqs.to(x.dtype)[:, :, None]
        return x[:, None] * along_x + y[:, None] * along_y

    def no_weight_decay(self) -> set[str]:
        return super().no_weight_decay() | {"freqs"}


def mixed_init(num_heads: int, head_dim: int, base: float = 10.0) -> Tensor:
    """[2, H, D/2]: for each head base^(-4t/D) in a random direction, and again at right angles to it."""
    sizes = base ** (-torch.arange(0, head_dim, 4) / head_dim)
    direction = 2 * pi * torch.rand(num_heads, 1)
    both = [torch.stack([sizes * turn.cos(), sizes * turn.sin()]) for turn in (direction, direction + pi / 2)]
    return torch.cat(both, dim=-1)[..., : head_dim // 2]
