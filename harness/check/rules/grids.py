"""Rules for grids that a layer was not built for: it works there, and its terms follow its resolution rule."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from harness.check.cases import (
    Broken,
    Case,
    at,
    by,
    finite,
    first_line,
    kind,
    perturbed,
    relations,
    require,
    same,
    tables,
)
from variants import geometry
from variants.attention import Attention
from variants.geometry import Grid
from variants.relation import RESOLUTION_RULES, SpatialRelation

UNSEEN: tuple[Grid, ...] = ((7, 4), (2, 6), (9, 9), (1, 3))
KNOWN = ", ".join(RESOLUTION_RULES)


def unseen_grids(spec: str, case: Case) -> None:
    """It works on grids that it was not built for: larger, smaller, not square; and back on its own as before."""
    attention, home = perturbed(spec, case).eval(), f"built on a {by(case.grid)} grid,"
    with torch.no_grad():
        before = attention(case.inputs(), case.grid)
        for grid in UNSEEN:
            try:
                out = attention(case.inputs(grid), grid)
            except (RuntimeError, IndexError) as error:
                raise Broken(f"{home} it fails on a {by(grid)} grid: {first_line(error)}{at(error)}; "
                             f"read tables with variants.geometry.lookup") from error  # fmt: skip
            finite(out, f"{home} its output on a {by(grid)} grid")
        same(attention(case.inputs(), case.grid), before, "the outputs on its own grid before and after others",
             "keep nothing of one grid for the next")  # fmt: skip


def no_step_is_the_same_everywhere(spec: str, case: Case) -> None:
    """A term at Delta = 0, the centre of its table, is the same on every grid."""
    for relation in relations(perturbed(spec, case)):
        for grid in UNSEEN:
            for term, here, there in _on_both(relation, case.grid, grid):
                same(_centre(there), _centre(here), f"{term} at Delta = 0 on a {by(grid)} and a {by(case.grid)} grid",
                     "cut or resample tables about their centre (variants.geometry.lookup)")  # fmt: skip


def resample_keeps_the_output(spec: str, case: Case) -> None:
    """resample(grid) makes another grid the training grid and keeps the output on it."""
    grid = _larger(case.grid)
    attention, x = perturbed(spec, case), case.inputs(grid)
    before = attention(x, grid)
    attention.resample(grid)
    same(attention(x, grid), before, "the outputs before and after resample",
         "resample(grid) gives tables the values that lookup reads there")  # fmt: skip


def resolution_rule_holds(spec: str, case: Case) -> None:
    """resolution_rule is a known word; unless resampled or rescaled, a term is the same at an offset of any grid."""
    attention, larger = perturbed(spec, case), _larger(case.grid)
    shapes = {name: parameter.shape for name, parameter in attention.named_parameters()}
    whole = _words(attention)
    for relation in relations(attention):
        words = _words(relation)
        given = sorted(relation.terms(case.grid, torch.device("cpu"), torch.float64).present)
        require(words or not given,
                f"resolution_rule is empty and there is {''.join(given[:1])}; say one of {KNOWN}")  # fmt: skip
        require(words <= whole, f"the attention's resolution_rule leaves out {', '.join(sorted(words - whole))} of a "
                                f"relation in it; ask them all (variants.relation.resolution_rules)")  # fmt: skip
        if words.isdisjoint({"resampled", "rescaled"}):
            for term, here, there in _on_both(relation, case.grid, larger):
                same(_cut(there, here), here,
                     f"resolution_rule says {relation.resolution_rule()}, and {term} at the offsets of a "
                     f"{by(case.grid)} grid on a {by(larger)} grid and on its own",
                     "say resampled (a table) or rescaled (a function in units of the grid)")  # fmt: skip
    attention.resample(larger)
    changed = [name for name, parameter in attention.named_parameters() if parameter.shape != shapes[name]]
    require("resampled" in whole or not changed, f"resolution_rule says {attention.resolution_rule() or 'nothing'}, "
            f"and resample changes the shape of {''.join(changed[:1])}; say resampled")  # fmt: skip


def _words(module: Attention | SpatialRelation) -> set[str]:
    found = module.resolution_rule()
    require(isinstance(found, str), f"resolution_rule gives a {kind(found)}; give one of {KNOWN}")
    words = {word for word in found.split(", ") if word}
    require(words <= RESOLUTION_RULES.keys(),
            f"resolution_rule says {found!r}; say one of {KNOWN}, or some of them with commas between")  # fmt: skip
    return words


def _larger(grid: Grid) -> Grid:
    return grid[0] + 2, grid[1] + 3


def _on_both(relation: SpatialRelation, grid: Grid, other: Grid) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each term's name, its table on one grid and the same table on the other."""
    pair = (tables(relation, geometry.offsets(one, dtype=torch.float64)) for one in (grid, other))
    for (term, here), (_, there) in zip(*pair, strict=True):
        yield term, here, there


def _centre(table: Tensor) -> Tensor:
    return table[..., table.shape[-2] // 2, table.shape[-1] // 2]


def _cut(table: Tensor, like: Tensor) -> Tensor:
    """A table over the offsets of a larger grid at those of a smaller one, about their common centre."""
    for axis in (-2, -1):
        size = min(like.shape[axis], table.shape[axis])
        table = table.narrow(axis, (table.shape[axis] - size) // 2, size)
    return table
