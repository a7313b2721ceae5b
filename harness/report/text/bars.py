"""Differences of top-1 as bars on one axis, in the order in which a page lists its variants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.results.stats import Difference, Estimate


@dataclass(frozen=True)
class Bar:
    """A difference and its interval drawn on an axis of 0 to 100; None where it has no interval."""

    zero: float
    center: float
    low: float | None
    high: float | None


def axis(estimates: Iterable[Estimate]) -> tuple[float, float]:
    """The ends of an axis that holds 0 and all intervals, with a margin."""
    ends = [0.0, *(end for one in estimates for end in (one.low, one.center, one.high) if end is not None)]
    margin = 0.06 * (max(ends) - min(ends)) or 1.0
    return min(ends) - margin, max(ends) + margin


def bar(estimate: Estimate, ends: tuple[float, float]) -> Bar:
    """A difference placed between the ends of the axis."""
    low, high = ends

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - low) / (high - low), 2)

    return Bar(place(0.0) or 0.0, place(estimate.center) or 0.0, place(estimate.low), place(estimate.high))


def rank(is_baseline: bool, difference: Difference | None) -> tuple[bool, bool, float]:
    """Sorting key: the baseline, then by falling difference; variants without one last."""
    center = None if difference is None else difference.estimate.center
    return not is_baseline, center is None, -(center or 0.0)
