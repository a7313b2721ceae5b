"""Top-1 against its costs, a panel each: means with intervals, single seeds faint, the Pareto front of the means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.report.analysis.quantity import Quantity
from harness.report.analysis.summary import Summary
from harness.report.analysis.timing import Condition, chosen
from harness.report.figures.context import Context
from harness.report.figures.style.chart import PANEL, Drawing, Record, interval
from harness.report.figures.style.palette import FAINT, Look
from harness.report.figures.style.series import Frame, Line, Panel, drawing, read
from harness.report.figures.style.words import intervals, over_seeds, tested_images
from harness.report.text.formatting import count, tick
from harness.results.stats import pareto_front

TITLE = "Top-1 accuracy against cost"
FRAME: Frame = (0.155, 0.15, 0.825, 0.82)
FRONT = (
    "The dashed line is each panel's Pareto front of the means; how often a variant is on it where seeds are drawn "
    "anew is said beside its verdict."
)


@dataclass(frozen=True)
class Axis:
    """The cost axis of a panel: how it is called, where a summary has it, which way is better."""

    title: str
    label: str
    column: str
    of: Callable[[Summary], Quantity]
    more_is_better: bool
    form: Callable[[float, int], str] | None = None


THROUGHPUT = Axis(
    "Top-1 accuracy against inference throughput", "inference, images/s", "images_per_s",
    lambda summary: summary.inference.images_per_s, True,
)  # fmt: skip
GMAC = Axis("Top-1 accuracy against multiply-adds", "GMACs per image", "gmac", lambda summary: summary.gmac, False)
PARAMS = Axis("Top-1 accuracy against parameters", "parameters", "params", lambda summary: summary.params, False,
              partial(count, form=tick))  # fmt: skip
AXES = (THROUGHPUT, GMAC, PARAMS)


def axes_of(found: Sequence[Summary]) -> list[Axis]:
    """The costs that some variant has beside a top-1."""
    return [axis for axis in AXES if any(_both(summary, axis) for summary in found)]


def _both(summary: Summary, axis: Axis) -> bool:
    return summary.top1.value is not None and axis.of(summary).value is not None


def draw(about: Context) -> Drawing | None:
    """A panel a cost, all on one scale of accuracy; None for a probe, and where no variant has a cost and a top-1."""
    if about.setting.probe is not None:  # it asks what can be learned
        return None
    found, costs = about.summaries, axes_of(about.summaries)
    records = [record(s, costs) for s in found if any(_both(s, axis) for axis in costs)]
    if not records:
        return None
    every = [end for one in records for end in (one["top1_mean"], one["top1_low"], one["top1_high"],
             *one["top1_by_seed"].values()) if end is not None]  # fmt: skip
    margin = 0.1 * (max(every) - min(every)) or 1.0
    limits = min(every) - margin, max(every) + margin
    panels = []
    for axis in costs:
        shown = [one for one in records if one[axis.column] is not None]
        lines = read(shown, axis.column, "top1_mean", about.look, single="top1_by_seed", size=7.0)
        places = [one[axis.column] for one in shown]
        log = min(places) > 0 and max(places) / min(places) > 5
        panels.append(Panel([front(lines, axis), *lines], axis.label, "top-1 accuracy, %", axis.column, axis.title,
                            log_x=log, limits=limits, form=axis.form, beside=True))  # fmt: skip
    title = TITLE if len(costs) > 1 else costs[0].title
    words = caption(found, chosen(about.setting, ""))
    return drawing(f"{about.prefix}tradeoff", title, words, records, panels, PANEL, FRAME)


def record(s: Summary, costs: Sequence[Axis]) -> Record:
    found: dict[str, Any] = {"variant": s.variant}
    for axis in costs:
        whole = interval(axis.column, axis.of(s))
        found |= whole if axis is THROUGHPUT else {axis.column: whole[axis.column]}
    return found | interval("top1_mean", s.top1) | {"seeds": len(s.seeds), "top1_by_seed": s.seeds}


def front(lines: Sequence[Line], axis: Axis) -> Line:
    """The Pareto front of the means, without marks and a name."""
    points, sign = [line.points[0] for line in lines], -1 if axis.more_is_better else 1
    best = pareto_front([point.y for point in points], [sign * point.x for point in points])
    return Line("", Look("faint", FAINT, "o"), [points[place] for place in best], [], named=False, dashed=True)


def caption(found: Sequence[Summary], condition: Condition | None) -> str:
    costs = axes_of(found)
    timed = THROUGHPUT in costs
    cheap = "further left is cheaper"
    better = cheap if not timed else "further right is faster" if len(costs) == 1 else (
        f"further right is faster in images/s, {cheap} in GMACs and parameters")  # fmt: skip
    marks = over_seeds(max((len(s.seeds) for s in found), default=0), ", faint dots single seeds")
    drawn = any(s.top1.low is not None for s in found)
    vertical = intervals("; vertical lines: 95 % t interval of the mean", drawn)
    rounds = max((s.inference.images_per_s.n for s in found if s.inference.images_per_s.low is not None), default=0)
    horizontal = (
        f"; horizontal lines: 95 % bootstrap interval of the median over {rounds} interleaved rounds"
        if rounds and timed else ""
    )  # fmt: skip
    measured = f" Throughput measured on {condition.words()}." if timed and condition and condition.words() else ""
    counted = " GMACs are counted on one image's forward pass; they are not time." if GMAC in costs else ""
    return (
        f"Further up is more accurate, {better}. Large marks are {marks}{vertical}{horizontal}. {FRONT}{measured}"
        f"{counted}{tested_images(found)}"
    )
