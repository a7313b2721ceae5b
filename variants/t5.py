"""T5's relative position bias: one learned logit for each bucket of steps, exact near by and logarithmic far away.

    logit[h,i,j] = <q_i, k_j> / sqrt(D) + T_h[b(step)]
    b(n), both signs: half of the buckets for n > 0; |n| < e is its own bucket, e half of these,
        else e + floor(log(|n| / e) / log(max_distance / e) e), at most the last
    axes=flattened  step = dy*w + dx, the sequence of patches
    axes=both       T_h[b(dy)] + T'_h[b(dx)], a table for each axis
    axes=euclidean  step = |Delta|, all buckets for the one sign

Source: Raffel et al., T5, arXiv 1910.10683, section 2.1, and its code; T5 is 1-D, `flattened` is its rule on the
sequence, the other two are this library's ways into the plane (no ViT with T5's buckets is published). Tables start
normal with standard deviation 1/sqrt(C), as T5's. max_distance=auto is T5's 128 on the sequence, else twice the longer
side of the training grid, since offsets of one axis end there (at least 2e).
Departures: buckets that no step reaches have no entry (with T5's 32 that is one, "0 to the right"); T5 shares the table
among all layers (scope=network), here each layer has one; T5 does not divide <q, k> by sqrt(D), this is plain
attention; a pair with a prefix token in it has bias 0; the table does not decay, T5's recipe decays nothing.
Resolution: clipped: steps from max_distance on share a bucket; the step of a line is counted in the new grid's width.
max_distance=auto stays that of the grid it was built for; a state dict does not hold it.
"""

from __future__ import annotations

from math import log
from typing import Literal

import torch
from torch import Tensor, nn

from variants import geometry
from variants.registry import register
from variants.relation import Site, SpatialRelation, Term

Axes = Literal["flattened", "both", "euclidean"]


@register("t5", family="biases")
class T5(SpatialRelation):
    """tables: one [H, buckets that are reached], two for axes=both."""

    equation = "logit += T_h[bucket(step)]"
    source = "T5, arXiv 1910.10683"

    def __init__(
        self,
        site: Site,
        *,
        axes: Axes = "flattened",
        buckets: int = 32,
        max_distance: int | Literal["auto"] = "auto",
        scope: Literal["layer", "network"] = "layer",
    ):
        super().__init__(site)
        signed = axes != "euclidean"
        if buckets < 4 or (signed and buckets % 2):
            raise ValueError(f"t5[axes={axes},buckets={buckets}] is not available; choose 4 buckets or more, and for "
                             f"axes=flattened or both a number that 2 divides")  # fmt: skip
        exact = buckets // 4 if signed else buckets // 2
        auto = max(128 if axes == "flattened" else 2 * max(site.grid), 2 * exact)
        most = auto if max_distance == "auto" else max_distance
        if most <= exact:
            raise ValueError(f"t5[buckets={buckets},max_distance={most}] ends before its first logarithmic "
                             f"bucket; max_distance is auto or a whole number from {exact + 1}")  # fmt: skip
        self.axes: Axes = axes

        key = ("t5", axes, buckets, most)
        tables = site.shared.get(key) if scope == "network" else None
        if tables is None:
            tables = nn.ModuleList(Buckets(site, buckets, most, signed) for _ in range(1 + (axes == "both")))
        if scope == "network":
            site.shared[key] = tables
        self.tables = tables

    def bias(self, offsets: Tensor) -> Term:
        _, w = geometry.grid_of(offsets)
        offsets = offsets.to(torch.promote_types(offsets.dtype, torch.float32))  # bfloat16 knows no step of 257
        dy, dx = offsets[0, :, :1], offsets[1, :1]
        if self.axes == "both":
            return self.tables[0](dy), self.tables[1](dx)
        return self.tables[0](dy * w + dx if self.axes == "flattened" else torch.linalg.vector_norm(offsets, dim=0))

    def no_weight_decay(self) -> set[str]:
        return {name for name, _ in self.named_parameters()}

    def resolution_rule(self) -> str:
        return "rescaled, clipped" if self.axes == "flattened" else "clipped"


class Buckets(nn.Module):
    """steps [a, b] -> [H, a, b]: the entry of each step's bucket."""

    def __init__(self, site: Site, buckets: int, max_distance: int, signed: bool):
        super().__init__()
        self.buckets, self.max_distance, self.signed = buckets, max_distance, signed
        if signed:
            steps = torch.arange(-max_distance, max_distance + 1, device="cpu")
        else:
            # beyond the distance of `buckets` each bucket is at least 1 wide, so that some whole number reaches it
            near = geometry.offsets((min(max_distance, buckets) + 1,) * 2, torch.device("cpu"))
            far = torch.arange(max_distance + 1, device="cpu")
            steps = torch.cat([torch.linalg.vector_norm(near, dim=0).flatten(), far])
        reached = self.of(steps).unique()
        self.column: Tensor  # of each bucket in the table
        column = [int((reached < bucket).sum()) for bucket in range(buckets)]
        self.register_buffer("column", torch.tensor(column), persistent=False)
        std = (site.num_heads * site.head_dim) ** -0.5
        self.table = nn.Parameter(nn.init.normal_(torch.empty(site.num_heads, len(reached)), std=std))

    def of(self, step: Tensor) -> Tensor:
        """int64 [...]: T5's bucket of each step; logarithms in fp32, as there, since a step on a border may fall."""
        each = self.buckets // 2 if self.signed else self.buckets
        exact, distance = each // 2, step.abs().float()
        far = torch.log(distance.clamp(min=1) / exact) / log(self.max_distance / exact) * (each - exact)
        bucket = torch.where(distance < exact, distance.floor(), exact + far.floor()).clamp(max=each - 1).long()
        return bucket + each * (step > 0) if self.signed else bucket

    def forward(self, step: Tensor) -> Tensor:
        column = self.column.index_select(0, self.of(step).flatten())
        return self.table.index_select(1, column).unflatten(1, step.shape)
