"""python -m harness.search: how a preset's recipe is found, on the baseline alone and on the validation split.

Every point of the grid is trained with each seed and recorded under results/search; the test split is not read. The
point with the best mean validation accuracy is what the preset writes down by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from harness.recipe import PRESETS, Study, preset
from harness.run import Parser, device_of, in_words, work, writable

GRID = {"lr": (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3), "pos_std": (0.02, 0.2, 0.5, 1.0, 2.0)}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns 0, 1 where a cell failed, 2 for bad input, 130 for Ctrl-C."""
    parser = Parser(prog="python -m harness.search", description=__doc__.partition("\n")[0].partition(": ")[2])
    parser.add_argument("--preset", default="digits", choices=list(PRESETS))
    parser.add_argument("--output", type=Path, default=Path("results/search"), help="folder of the rows")
    args = parser.parse_args(argv)
    return in_words("harness.search", lambda: search(preset(args.preset), args.output))


def search(study: Study, output: Path) -> int:
    """Trains what is missing of the grid, prints the table, best point first."""
    from torch import Tensor

    from harness import data, results
    from harness.bench import Bench
    from harness.cell import Cell, Tick
    from harness.cells import accuracy_fact
    from harness.train import train

    dataset, device = data.load(study.dataset, study.data_dir), device_of("auto")

    def cell(lr: float, pos_std: float, seed: int) -> Cell:
        point = replace(study, pos_std=pos_std, recipe=replace(study.recipe, lr=lr))
        bench = Bench(point, dataset, device)
        note = f"lr={lr:g} pos_std={pos_std:g}"
        key = bench.key([study.baseline], "search", seed)

        def rows(tick: Tick) -> tuple[list[results.Row], Tensor | None]:
            model = bench.model(study.baseline, seed)
            train(model, bench.train_images, bench.train_labels, point.recipe, seed, tick)
            fact = accuracy_fact("val_top1", bench.right(model, dataset.val_x, dataset.val_y, bench.image))
            return [bench.row(study.baseline, key, seed=seed, note=note, **fact)], None

        def failed(sentence: str) -> list[results.Row]:
            return [
                bench.row(study.baseline, key, seed=seed, metric="val_top1", value=None, note=f"{note}: {sentence}")
            ]

        return Cell(f"{note} seed {seed}", key, point.recipe.epochs, rows, failed)

    folder = output / study.name
    writable(folder)
    cells = [cell(lr, pos_std, seed) for seed in study.seeds for lr, pos_std in product(*GRID.values())]
    failures = work([c for c in cells if not c.done(folder)], folder)
    rows = results.load(folder)
    current = rows[rows["cell"].isin([c.key for c in cells])]  # not those of another recipe or source
    found = current.groupby("note")["value"].agg(["mean", "min", "max", "count"])
    print(found.sort_values("mean", ascending=False).round(2).to_string())
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
