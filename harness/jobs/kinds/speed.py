"""The speed cell: all variants timed together, under each condition of the study.

The batch is the same for all variants, and halved for all where one runs out of memory. What could not be had is a null
row with its sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.jobs.cell import Cell, Tick
from harness.jobs.kinds.conditions import Condition, conditions
from harness.jobs.kinds.rounds import AGAIN, timed
from harness.measure.timing.oom import halved
from harness.results import store


@dataclass(frozen=True, eq=False)
class Speed(Cell):
    """Throughput, time relative to the baseline, MFU and peak memory of a batch; latency; A/A ratio and ceiling."""

    variants: Sequence[str]

    kind = "speed"
    metric = "images_per_s"
    name = "speed"
    variant, seed, fraction, after = "", None, 1.0, None

    @property
    def work(self) -> int:
        return sum(condition.rounds for condition in conditions(self.experiment))

    def about_variants(self) -> Sequence[str]:
        return self.variants

    def settings(self) -> Sequence[Any]:
        study = self.experiment.study
        return [study.baseline, study.speed_rounds, self.experiment.hardware()]

    def run(self, folder: Path, tick: Tick) -> Iterator[store.Row]:
        experiment, baseline = self.experiment, self.experiment.study.baseline
        models = {variant: experiment.model(variant, compiled=True) for variant in self.variants}
        models[AGAIN] = experiment.model(baseline, compiled=True)
        for condition in conditions(experiment):
            once = counted(tick, condition.rounds)
            facts, batch_size = halved(partial(timed, experiment, models, condition, once), condition.batch_size)
            if facts is None:
                why = f"out of memory, from a batch of {condition.batch_size} down to a single image"
                facts = [condition.null(v, word, why) for v, word in condition.asked(self.variants, baseline)]
            common = {"test": condition.size} | batch_words(condition, batch_size)
            yield from (self.row(**(common | fact)) for fact in facts)
            for _ in range(condition.rounds):  # what was not timed is done, too
                once()


def batch_words(condition: Condition, batch_size: int) -> dict[str, Any]:
    """The batch size as rows have it, and a note where it is not the one that was asked for."""
    if batch_size == condition.batch_size:
        return {"batch_size": batch_size}
    note = f"batch halved from {condition.batch_size} to {batch_size} for all variants: out of memory"
    return {"batch_size": batch_size, "note": note}


def counted(tick: Tick, number: int) -> Tick:
    """A tick that comes through `number` times: rounds that are timed anew, with a smaller batch, count once."""
    left = iter(range(number))

    def once() -> None:
        if next(left, None) is not None:
            tick()

    return once
