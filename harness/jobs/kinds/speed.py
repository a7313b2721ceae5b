"""The speed cell: all variants timed together, under each condition of the study.

The batch is the same for all variants, and halved for all where one runs out of memory. What could not be had is a null
row with its sentence.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.jobs.cell import Cell, Tick
from harness.jobs.experiment import Bench
from harness.jobs.kinds.conditions import Condition, conditions
from harness.jobs.kinds.rounds import AGAIN, timed
from harness.measure.timing.oom import halved
from harness.results import store


def speed_cell(bench: Bench, variants: list[str]) -> Cell:
    """Throughput, time relative to the baseline, MFU and peak memory of a batch; latency; A/A ratio and ceiling."""
    baseline = bench.study.baseline
    key = bench.key(variants, "speed", baseline, bench.study.speed_rounds, bench.hardware())
    planned = conditions(bench)

    def rows(tick: Tick, folder: Path) -> tuple[list[store.Row], Tensor | None]:
        models = {variant: bench.model(variant, compiled=True) for variant in variants}
        models[AGAIN] = bench.model(baseline, compiled=True)
        found = []
        for condition in planned:
            once = counted(tick, condition.rounds)
            facts, batch_size = halved(partial(timed, bench, models, condition, once), condition.batch_size)
            if facts is None:
                why = f"out of memory, from a batch of {condition.batch_size} down to a single image"
                facts = [condition.null(v, word, why) for v, word in condition.asked(variants, baseline)]
            common = {"test": condition.size} | batch_words(condition, batch_size)
            found += [bench.row(cell=key, **(common | fact)) for fact in facts]
            for _ in range(condition.rounds):  # what was not timed is done, too
                once()
        return found, None

    def failed(note: str) -> list[store.Row]:
        return [bench.row(v, key, metric="images_per_s", value=None, unit="1/s", note=note) for v in variants]

    return Cell("speed", key, sum(condition.rounds for condition in planned), rows, failed)


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
