"""The cells that tune: a variant trained at each learning rate of the study, judged on the validation split.

Every variant gets the same budget, on seeds that no study trains with, so that no result is chosen by itself: all rates
on the first seed, the better half of them on the others, too. What is left is the rate with the most right answers over
these seeds, with which all trainings of the variant are made. One seed alone would choose rates at which a variant is
good by luck and its seeds lie far apart. Source of the halving: Jamieson and Talwalkar, arXiv 1502.07943.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.jobs.cell import Cell, Tick
from harness.jobs.kinds.training import share, validated
from harness.jobs.study import TUNING_SEED
from harness.results import store
from harness.training.checkpoint import Checkpoints


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
        study = self.experiment.study
        trainings = len(study.rates) + half(study.rates) * (len(study.tuning_seeds) - 1)
        return study.recipe.total_epochs * trainings

    @property
    def updates(self) -> float:
        return float(self.experiment.images // self.experiment.study.recipe.batch_size * self.work)

    @property
    def about(self) -> dict[str, Any]:
        return {"seed": self.seed, "train_fraction": self.fraction, "epoch": self.experiment.study.recipe.total_epochs}

    def settings(self) -> Sequence[Any]:
        return [list(self.experiment.study.tuning_seeds), self.fraction, list(self.experiment.study.rates)]

    def left(self, folder: Path) -> Path:
        return self.path(folder)

    def run(self, folder: Path, tick: Tick) -> Iterator[store.Row]:
        study = self.experiment.study
        found: dict[float, list[int]] = {rate: [] for rate in study.rates}  # right answers, seed by seed
        for number, seed in enumerate(study.tuning_seeds):
            for rate in study.rates if number == 0 else ranked(found)[: half(study.rates)]:
                about = {"seed": seed, "params": {"lr": rate}}
                kept = Checkpoints(self.checkpoints(folder) / f"{rate:g}-{seed}", study.checkpoint_interval)
                try:
                    right, seconds = validated(self, replace(study.recipe, lr=rate), seed, tick, kept)
                except FloatingPointError as error:
                    del found[rate]
                    yield self.row(self.variant, metric="tuning_top1", value=None, note=str(error), **about)
                    continue
                found[rate].append(int(right.sum()))
                yield self.row(self.variant, **share("tuning_top1", right), **about)
                yield self.row(self.variant, metric="tuning_s", value=seconds, **about)
            if not found:
                raise FloatingPointError("the loss is not finite at any of the learning rates that were left; name "
                                         "lower ones with --tune")  # fmt: skip
        yield self.row(self.variant, metric="tuned_lr", value=ranked(found)[0])


def half(rates: Sequence[float]) -> int:
    """How many of these rates are tried on more seeds than the first: half of them."""
    return (len(rates) + 1) // 2


def ranked(found: Mapping[float, Sequence[int]]) -> list[float]:
    """The rates that were tried on most seeds, the one with most right answers first.

    Of equals the one nearest to their middle comes first, of two the lower, and then from the lowest on.
    """
    most = max(map(len, found.values()))
    last = {rate: sum(right) for rate, right in found.items() if len(right) == most}
    order = []
    for total in sorted({*last.values()}, reverse=True):
        equals = sorted(rate for rate in last if last[rate] == total)
        middle = equals.pop((len(equals) - 1) // 2)
        order += [middle, *equals]
    return order
