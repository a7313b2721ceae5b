"""The maps that the cells of a setting left beside their rows (CELL.maps.npz), by variant and seed.

A file that cannot be read, or whose maps do not agree with the rows, is left out, and its rows speak alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from harness.report.study.rows import by_number
from harness.report.study.study import Setting
from harness.results import map_files
from harness.results import maps as offsets

OWN = ("prior", "bias", "position", "keys", "kept")  # what a variant's relation is, the first that it has
NAMES = {
    "prior": "prior", "bias": "bias", "position": "position's logit", "keys": "keys' logit", "kept": "mask",
    "attention": "mean attention",
}  # fmt: skip
CLOSE = 5e-3  # of a prior's least value, kept in float16


@dataclass(frozen=True)
class Books:
    """A variant's maps by seed, in their order; `kind` is that of its own maps, "attention" where it has none."""

    variant: str
    kind: str
    by_seed: dict[str, offsets.Book] = field(repr=False)

    def layers(self, kind: str) -> list[int]:
        """The layers that have a map of this kind at the end, in all seeds."""
        found = [
            {layer for layer, one, epoch in book if (one, epoch) == (kind, None)} for book in self.by_seed.values()
        ]
        return sorted(set.intersection(*found))

    def epochs(self) -> list[int]:
        """The epochs at which the first seed kept its own maps; [] where it kept none but the last."""
        first = next(iter(self.by_seed.values()))
        return sorted({epoch for _, one, epoch in first if one == self.kind and epoch is not None})


def books(setting: Setting) -> list[Books]:
    """One per variant that left maps."""
    found = []
    for variant in setting.variants:
        rows = setting.named("attention_distance", variant)
        rows = rows[rows["value"].notna()]
        cells = dict(zip(rows["seed"], rows["cell"], strict=True))
        by_seed = {}
        for seed in sorted(cells, key=by_number):
            file = setting.maps.get(cells[seed])
            if file is None:
                continue
            try:
                book = map_files.unpacked(file)
            except ValueError:
                continue
            if agrees(setting, cells[seed], book):
                by_seed[str(seed)] = book
        if by_seed:
            kinds = {kind for book in by_seed.values() for _, kind, epoch in book if epoch is None}
            found.append(Books(variant, next((kind for kind in OWN if kind in kinds), "attention"), by_seed))
    return found


def agrees(setting: Setting, cell: str, book: offsets.Book) -> bool:
    """Whether the layers are those of the cell's rows, and the priors have the least values that the rows say."""
    rows = setting.rows[setting.rows["cell"] == cell]
    grids = {tuple(2 * int(side) - 1 for side in str(grid).split("x")) for grid in rows["grid"] if grid}
    shapes = {one.shape[1:] for (_, kind, _), one in book.items() if kind != "gate"}
    if grids and not shapes <= grids:
        return False
    layers = {layer for layer, kind, epoch in book if (kind, epoch) == ("attention", None)}
    if {str(layer) for layer in layers} != set(rows[rows["metric"] == "attention_distance"]["layer"]):
        return False
    least = rows[rows["metric"] == "prior_min"]
    maps = {layer: book.get((int(layer), "prior", None)) for layer in least["layer"]}
    return all(
        (one := maps[layer]) is not None and abs(float(np.min(one)) - value) <= CLOSE * max(1.0, abs(value))
        for layer, value in zip(least["layer"], least["value"], strict=True)
    )
