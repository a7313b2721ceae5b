"""Layers with one error on grids that they were not built for."""

from __future__ import annotations

import torch
from torch import nn

from variants import SpatialRelation, geometry

from .made import _offset, attention, relation


def table_of_the_grid(self, site):
    h, w = site.grid
    self.table = nn.Parameter(torch.zeros(1, 2 * h - 1, 2 * w - 1))


def pairs_of_the_grid(self, site):
    n = site.grid[0] * site.grid[1]
    self.pairs = nn.Parameter(torch.zeros(n, n))


def adds_all_pairs(self, q, k, v, grid):
    prefix = q.shape[2] - grid[0] * grid[1]
    scores = q @ k.mT
    scores[..., prefix:, prefix:] += self.pairs
    return scores.softmax(-1) @ v


class Sloped(SpatialRelation):
    def bias(self, offsets):
        return offsets[:1]


def adds_its_table(self, q, k, v, grid):
    """As a bias of the offset, prefix tokens left alone."""
    pairs = geometry.to_pairs(geometry.lookup(self.table, geometry.offsets(grid)), grid)
    scores = q @ k.mT + geometry.pad_prefix(pairs, q.shape[2] - grid[0] * grid[1], neutral=0.0)
    return scores.softmax(-1) @ v


def stretches_its_table(self, grid):
    self.table.data = geometry.resample(self.table.detach(), (2 * grid[0] - 1, 2 * grid[1] - 1))


GRIDS = {
    "a table for one grid": (
        "unseen_grids",
        relation(init=table_of_the_grid, bias=lambda self, offsets: self.table + 0 * offsets[:1]),
        r"built on a 4x4 grid, it fails on a 7x4 grid: The size of tensor .* at grids.py:\d+; read tables with",
    ),
    "all pairs of one grid": (
        "unseen_grids",
        attention(init=pairs_of_the_grid, attend=adds_all_pairs),
        "built on a 4x4 grid, it fails on a 7x4 grid",
    ),
    "resample starts anew": (
        "resample_keeps_the_output",
        relation(
            init=table_of_the_grid,
            bias=lambda self, offsets: geometry.lookup(self.table, offsets),
            resample=lambda self, grid: nn.init.zeros_(self.table),
        ),
        "the outputs before and after resample differ",
    ),
    "a stretched table that says nothing of it": (
        "resolution_rule_holds",
        relation(init=table_of_the_grid, bias=lambda self, offsets: geometry.lookup(self.table, offsets)),
        "says recomputed, and bias at the offsets of a 4x4 grid on a 6x7 grid and on its own differ .* say resampled",
    ),
    "in units of the grid": (
        "resolution_rule_holds",
        relation(prior=lambda self, offsets: offsets[:1] / offsets.shape[1]),
        "says recomputed, and prior at the offsets of a 4x4 grid .* or rescaled",
    ),
    "a table of an attention's own": (
        "resolution_rule_holds",
        attention(init=table_of_the_grid, attend=adds_its_table, resample=stretches_its_table),
        "says nothing, and resample changes the shape of table; say resampled",
    ),
    "a relation that the attention forgets": (
        "resolution_rule_holds",
        attention(init=lambda self, site: setattr(self, "position", Sloped(site))),
        "the attention's resolution_rule leaves out recomputed of a relation in it; ask them all",
    ),
    "a word of its own": (
        "resolution_rule_holds",
        relation(bias=_offset, resolution_rule=lambda self: "stretched"),
        "says 'stretched'; say one of recomputed, rescaled, resampled",
    ),
    "no word": ("resolution_rule_holds", relation(bias=_offset, resolution_rule=lambda self: None), "gives a NoneType"),
    "an empty word": (
        "resolution_rule_holds",
        relation(bias=_offset, resolution_rule=lambda self: ""),
        "is empty and there is bias",
    ),
}
