"""Controls: attention without content. What a variant gains over them, it owes to what the patches show.

    no_content     logit[h,i,j] = bias_h(Delta), kept where mask[h,i,j]: the equation of variants/relation.py at q = 0
    uniform        logit = 0: each token gets the mean of the values of all tokens that its mask keeps
    position_only  logit[h,i,j] = t_h(Delta), a learned table: no_content+rpe_2d[mode=bias] under a name of its own

A pair with a prefix token in it has logit 0. At q = 0 a prior and keys have nothing to multiply and are refused; so are
queries, since <queries_h(Delta), k_j> would bring content back. Values may be added (not to uniform): they change what
is mixed and not the map. Alone, no_content is uniform; it is there for sums (`no_content+psa`).
Source: none, these are controls; position_only is the random Synthesizer (Tay et al., arXiv 2005.00743) with one logit
an offset in place of one a pair. The table starts trunc-normal(0.02), as in variants/rpe.py.
Departures: qkv is that of sa, so seeds stay paired; its weights of q and k are counted among the parameters, have no
gradient, and only decay. GMACs are the plain formula's: q, k and their product count, though nothing depends on them.
Resolution: that of the relation; a mean needs no rule.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from variants.attention import Attention
from variants.geometry import Grid
from variants.registry import register
from variants.relation import Site, SpatialRelation, Unsupported
from variants.rpe import RPE2D


@register("no_content", family="controls")
class NoContent(Attention):
    """q = 0: the map is the softmax of bias and mask alone. Raises Unsupported for a relation that wants content."""

    equation = "logit = bias_h(Delta)"
    source = "a control of this library"

    serves: ClassVar[frozenset[str]] = frozenset({"bias", "values"})
    refusal: ClassVar[str] = ("no_content and position_only have no content for {} to act on; add biases or windows "
                              "(psa, rpe_2d[mode=bias], swin), or leave the control out")  # fmt: skip

    def __init__(self, site: Site, relation: SpatialRelation, *parts: Any, backend: str = "auto"):
        super().__init__(site, relation, *parts, backend=backend)
        given = self.given()
        if given - self.serves:
            raise Unsupported(self.refusal.format(" and ".join(sorted(given - self.serves))))

    def project(self, x: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().project(x, grid)
        return torch.zeros_like(q), k, v


@register("uniform", family="controls")
class Uniform(NoContent):
    """The mean of the values of all tokens that are kept; windows and masks alone may be added."""

    equation = "logit = 0"
    source = "a control of this library"

    serves = frozenset()
    refusal = "uniform weighs all tokens alike and takes no {}; add windows or masks alone, or use no_content"


@register("position_only", family="controls")
class PositionOnly(NoContent):
    """A table of biases alone, [H, 2h-1, 2w-1] for the training grid; with extent=M it covers |dy|, |dx| < M."""

    equation = "logit = t_h(Delta)"
    source = "random Synthesizer, Tay et al., arXiv 2005.00743"

    def __init__(
        self,
        site: Site,
        relation: SpatialRelation,
        *parts: Any,
        extent: int | Literal["grid"] = "grid",
        backend: str = "auto",
    ):
        super().__init__(site, RPE2D(site, mode="bias", extent=extent) + relation, *parts, backend=backend)
