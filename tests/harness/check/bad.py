"""Variants with one error each, for the rule that is to catch it; none is registered until a test does so."""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from torch import nn

from variants import Attention, SpatialRelation, geometry


def relation(**methods):
    """A SpatialRelation of these methods; `init` is called after its __init__."""
    init = methods.pop("init", lambda self, site: None)

    def __init__(self, site):
        SpatialRelation.__init__(self, site)
        init(self, site)

    return type("Bad", (SpatialRelation,), {"__init__": __init__, **methods})


def attention(**methods):
    """An Attention of these methods; `init` is called after its __init__."""
    init = methods.pop("init", lambda self, site: None)

    def __init__(self, *parts, backend="auto"):
        Attention.__init__(self, *parts, backend=backend)
        init(self, parts[0])

    return type("Bad", (Attention,), {"__init__": __init__, **methods})


def parameter(name, *shape, value=0.5):
    """An init that gives the module a parameter."""
    return lambda self, site: setattr(self, name, nn.Parameter(torch.full(shape, value)))


class NoSuper(SpatialRelation):
    def __init__(self, site):
        self.slope = nn.Parameter(torch.ones(1))


def square_only(self, offsets):
    side = int((offsets.shape[1] * offsets.shape[2]) ** 0.5)
    return offsets.square().sum(0).view(1, side, side)


def table_of_the_grid(self, site):
    h, w = site.grid
    self.table = nn.Parameter(torch.zeros(1, 2 * h - 1, 2 * w - 1))


def pairs_of_the_grid(self, site):
    n = site.grid[0] * site.grid[1]
    self.pairs = nn.Parameter(torch.zeros(n, n))


def all_tokens_have_a_place(self, q, k, v, grid):
    scores = q @ k.mT * q.shape[-1] ** -0.5
    return (scores + torch.arange(q.shape[2]) / 9).softmax(-1) @ v


def adds_all_pairs(self, q, k, v, grid):
    prefix = q.shape[2] - grid[0] * grid[1]
    scores = q @ k.mT
    scores[..., prefix:, prefix:] += self.pairs
    return scores.softmax(-1) @ v


def one_row_sees_nothing(self, q, k, v, grid):
    scores = q @ k.mT
    scores[:, :, 0] = -torch.inf
    return scores.softmax(-1) @ v


def cut_at_the_corner(self, offsets):
    """The whole table on its own grid, its corner on smaller ones; a larger grid is clipped."""
    a, b = self.table.shape[1:]
    y = torch.arange(offsets.shape[1], device=offsets.device).clamp(max=a - 1)
    x = torch.arange(offsets.shape[2], device=offsets.device).clamp(max=b - 1)
    return self.table[:, y][:, :, x]


def keeps_its_first_table(self, offsets):
    if not self.training and self.kept is None:
        self.kept = (self.slope * offsets[:1]).detach()
    return self.slope * offsets[:1] if self.training or self.kept.shape[1:] != offsets.shape[1:] else self.kept


def reads_the_whole_grid(self, qy, qx, ky, kx, grid):
    y, _ = geometry.coordinates(grid)
    return (y[:, None] - y).abs() <= 1


def drops_all(self, grid, device, dtype):
    found = SpatialRelation.terms(self, grid, device, dtype)
    n = grid[0] * grid[1]
    object.__setattr__(found, "kept", torch.zeros(1, n, n, dtype=torch.bool))
    return found


class Counted(SpatialRelation):
    builds: ClassVar = itertools.count()

    def __init__(self, site):
        super().__init__(site)
        self.slope = nn.Parameter(torch.full((1, 1, 1), float(next(self.builds))))

    def bias(self, offsets):
        return self.slope * offsets[:1]


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


def _offset(self, offsets):
    return offsets[:1]


BUILD = {
    "no super().__init__": ("can_be_built", NoSuper, r"before Module.__init__\(\) call at bad.py:\d+"),
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
        r"shape '\[1, 6, 6\]' is invalid for input of size 45 at bad.py:\d+ \(3x5 grid",
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
        r"bias mixes devices at bad.py:\d+; make tensors with device=",
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

ATTENDING = {
    "a row with everything masked": (
        "output_is_finite",
        attention(attend=one_row_sees_nothing),
        r"the output is NaN in \d+ of 1536 entries",
    ),
    "tokens lost": (
        "output_is_finite",
        attention(forward=lambda self, x, grid: Attention.forward(self, x, grid)[:, 1:]),
        r"the output is \[3, 15, 32\] for an input of \[3, 16, 32\]",
    ),
    "weights that nobody uses": (
        "map_is_what_attends",
        attention(weights=lambda self, q, k, grid: Attention.weights(self, 2 * q, k, grid)),
        "the output and weights @ v differ by .* overrides attend too",
    ),
    "no softmax": (
        "map_is_what_attends",
        attention(weights=lambda self, q, k, grid: (q @ k.mT).sigmoid()),
        "the rows of weights and 1 differ",
    ),
    "images meet": (
        "images_are_independent",
        attention(attend=lambda self, q, k, v, grid: Attention.attend(self, q - q.mean(0), k, v, grid)),
        "an image alone and in a batch differ by",
    ),
    "the order matters": (
        "images_are_independent",
        attention(attend=lambda self, q, k, v, grid: Attention.attend(self, q, k, v.cumsum(0), grid)),
        "an image among others in another order and differ",
    ),
    "the class token has a place": (
        "prefix_tokens_are_neutral",
        attention(attend=all_tokens_have_a_place),
        "a prefix token's outputs for patches in another order and differ",
    ),
    "sums in vain": (
        "sums_hold",
        attention(
            weights=lambda self, q, k, grid: (q @ k.mT).softmax(-1),
            attend=lambda self, q, k, v, grid: (q @ k.mT).softmax(-1) @ v,
        ),
        "lets a patch see others",
    ),
    "attends in vain": (
        "sums_hold",
        attention(attend=lambda self, q, k, v, grid: (q @ k.mT).softmax(-1) @ v),
        "attends as if no window were there",
    ),
    "lost in bfloat16": (
        "bfloat16",
        attention(attend=lambda self, q, k, v, grid: Attention.attend(self, q, k, v, grid) + 99 - 99),
        "under autocast to bfloat16 the output is .*% off",
    ),
    "auto is another": (
        "backends_equal_eager",
        attention(
            attend=lambda self, q, k, v, grid: (1 + (self.backend == "auto")) * Attention.attend(self, q, k, v, grid)
        ),
        "backend=auto and eager, in output, differ by 1.0e[+]00",
    ),
}

GRIDS = {
    "a table for one grid": (
        "unseen_grids",
        relation(init=table_of_the_grid, bias=lambda self, offsets: self.table + 0 * offsets[:1]),
        r"built on a 4x4 grid, it fails on a 7x4 grid: The size of tensor .* at bad.py:\d+; read tables with",
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

ALL = BUILD | TERMS | MASKS | LEARNING | ATTENDING | GRIDS | STREAMS
