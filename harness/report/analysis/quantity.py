"""One number on the page: its value and interval, or the sentence that says why it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import pandas as pd

from harness.report.text.formatting import interval, points, tick
from harness.results.metrics import METRICS
from harness.results.stats import FEWEST_SEEDS, UNBOUNDED, Difference, Estimate, mean_interval, median_interval


class InPoints:
    """What has a difference of accuracies, in the words of a table."""

    difference: Difference

    @property
    def points(self) -> str:
        return points(self.difference.estimate.center)

    @property
    def ends(self) -> str:
        return interval(self.difference.estimate.low, self.difference.estimate.high, points)


class Untried(str):
    """The reason of a number that nobody tried to measure, in words."""


UNMEASURED = Untried("not measured")


@dataclass(frozen=True)
class Quantity:
    """A value with what belongs to it; `reason` says why the value, or else its interval, is missing or was cut."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""
    stale: bool = False

    @property
    def tried(self) -> bool:
        """Whether it was measured, or failed."""
        return self.value is not None or not isinstance(self.reason, Untried)

    @property
    def estimate(self) -> Estimate | None:
        """The value with its 95 % interval; None without a value."""
        return None if self.value is None else Estimate(self.value, self.low, self.high, self.n, 0.95)


def mean(
    values: Sequence[float], reason: str, stale: bool = False, within: tuple[float, float] = UNBOUNDED
) -> Quantity:
    """The mean over seeds with its t interval, cut to what a mean can be; `reason` where there is no seed."""
    if not values:
        return Quantity(reason=reason)
    one = mean_interval(values, within=within)
    why = no_interval(one.n, one.low) or cut(one, within)
    return Quantity(one.center, one.low, one.high, one.n, why, stale)


def cut(one: Estimate, within: tuple[float, float]) -> str:
    """Where an interval was cut, in a sentence; "" where it was not."""
    ends = [f"{tick(end)} %" for end in within if end in (one.low, one.high)]
    return f"no share passes {' or '.join(ends)}, so the interval ends there" if ends else ""


def last(rows: pd.DataFrame, reason: str) -> Quantity:
    """The newest value among rows about one thing; without one, the newest note, or else `reason`."""
    good = rows[rows["value"].notna()]
    if len(good):
        row = good.iloc[-1]
        return Quantity(float(row["value"]), n=1, stale=bool(row["stale"]))
    notes = [note for note in rows["note"] if note]
    return Quantity(reason=notes[-1] if notes else reason)


def timed(rows: pd.DataFrame, reason: str) -> Quantity:
    """The newest value of a timed metric with the bootstrap interval of its median over rounds.

    The samples of images/s and of milliseconds are seconds of a call, those of ratios and shares are values.
    """
    found = last(rows, reason)
    if found.value is None:
        return found
    row = rows[rows["value"].notna()].iloc[-1]
    unit = METRICS[row["metric"]].unit
    if not row["samples"] or min(row["samples"]) <= 0:
        return replace(found, n=0, reason="no interval: the row keeps no timing samples")
    median = _median(tuple(1e3 * sample if unit == "ms" else sample for sample in row["samples"]))
    if median.low is None or median.high is None:
        return replace(found, n=median.n, reason=f"no interval: {median.n} timing rounds")
    low, high = median.low, median.high
    if unit == "1/s":
        images = found.value * median.center  # the batch, so that the ends fit the value that the row states
        low, high = images / high, images / low
    return replace(found, low=low, high=high, n=median.n)


_median = lru_cache(4096)(median_interval)  # a page asks several times, and its bootstrap takes long


def no_interval(n: int, low: float | None) -> str:
    """Why a t interval is missing; "" where there is one."""
    if low is not None:
        return ""
    if n >= FEWEST_SEEDS:
        return f"no interval: all {n} seeds agree, so there is no spread to form one from"
    return f"no interval: {n} seed{'' if n == 1 else 's'}, and none is formed below {FEWEST_SEEDS}"
