"""The cells that tune: a variant trained once at each learning rate of the study, judged on the validation split.

Every variant gets the same budget, on a seed that no study trains with, so that no result is chosen by itself. What is
left is the best rate, with which all trainings of the variant are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.jobs.cell import Cell, Tick
from harness.jobs.kinds.training import training_of
from harness.jobs.study import TUNING_SEED
from harness.results import store
from harness.training.checkpoint import Checkpoints
from harness.training.loop import correct, train
from harness.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Tuned(Cell):
    """Trains one variant at every rate of the study; the best of them is what its trainings ask for."""

    variant: str

    kind = "tuning"
    metric = "tuned_lr"
    after = None
    seed = TUNING_SEED
    turn = -0.5

    @property
    def name(self) -> str:
        return f"{self.variant} tuning"

    @property
    def fraction(self) -> float:
        return max(self.experiment.study.train_fractions)

    @property
    def work(self) -> int:
        return self.experiment.study.recipe.total_epochs * len(self.experiment.study.rates)

    @property
    def updates(self) -> float:
        study = self.experiment.study
        epochs = study.recipe.total_epochs * len(study.rates)
        return float(self.experiment.images // study.recipe.batch_size * epochs)

    @property
    def about(self) -> dict[str, Any]:
        return {"seed": self.seed, "train_fraction": self.fraction, "epoch": self.experiment.study.recipe.total_epochs}

    def settings(self) -> Sequence[Any]:
        return [self.seed, self.fraction, list(self.experiment.study.rates)]

    def left(self, folder: Path) -> Path:
        return self.path(folder)

    def run(self, folder: Path, tick: Tick) -> Iterator[store.Row]:
        found: dict[float, int] = {}
        total = len(self.experiment.data.val_y)
        for rate in self.experiment.study.rates:
            recipe = replace(self.experiment.study.recipe, lr=rate)
            checkpoints = Checkpoints(self.checkpoints(folder) / f"{rate:g}", self.experiment.study.checkpoint_interval)
            try:
                right, seconds = self._tried(recipe, checkpoints, tick)
            except FloatingPointError as error:
                yield self.row(self.variant, metric="tuning_top1", params={"lr": rate}, value=None, note=str(error))
                continue
            found[rate] = right
            fact = {"metric": "tuning_top1", "value": 100 * right / total, "unit": "%", "n": total}
            yield self.row(self.variant, params={"lr": rate}, **fact)
            yield self.row(self.variant, metric="tuning_s", value=seconds, params={"lr": rate})
        if not found:
            raise FloatingPointError("the loss is not finite at any of the learning rates; name lower ones with --tune")
        yield self.row(self.variant, metric="tuned_lr", value=best(found))

    def _tried(self, recipe: Recipe, checkpoints: Checkpoints, tick: Tick) -> tuple[int, float]:
        """How many validation images are right after a training with the recipe, and its seconds."""
        experiment = self.experiment
        model = experiment.model(self.variant, self.seed, compiled=True)
        training = training_of(experiment, model, recipe, self.seed, self.fraction, experiment.image)
        history = train(training, tick, checkpoints)
        return int(correct(training.trained, experiment.shown("val", experiment.image)).sum()), history.spent


def best(found: dict[float, int]) -> float:
    """The rate with the most right answers; of equals the one nearest to the middle of them, of two the lower."""
    most = max(found.values())
    equals = sorted(rate for rate, right in found.items() if right == most)
    return equals[(len(equals) - 1) // 2]
