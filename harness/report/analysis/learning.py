"""How a variant learns: validation top-1 after each epoch, the seconds of training till then, what a target takes.

A mean is formed at an epoch only where every seed was validated, so that no line jumps where a seed drops out. Seconds
are compared on one device alone, the one that most trainings ran on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from harness.report.analysis.quantity import Quantity, Untried, mean
from harness.report.analysis.summary import failure
from harness.report.study.rows import by_number
from harness.report.study.study import Setting
from harness.report.text.formatting import percent, plural, tick
from harness.results.metrics import PERCENT
from harness.results.stats import Estimate, first_at_least, mean_interval, round_targets

ByEpoch = Mapping[int, float]


@dataclass(frozen=True)
class Point:
    """The end of an epoch: mean validation top-1 over seeds, %, and the mean seconds of training till then."""

    epoch: int
    top1: Estimate
    seconds: float | None


@dataclass(frozen=True)
class Learning:
    """By seed, then epoch: validation top-1 (%) and the seconds of training since its start."""

    variant: str
    top1: Mapping[str, ByEpoch]
    seconds: Mapping[str, ByEpoch]
    stale: bool = False

    @cached_property
    def by_epoch(self) -> list[Point]:
        """The epochs at which every seed was validated."""
        return _points(self.top1, {})

    @cached_property
    def by_second(self) -> list[Point]:
        """The same over the seeds whose seconds are known, at the epochs where they are."""
        timed = {seed: {e: v for e, v in by_epoch.items() if e in self.seconds.get(seed, {})}
                 for seed, by_epoch in self.top1.items()}  # fmt: skip
        return _points({seed: by_epoch for seed, by_epoch in timed.items() if by_epoch}, self.seconds)


@dataclass(frozen=True)
class Reach:
    """What it takes to reach `target` %: epochs and seconds, means over the `reached` of `seeds` seeds that do."""

    target: float
    epochs: Quantity
    seconds: Quantity
    reached: int
    seeds: int


def learnings(setting: Setting) -> list[Learning]:
    """One per variant that was validated after more than one epoch; seeds that were not are left out."""
    where = device(setting)
    found = []
    for variant in setting.variants:
        validated, timed = setting.named("val_top1", variant), setting.named("train_s", variant)
        top1 = {seed: by_epoch for seed, by_epoch in _by_seed(validated).items() if len(by_epoch) > 1}
        seconds = _by_seed(timed[_devices(timed) == where])
        if top1:
            found.append(Learning(variant, top1, seconds, bool(validated["stale"].any())))
    return found


def device(setting: Setting) -> str:
    """Where most of the trainings ran whose seconds are kept; "" where the rows do not say."""
    timed = setting.named("train_s")
    counts = Counter(_devices(timed[timed["value"].notna()]))
    return max(counts, key=lambda where: (counts[where], where)) if counts else ""


def targets(setting: Setting, found: list[Learning]) -> list[float]:
    """What the recipe asks for, else the two largest multiples of 5 % that the baseline's mean ends at or above."""
    base = next((one for one in found if one.variant == setting.baseline), None)
    if setting.reach or base is None:
        return setting.reach
    return round_targets(float(np.mean([by_epoch[max(by_epoch)] for by_epoch in base.top1.values()])))


def reach(one: Learning, target: float) -> Reach:
    """The first validated epoch at or above the target, seed by seed, and the seconds at the end of that epoch."""
    firsts = {seed: first_at_least(by_epoch, target) for seed, by_epoch in one.top1.items()}
    epochs = {seed: epoch for seed, epoch in firsts.items() if epoch is not None}
    if not epochs:
        best = max(value for by_epoch in one.top1.values() for value in by_epoch.values())
        none = Quantity(
            reason=f"no seed of {one.variant} reaches {tick(target)} % on the "
            f"validation split: {percent(best)} % is the highest of {plural(len(firsts), 'seed')}"
        )
        return Reach(target, none, none, 0, len(firsts))
    seconds = [one.seconds[s][epoch] for s, epoch in epochs.items() if epoch in one.seconds.get(s, {})]
    lacking = "no seconds: they were not kept epoch by epoch, or on another device than most"
    taken = mean(seconds, lacking, one.stale) if len(seconds) == len(epochs) else Quantity(reason=lacking)
    counted = mean([float(epoch) for epoch in epochs.values()], "", one.stale)
    return Reach(target, counted, taken, len(epochs), len(firsts))


def unlearned(setting: Setting, variant: str) -> str:
    """Why a variant has no curve."""
    why = failure(setting, variant, "accuracy")
    return "not validated after more than one epoch" if isinstance(why, Untried) else why


def _points(top1: Mapping[str, ByEpoch], seconds: Mapping[str, ByEpoch]) -> list[Point]:
    if not top1:
        return []
    common = set.intersection(*(set(by_epoch) for by_epoch in top1.values()))
    return [
        Point(
            epoch,
            mean_interval([by_epoch[epoch] for by_epoch in top1.values()], within=PERCENT),
            float(np.mean([seconds[seed][epoch] for seed in top1])) if seconds else None,
        )
        for epoch in sorted(common)
    ]


def _by_seed(rows: pd.DataFrame) -> dict[str, dict[int, float]]:
    """Values by seed and whole epoch."""
    found: dict[str, dict[int, float]] = {}
    epochs = pd.to_numeric(rows["epoch"], errors="coerce")
    for seed, epoch, value in zip(rows["seed"], epochs, rows["value"], strict=True):
        if 0 <= epoch < 1e9 and value == value:
            found.setdefault(seed, {})[int(epoch)] = float(value)
    return {seed: found[seed] for seed in sorted(found, key=by_number)}


def _devices(rows: pd.DataFrame) -> pd.Series:
    """Device and processor of each row, in words."""
    words = []
    for name, machine in zip(rows["device"], rows["machine"], strict=True):
        known = machine if isinstance(machine, dict) else {}
        processor = known.get("gpu") if name.startswith("cuda") else known.get("cpu")
        words.append(f"{name} ({processor})" if name and processor else name or str(processor or ""))
    return pd.Series(words, index=rows.index, dtype=object)
