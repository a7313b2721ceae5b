"""iRPE: learned vectors for buckets of offsets, fine nearby and coarse far away, that meet queries, keys or values.

    contextual  logit += <q_i, r^K[I]> / sqrt(D) + <r^Q[I], k_j> / sqrt(D),   out_i = sum_j A_ij (v_j + r^V[I])
    bias        logit += r_h[I]
    product     I = (g(dy), g(dx)), one vector a pair     cross  r[I] = r^y[g(dy)] + r^x[g(dx)], two tables
    euclidean   I = g(|Delta|)                            quant  I = g(Q(|Delta|))
    g(x) = round(x) up to a, beyond it sign(x) min(2a, round(a + a ln(|x|/a) / ln 8));  a = 1.9, 20, 20, 33

Source: Wu et al., iRPE, arXiv 2107.14222, and the authors' code. All tables start at 0, so the layer is plain attention
at first. `version` says whom to follow where they differ:
    quant       paper: Q is the rank among all distances of the plane; code: the squared distance, never ranked
    euclidean   paper: g of the distance; code: of the rounded one
    bias        paper: inside the scale, r/sqrt(D); code: outside
    decay       paper: none on these tables; code: like any other weight
Departures: the tables of k and v are read by key minus query, the authors' by query minus key (flip them); that of q as
theirs. A pair with a prefix token in it gets nothing, where the authors have one bucket more for it. Their tables also
have entries that no offset reaches (distances below 0, squares that are no sum of two): left out here. A rank
among the plane's distances knows no grid: on 14x14 it fills 55 buckets, one among that grid's distances the paper's 50.
Resolution: buckets of the new grid's offsets; what training never reached is still 0.
Cost: the plain formula meets one vector a pair, N^2 C multiply-adds a layer for each letter of `on` (cross: N C
(h + w)), the authors' code every bucket, N C buckets: DeiT-S with product on k is 4.785 GMAC here, 4.659 in the paper.
"""

from __future__ import annotations

from math import log
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from variants.registry import register
from variants.relation import Site, SpatialRelation, Term

Method = Literal["product", "euclidean", "quant", "cross"]
Version = Literal["code", "paper"]
RATIO = {"product": 1.9, "euclidean": 20.0, "quant": 33.0, "cross": 20.0}


@register("irpe", family="contextual")
class IRPE(SpatialRelation):
    """Tables [H or 1, D, buckets] for each letter of `on`, or [H or 1, buckets] (mode=bias); cross has two each.

    shared: one table for all heads.
    """

    equation: ClassVar[str] = "logit += <q_i, r[I(Delta)]>/sqrt(D), I buckets of offsets"
    source: ClassVar[str] = "iRPE, Wu et al., arXiv 2107.14222"
    starts_as_sa = True

    def __init__(
        self,
        site: Site,
        *,
        method: Method = "product",
        mode: Literal["contextual", "bias"] = "contextual",
        on: Literal["k", "q", "qk", "qkv"] = "k",
        shared: bool = True,
        version: Version = "code",
    ):
        super().__init__(site)
        if mode == "bias" and on != "k":
            raise ValueError(f"irpe[mode=bias,on={on}] adds one number to a pair, whatever it is on; leave on={on} out")
        self.method, self.mode, self.version = method, mode, version
        heads, width = 1 if shared else site.num_heads, () if mode == "bias" else (site.head_dim,)
        for letter in on:
            tables = (nn.Parameter(torch.zeros(heads, *width, size)) for size in sizes(method, version))
            self.add_module(f"{letter}_tables", nn.ParameterList(tables))

    def keys(self, offsets: Tensor) -> Term:
        return self._read("k", offsets) if self.mode == "contextual" else None

    def queries(self, offsets: Tensor) -> Term:
        return self._read("q", offsets)

    def values(self, offsets: Tensor) -> Term:
        return self._read("v", offsets)

    def bias(self, offsets: Tensor) -> Term:
        if self.mode == "contextual":
            return None
        scale = self.site.head_dim**-0.5 if self.version == "paper" else 1.0
        return tuple(scale * table for table in self._read("k", offsets) or ())

    def _read(self, letter: str, offsets: Tensor) -> tuple[Tensor, ...] | None:
        tables = getattr(self, f"{letter}_tables", None)
        if tables is None:
            return None
        found = zip(tables, buckets(offsets, self.method, self.version), strict=True)
        return tuple(table.index_select(-1, at.flatten()).unflatten(-1, at.shape) for table, at in found)

    def no_weight_decay(self) -> set[str]:
        return {name for name, _ in self.named_parameters()} if self.version == "paper" else set()


def piecewise(x: Tensor, ratio: float) -> Tensor:
    """g, whole numbers in -floor(2a)..floor(2a), a the ratio."""
    size = x.abs()
    far = ratio + ratio * torch.log(size.clamp(min=ratio) / ratio) / log(8)
    return x.sign().long() * torch.where(size <= ratio, size, far).round().clamp(max=2 * ratio).long()


def buckets(offsets: Tensor, method: Method, version: Version) -> tuple[Tensor, ...]:
    """The entry of each table at each offset: one [2h-1, 2w-1], or for cross [2h-1, 1] and [1, 2w-1]."""
    a, (dy, dx) = RATIO[method], offsets.double()
    if method == "cross":
        return piecewise(dy[:, :1], a) + int(2 * a), piecewise(dx[:1], a) + int(2 * a)
    if method == "product":
        most = int(2 * a)
        return ((piecewise(dy, a) + most) * (2 * most + 1) + piecewise(dx, a) + most,)
    square = dy.square() + dx.square()
    if method == "euclidean":
        return (piecewise(square.sqrt() if version == "paper" else square.sqrt().round(), a),)
    distances, reached = (torch.tensor(known, device=square.device) for known in (DISTANCES, REACHED))
    if version == "paper":
        return (piecewise(torch.searchsorted(distances, square.long()).double(), a),)
    return (torch.searchsorted(reached, piecewise(square, a)),)


def sizes(method: Method, version: Version) -> tuple[int, ...]:
    """The number of buckets of each table: those that some offset reaches."""
    most = int(2 * RATIO[method])
    if method == "quant" and version == "code":
        return (len(REACHED),)
    return {"product": ((2 * most + 1) ** 2,), "cross": (2 * most + 1,) * 2}.get(method, (most + 1,))


# the squared distances of the plane, more of them than quant tells apart; and what its g makes of them, unranked
DISTANCES = sorted({y * y + x * x for y in range(33) for x in range(33) if y * y + x * x <= 32**2})
REACHED = sorted(set(piecewise(torch.tensor(DISTANCES).double(), RATIO["quant"]).tolist()))
