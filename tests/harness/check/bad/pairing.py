"""Layers with one error in what they draw, save or keep."""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from torch import nn

from variants import SpatialRelation

from .made import _offset, attention, parameter, relation


def keeps_its_first_table(self, offsets):
    if not self.training and self.kept is None:
        self.kept = (self.slope * offsets[:1]).detach()
    return self.slope * offsets[:1] if self.training or self.kept.shape[1:] != offsets.shape[1:] else self.kept


class Counted(SpatialRelation):
    builds: ClassVar = itertools.count()

    def __init__(self, site):
        super().__init__(site)
        self.slope = nn.Parameter(torch.full((1, 1, 1), float(next(self.builds))))

    def bias(self, offsets):
        return self.slope * offsets[:1]


STREAMS = {
    "a tensor that is not saved": (
        "state_dict_round_trip",
        relation(
            init=lambda self, site: setattr(self, "drawn", torch.randn(1).item()),
            bias=lambda self, offsets: self.drawn * offsets[:1],
        ),
        "before saving and after loading differ",
    ),
    "qkv drawn anew": (
        "shared_weights",
        attention(init=lambda self, site: nn.init.normal_(self.qkv.weight)),
        "qkv.weight is not what sa starts with",
    ),
    "draws after the fork": (
        "shared_weights",
        relation(init_qkv=lambda self, qkv: torch.rand(())),
        "building it changes what torch draws next",
    ),
    "counts its builds": ("same_seed_same_module", Counted, "relation.slope differs between two builds"),
    "dropout": (
        "forward_draws_nothing",
        attention(attend=lambda self, q, k, v, grid: nn.functional.dropout(v)),
        "draws from torch's stream",
    ),
    "never twice the same": (
        "forward_draws_nothing",
        relation(
            init=lambda self, site: setattr(self, "own", torch.Generator().manual_seed(0)),
            bias=lambda self, offsets: offsets[:1] * torch.rand((), generator=self.own),
        ),
        "the outputs of two forwards differ",
    ),
    "a false claim": (
        "starts_as_sa",
        relation(starts_as_sa=True, bias=_offset),
        "at initialisation and those of sa differ by .* leave starts_as_sa out",
    ),
    "a stale table": (
        "training_and_inference_agree",
        relation(
            init=lambda self, site: (parameter("slope", 1, 1, 1)(self, site), setattr(self, "kept", None)),
            bias=keeps_its_first_table,
        ),
        "in training and in inference, after a weight changed, differ",
    ),
    "another formula in inference": (
        "training_and_inference_agree",
        relation(bias=lambda self, offsets: (1 + self.training) * offsets[:1]),
        "in training and in inference, at first, differ",
    ),
}
