"""One number on the page: its value and interval, or the sentence that says why it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness.results.stats import FEWEST_SEEDS, Estimate, mean_interval, median_interval


@dataclass(frozen=True)
class Quantity:
    """A value with what belongs to it; `reason` says why the value, or else its interval, is missing."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""
    stale: bool = False

    @staticmethod
    def of(estimate: Estimate, reason: str = "", stale: bool = False) -> Quantity:
        return Quantity(estimate.center, estimate.low, estimate.high, estimate.n, reason, stale)


def mean(values: Sequence[float], reason: str, stale: bool = False) -> Quantity:
    """The mean over seeds with its t interval; `reason` where there is no seed."""
    if not values:
        return Quantity(reason=reason)
    estimate = mean_interval(values)
    return Quantity.of(estimate, no_interval(estimate.n, estimate.low), stale)


def last(rows: pd.DataFrame, reason: str) -> Quantity:
    """The newest value among rows about one thing; without one, the newest note, or else `reason`."""
    good = rows[rows["value"].notna()]
    if len(good):
        row = good.iloc[-1]
        return Quantity(float(row["value"]), n=1, stale=bool(row["stale"]))
    notes = [note for note in rows["note"] if note]
    return Quantity(reason=notes[-1] if notes else reason)


def throughput(rows: pd.DataFrame, reason: str) -> Quantity:
    """Images/s with the interval that the median seconds of a round have; samples are seconds per iteration."""
    found = last(rows, reason)
    if found.value is None:
        return found
    row = rows[rows["value"].notna()].iloc[-1]
    seconds = row["samples"]
    if not seconds or min(seconds) <= 0:
        return Quantity(found.value, reason="no interval: the row keeps no timing samples", stale=found.stale)
    time = median_interval(seconds)
    if time.low is None or time.high is None:
        return Quantity(found.value, n=time.n, reason=f"no interval: {time.n} timing rounds", stale=found.stale)
    images = found.value * time.center  # the batch, so that the ends fit the value that the row states
    return Quantity(found.value, images / time.high, images / time.low, time.n, stale=found.stale)


def latency(rows: pd.DataFrame, reason: str) -> Quantity:
    """Milliseconds of a call with the interval that the median over rounds has; samples are seconds."""
    found = last(rows, reason)
    if found.value is None:
        return found
    samples = rows[rows["value"].notna()].iloc[-1]["samples"]
    if not samples:
        return Quantity(found.value, reason="no interval: the row keeps no timing samples", stale=found.stale)
    time = median_interval([1e3 * seconds for seconds in samples])
    why = "" if time.low is not None else f"no interval: {time.n} timing rounds"
    return Quantity(found.value, time.low, time.high, time.n, why, found.stale)


def ratio(rows: pd.DataFrame, reason: str) -> Quantity:
    """A time ratio, or an MFU, with the bootstrap interval of its median; samples are its values in each round."""
    found = last(rows, reason)
    if found.value is None:
        return found
    row = rows[rows["value"].notna()].iloc[-1]
    if not row["samples"]:
        return Quantity(found.value, reason="no interval: the row keeps no rounds", stale=found.stale)
    interval = median_interval(row["samples"])
    why = "" if interval.low is not None else f"no interval: {interval.n} timing rounds"
    return Quantity(found.value, interval.low, interval.high, interval.n, why, found.stale)


def no_interval(n: int, low: float | None) -> str:
    """Why a t interval is missing; "" where there is one."""
    if low is not None:
        return ""
    if n >= FEWEST_SEEDS:
        return f"no interval: all {n} seeds agree, so there is no spread to form one from"
    return f"no interval: {n} seed{'' if n == 1 else 's'}, and none is formed below {FEWEST_SEEDS}"
