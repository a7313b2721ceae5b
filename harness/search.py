"""python -m harness.search: how a preset's recipe is found, on the baseline alone and on the validation split.

Every point of the grid is trained with each seed, on the smallest share of the images that the preset asks for, and
recorded under results/search; the test split is not read. The point with the best mean validation accuracy is what the
preset writes down by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.jobs.lock import taken
from harness.jobs.plan import StudyArm, experiment_of, jobs_of
from harness.jobs.study import Study
from harness.presets import PRESETS, preset
from harness.run.arguments import Parser, seeds
from harness.run.console import in_words, work, writable
from harness.training.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

    from harness.jobs.cell import Cell

GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {  # by dataset
    "digits:translated": {"lr": (5e-4, 1e-3, 2e-3, 4e-3), "pos_std": (0.02, 0.2, 0.5)},
    "digits": {"lr": (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3), "pos_std": (0.02, 0.2, 0.5, 1.0, 2.0)},
    "fashion_mnist": {"lr": (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3), "pos_std": (0.02, 0.2, 0.5, 1.0, 2.0)},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns 0, 1 where a cell failed, 2 for bad input, 130 for Ctrl-C."""
    parser = Parser(prog="python -m harness.search", description=__doc__.partition("\n")[0].partition(": ")[2])
    parser.add_argument("--preset", default="digits", help=f"{', '.join(PRESETS)} (default: %(default)s)")
    parser.add_argument("--seeds", type=seeds, help="0-2 or 0,1,2; by default the preset's")
    parser.add_argument("--jobs", type=int, help="points at a time (default: as the CPU has cores; one on a GPU)")
    parser.add_argument("--output", type=Path, default=Path("results/search"), help="folder of the rows")
    args = parser.parse_args(argv)

    def job() -> int:
        study = replace(preset(args.preset), jobs=args.jobs)
        return search(study if args.seeds is None else replace(study, seeds=args.seeds), args.output)

    return in_words("harness.search", job)


def search(study: Study, output: Path) -> int:
    """Trains the points that are missing, prints the table, the best point first."""
    from harness.results import store

    folder = output / study.name
    cells = points(study)
    writable(folder)
    with taken(folder):
        failures = work(
            [c for c in cells if not c.done(folder)], folder, jobs_of(cells[0].experiment), partial(points, study)
        )
    print(table(store.load(folder), {c.key for c in cells}))
    return 1 if failures else 0


def table(rows: pd.DataFrame, cells: Collection[str]) -> str:
    """Validation accuracy over seeds by point of the grid; rows of another recipe or source have other cells."""
    from harness.jobs.kinds.points import words_of

    current = rows[rows["cell"].isin(cells)]
    found = current.groupby(current["params"].map(words_of))["value"].agg(["mean", "min", "max", "count"])
    return found.rename_axis("point").sort_values("mean", ascending=False).round(2).to_string()


def points(study: Study, slot: int = 0) -> list[Cell]:
    """A cell for each seed and point of the dataset's grid. Raises ValueError for a dataset that has none."""
    if study.dataset not in GRIDS:
        raise ValueError(f"there is no grid for {study.dataset}; choose a preset on {', '.join(GRIDS)}")
    grid = GRIDS[study.dataset]
    every = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    return [point(study, values, seed, slot) for seed in study.seeds for values in every]


def point(study: Study, values: Mapping[str, Any], seed: int, slot: int) -> Cell:
    """The baseline trained with some values in place of the recipe's or the study's."""
    from harness.jobs.kinds.points import Point

    mine = {f.name for f in fields(Recipe)}
    recipe = replace(study.recipe, **{name: value for name, value in values.items() if name in mine})
    changed = replace(study, recipe=recipe, **{name: value for name, value in values.items() if name not in mine})
    return Point(experiment_of(StudyArm(changed), (), "auto", slot), dict(values), seed)


if __name__ == "__main__":
    sys.exit(main())
