"""The figure of ablations: a mark and an interval for each arm, factors one under the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.report.analysis.ablation import Arm, Factor, of_settings
from harness.report.figures.context import Context
from harness.report.figures.style.chart import Drawing, Record, Table, interval
from harness.report.figures.style.palette import INK, Look
from harness.report.figures.style.series import Level, Line, Panel, Point, rows_drawing
from harness.report.figures.style.words import intervals

TITLE = "Ablations"
WIDEST = 2.5  # intervals that reach further than so many times the largest difference of a seed leave the figure
SIZE = 7.0  # of a mark


def draw(about: Context) -> Drawing | None:
    """The arms that settings of one variant are; None where no variant has settings."""
    return draw_factors(of_settings(about.summaries), about.look, about.setting.baseline, f"{about.prefix}ablation")


def draw_factors(
    factors: Sequence[Factor], look: Mapping[str, Look], baseline: str, name: str, title: str = TITLE
) -> Drawing | None:
    """Mean paired differences with simultaneous intervals and single seeds; hollow where not resolved."""
    if not factors:
        return None
    rows: dict[float, tuple[str, str]] = {}
    records, lines = [], []
    for factor in factors:
        rows[-len(rows)] = (factor.name, INK)
        for arm in factor.arms:
            one, y, own = record(factor, arm), -len(rows), look[arm.summary.variant]
            rows[y] = (arm.label, own.color)
            dots = [(value, y) for value in one["difference_by_seed"].values()]
            point = Point(one["difference"], y, left=one["difference_low"], right=one["difference_high"], dots=dots,
                          hollow=not one["resolved"])  # fmt: skip
            lines.append(Line(arm.label, own, [point], size=SIZE))
            records.append(one)
    panel = Panel(lines, f"top-1 minus {baseline}, points", "", rows=rows, limits=limits(records),
                  level=Level(0.0, baseline, look.get(baseline)))  # fmt: skip
    return rows_drawing(name, title, caption(factors, baseline), records, panel)


def record(factor: Factor, arm: Arm) -> Record:
    assert arm.summary.difference is not None
    one = arm.summary.difference
    return {
        "factor": factor.name, "arm": arm.label, "variant": arm.summary.variant,
        **interval("difference", one.estimate), "confidence": one.estimate.confidence,
        "paired_seeds": one.estimate.n, "resolved": arm.summary.decided, "difference_by_seed": arm.differences,
    }  # fmt: skip


def limits(records: Table) -> tuple[float, float]:
    """The axis shows every mean and seed, and the intervals that are not many times wider; the others leave it."""
    shown = [0.0] + [value for one in records for value in one["difference_by_seed"].values()]
    reach = WIDEST * max(map(abs, shown))
    ends = [one[column] for one in records for column in ("difference", "difference_low", "difference_high")]
    shown += [end for end in ends if end is not None and abs(end) <= reach]
    low, high = min(shown), max(shown)
    margin = 0.06 * (high - low) or 1.0  # where nothing differs, a point to either side
    return low - margin, high + margin


def caption(factors: Sequence[Factor], baseline: str) -> str:
    every = [arm.summary.difference for factor in factors for arm in factor.arms]
    drawn = any(one and one.estimate.low is not None for one in every)
    words = ". Lines are simultaneous 95 % intervals over all variants of a table, some wider than the figure"
    several = max((one.estimate.n for one in every if one), default=0) > 1
    marks = (
        f"the mean over paired seeds of the difference to {baseline}, faint dots single seeds"
        if several
        else f"the difference to {baseline} in one seed"
    )
    return (
        f"Right of 0 is more accurate than {baseline}. Large marks are {marks}{intervals(words, drawn)}. Hollow marks "
        f"are undetermined, or exploratory. Intervals are of differences to {baseline} alone, and say nothing of two "
        "arms beside each other."
    )
