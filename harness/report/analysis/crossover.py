"""Time relative to the baseline by resolution: where a variant overtakes it, or that nothing of the kind is resolved.

Only resolved ratios take a side: those whose interval leaves 1 out, beyond the A/A floor of their own rounds. Nothing
is said of resolutions between the measured ones.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from harness.report.analysis.timing import Condition, Speed, by_resolution, speed
from harness.report.study.rows import side
from harness.report.study.study import Setting
from harness.report.text.formatting import grouped, listing

FASTER, SLOWER, OPEN = "faster", "slower", "not resolved"


@dataclass(frozen=True)
class Point:
    """A variant under the condition of one resolution; `speed.ratio` has a value."""

    condition: Condition
    speed: Speed

    @property
    def px(self) -> str:
        return self.condition.px

    @property
    def ratio(self) -> float:
        assert self.speed.ratio.value is not None
        return self.speed.ratio.value

    @property
    def outcome(self) -> str:
        if not self.speed.resolved:
            return OPEN
        return FASTER if self.ratio < 1 else SLOWER


@dataclass(frozen=True)
class Curve:
    """A variant's points by growing resolution, and the resolutions where others were timed and it was not."""

    variant: str
    points: list[Point]
    missing: list[str]


def curves(setting: Setting, prefix: str) -> list[Curve]:
    """A curve per variant with a time ratio; none where fewer than two resolutions were timed in one run."""
    conditions = by_resolution(setting, prefix)
    if len({side(one.px) for one in conditions}) < 2:
        return []
    found = []
    for variant in setting.variants:
        each = [Point(one, speed(setting, variant, prefix, one, "")) for one in conditions]
        points = [point for point in each if point.speed.ratio.value is not None]
        if points:
            missing = [point.px for point in each if point.speed.ratio.value is None]
            found.append(Curve(variant, points, missing))
    return found


def sentence(curve: Curve, baseline: str) -> str:
    """What the curve says: its side at each resolution, and between which ones it changes."""
    resolved = [point for point in curve.points if point.outcome != OPEN]
    open_px = [point.px for point in curve.points if point.outcome == OPEN]
    runs = [(outcome, list(run)) for outcome, run in itertools.groupby(resolved, key=lambda point: point.outcome)]
    parts = [f"{outcome} at {_px([point.px for point in run])} (time ratio {_range(run)})" for outcome, run in runs]
    if open_px:
        parts.append(f"not resolved at {_px(open_px)}")
    if curve.missing:
        parts.append(f"not measured at {_px(curve.missing)}")
    return f"{'; '.join(parts)}. {_crossings(runs, bool(open_px or curve.missing), baseline)}"


def _crossings(runs: list[tuple[str, list[Point]]], gaps: bool, baseline: str) -> str:
    if not runs:
        return f"Whether it overtakes {baseline} is not resolved."
    if len(runs) > 1:
        changes = [
            f"{'overtakes' if after[0] == FASTER else 'falls behind'} {baseline} between {before[1][-1].px} and "
            f"{after[1][0].px} px"
            for before, after in itertools.pairwise(runs)
        ]
        return f"It {listing(changes)}."
    if gaps:
        return "No crossover is resolved."
    who = f"It overtakes {baseline}" if runs[0][0] == SLOWER else f"{baseline} overtakes it"
    return f"{who} at none of the measured resolutions."


def _px(sizes: list[str]) -> str:
    return f"{listing(sizes)} px"


def _range(points: list[Point]) -> str:
    ends = [grouped(end(point.ratio for point in points), 2) for end in (min, max)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
