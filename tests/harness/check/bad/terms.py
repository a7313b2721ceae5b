"""Layers with one error in a term, a mask or a parameter."""

from __future__ import annotations

import torch
from torch import nn

from variants import SpatialRelation, geometry

from .made import _offset, parameter, relation


class NoSuper(SpatialRelation):
    def __init__(self, site):
        self.slope = nn.Parameter(torch.ones(1))


def square_only(self, offsets):
    side = int((offsets.shape[1] * offsets.shape[2]) ** 0.5)
    return offsets.square().sum(0).view(1, side, side)


def cut_at_the_corner(self, offsets):
    """The whole table on its own grid, its corner on smaller ones; a larger grid is clipped."""
    a, b = self.table.shape[1:]
    y = torch.arange(offsets.shape[1], device=offsets.device).clamp(max=a - 1)
    x = torch.arange(offsets.shape[2], device=offsets.device).clamp(max=b - 1)
    return self.table[:, y][:, :, x]


def reads_the_whole_grid(self, qy, qx, ky, kx, grid):
    y, _ = geometry.coordinates(grid)
    return (y[:, None] - y).abs() <= 1


def drops_all(self, grid, device, dtype):
    found = SpatialRelation.terms(self, grid, device, dtype)
    n = grid[0] * grid[1]
    object.__setattr__(found, "kept", torch.zeros(1, n, n, dtype=torch.bool))
    return found


BUILD = {
    "no super().__init__": ("can_be_built", NoSuper, r"before Module.__init__\(\) call at terms.py:\d+"),
}


TERMS = {
    "axes swapped": (
        "terms_have_their_shape",
        relation(bias=lambda self, offsets: offsets.norm(dim=0).mT.expand(4, -1, -1)),
        r"bias is \[4, 9, 5\] on a 3x5 grid, expected \[4 or 1, 5 or 1, 9 or 1\]: offsets are \(dy, dx\), rows first",
    ),
    "square grids only": (
        "terms_have_their_shape",
        relation(bias=square_only),
        r"shape '\[1, 6, 6\]' is invalid for input of size 45 at terms.py:\d+ \(3x5 grid",
    ),
    "log of 0": (
        "terms_have_their_shape",
        relation(bias=lambda self, offsets: 0 * offsets.norm(dim=0).log()[None]),
        "bias on a 4x4 grid is NaN in 1 of 49 entries; look for a log",
    ),
    "no axis of heads": (
        "terms_have_their_shape",
        relation(prior=lambda self, offsets: offsets[0]),
        r"prior is \[7, 7\] on a 4x4 grid, expected \[4 or 1, 7 or 1, 7 or 1\]",
    ),
    "keys of a head too wide": (
        "terms_have_their_shape",
        relation(keys=lambda self, offsets: torch.zeros(1, 32, 7, 7)),
        r"keys is \[1, 32, 7, 7\] on a 4x4 grid, expected \[4 or 1, 8, 7 or 1, 7 or 1\]",
    ),
    "whole numbers": (
        "terms_have_their_shape",
        relation(bias=lambda self, offsets: offsets[:1].long()),
        "bias gives a tensor of torch.int64",
    ),
    "a list": ("terms_have_their_shape", relation(bias=lambda self, offsets: [offsets[:1]]), "bias gives a list"),
    "term on the CPU": (
        "terms_follow_the_device",
        relation(bias=lambda self, offsets: torch.zeros(1, *offsets.shape[1:])),
        "bias stays on the CPU",
    ),
    "term on two devices": (
        "terms_follow_the_device",
        relation(bias=lambda self, offsets: offsets[:1] * torch.ones(1, 1, 1)),
        r"bias mixes devices at terms.py:\d+; make tensors with device=",
    ),
    "costs nobody knows": (
        "cost_can_be_counted",
        relation(bias=lambda self, offsets: offsets[:1] + torch.linalg.matrix_exp(torch.eye(2))[0, 1]),
        "the cost of aten::linalg_matrix_exp is not known",
    ),
    "table cut at the corner": (
        "no_step_is_the_same_everywhere",
        relation(
            init=lambda self, site: self.register_parameter("table", nn.Parameter(torch.randn(1, 7, 9))),
            bias=cut_at_the_corner,
        ),
        "bias at Delta = 0 on a 7x4 and a 4x4 grid differ",
    ),
}


MASKS = {
    "a mask of numbers": (
        "masks_have_their_shape",
        relation(mask=lambda self, qy, qx, ky, kx, grid: ((kx - qx).abs() < 2).float()),
        r"mask is torch.float32 \[16, 16\], expected torch.bool \[16, 16\]",
    ),
    "a mask of the whole grid": ("masks_have_their_shape", relation(mask=reads_the_whole_grid), "is not two rows"),
    "everything masked": ("masks_have_their_shape", relation(terms=drops_all), "a token does not keep itself"),
    "groups below 0": (
        "masks_have_their_shape",
        relation(groups=lambda self, grid: geometry.coordinates(grid)[0][None] - 1),
        "groups has -1; count from 0",
    ),
    "groups of one axis": (
        "masks_have_their_shape",
        relation(groups=lambda self, grid: geometry.coordinates(grid)[0]),
        r"groups is torch.int64 \[16\], expected whole numbers",
    ),
}


LEARNING = {
    "no gradient": (
        "every_parameter_learns",
        relation(init=parameter("slope", 1), bias=_offset),
        "relation.slope has no gradient: no term reads it",
    ),
    "softmax ignores it": (
        "every_parameter_learns",
        relation(init=parameter("level", 1, 1, 1), bias=lambda self, offsets: offsets[:1] + self.level),
        "relation.level has not moved after two steps",
    ),
    "entries that nothing reads": (
        "every_parameter_learns",
        relation(init=parameter("slope", 4, 2), bias=lambda self, at: self.slope[:, :1, None] * at.abs()[1:]),
        r"4 of 8 entries of slope \[4, 2\] have no part in any term",
    ),
    "a decay that names nothing": (
        "decay_names_exist",
        relation(
            init=parameter("slope", 4, 1, 1),
            bias=lambda self, offsets: self.slope * offsets[:1],
            no_weight_decay=lambda self: {"slop"},
        ),
        "names relation.slop, which is no parameter; there are relation.slope",
    ),
    "gradient of a root of 0": (
        "output_is_finite",
        relation(
            init=parameter("slope", 1, 1, 1), bias=lambda self, offsets: (self.slope * offsets[:1]).square().sqrt()
        ),
        "the gradient of relation.slope is NaN",
    ),
}
