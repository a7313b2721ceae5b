"""The cells that measure a trained model: a measurement is a module of harness/measure, and its name the cell's kind.

They read the weights that a training left, or the probabilities that it kept, and train nothing. So a measurement that
is new, or changed, is had on a finished study for the price of itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from harness import distributed
from harness.jobs.cell import Tick
from harness.jobs.kinds.training import FORWARD, OfTrained
from harness.measure.subject import Subject
from harness.results import metrics, store


@dataclass(frozen=True, eq=False)
class Measured(OfTrained):
    """A measurement of a training's model."""

    kind: str

    @property
    def measurement(self) -> Any:
        """The module: `measure(subject)` yields facts; `images(n)` says how many images of n go through the model."""
        return import_module(f"harness.measure.{self.kind}")

    @property
    def name(self) -> str:
        return f"{self.after.name} {self.kind}"

    @property
    def metric(self) -> str:
        return metrics.of_kind(self.kind)[0]

    @property
    def updates(self) -> float:
        shown = self.measurement.images(len(self.experiment.data.test_y))
        return FORWARD * shown / self.experiment.study.recipe.batch_size

    def modules(self) -> list[str]:
        return [*super().modules(), self.measurement.__name__]

    def served(self, folder: Path) -> bool:
        kept = getattr(self.measurement, "FROM_PROBABILITIES", False) and self.after.log_probabilities(folder).exists()
        return kept or super().served(folder)

    def run(self, folder: Path, tick: Tick) -> Iterator[store.Row]:
        experiment, trained = self.experiment, self.after
        subject = Subject(
            data=experiment.data, image=experiment.image, patch_size=experiment.study.patch_size, seed=self.seed,
            build=lambda: experiment.model(self.variant, self.seed), show=experiment.shown,
            weights=trained.weights(folder), kept_log_probabilities=trained.log_probabilities(folder),
            snapshots=trained.snapshots(folder),
        )  # fmt: skip
        yield from (self.row(self.variant, **experiment.by_image(fact)) for fact in self.measurement.measure(subject))
        if distributed.rank() == 0:
            for ending, contents in subject.files.items():
                store.write_bytes(self.beside(folder, ending), contents)
        tick()
