"""The cells of harness.search: the baseline trained at a point of a grid, judged on the validation split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.jobs.cell import Cell, Tick
from harness.jobs.kinds.training import share, validated
from harness.results import store


@dataclass(frozen=True, eq=False)
class Point(Cell):
    """values: what the point sets of the recipe or the study, by name; the experiment has them already."""

    values: Mapping[str, float]
    seed: int

    kind = "search"
    metric = "val_top1"
    after = None

    @property
    def name(self) -> str:
        return f"{words_of(self.values)} seed {self.seed}"

    @property
    def variant(self) -> str:
        return self.experiment.study.baseline

    @property
    def fraction(self) -> float:
        return min(self.experiment.study.train_fractions)

    @property
    def work(self) -> int:
        return self.experiment.study.recipe.total_epochs

    @property
    def about(self) -> dict[str, Any]:
        return {"seed": self.seed, "train_fraction": self.fraction, "params": dict(self.values)}

    def settings(self) -> Sequence[Any]:
        return [self.seed, self.fraction]

    def run(self, folder: Path, tick: Tick) -> Iterator[store.Row]:
        right, _ = validated(self, self.experiment.study.recipe, self.seed, tick)
        yield self.row(self.variant, **share("val_top1", right))


def words_of(values: Mapping[str, float]) -> str:
    """A point in words: "lr=0.001 pos_std=1"."""
    return " ".join(f"{name}={value:g}" for name, value in values.items())
