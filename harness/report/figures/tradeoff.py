"""Top-1 against its costs, a panel each: means with intervals, single seeds faint, the Pareto front of the means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

from harness.report.analysis.quantity import Quantity
from harness.report.analysis.summary import Summary
from harness.report.figures.style import labels, svg
from harness.report.figures.style.chart import PANEL, Drawing, axes
from harness.report.figures.style.palette import FAINT, PAPER, Look
from harness.report.text.formatting import count
from harness.results.stats import pareto_front

TITLE = "Top-1 accuracy against cost"


@dataclass(frozen=True)
class Axis:
    """The cost axis of a panel: how it is called, where a summary has it, which way is better."""

    title: str
    label: str
    column: str
    of: Callable[[Summary], Quantity]
    more_is_better: bool
    form: Callable[[float], str] | None = None


THROUGHPUT = Axis(
    "Top-1 accuracy against inference throughput", "inference, images/s", "images_per_s",
    lambda summary: summary.inference.images_per_s, True,
)  # fmt: skip
GMAC = Axis("Top-1 accuracy against multiply-adds", "GMACs per image", "gmac", lambda summary: summary.gmac, False)
PARAMS = Axis("Top-1 accuracy against parameters", "parameters", "params", lambda summary: summary.params, False, count)
AXES = (THROUGHPUT, GMAC, PARAMS)


def axes_of(found: Sequence[Summary]) -> list[Axis]:
    """The costs that some variant has beside a top-1."""
    return [axis for axis in AXES if any(_both(summary, axis) for summary in found)]


def draw(found: Sequence[Summary], look: dict[str, Look], name: str, caption: str) -> Drawing | None:
    """A panel a cost, all on one scale of accuracy; None where no variant has a cost and a top-1."""
    drawn, missed = [], []
    costs = axes_of(found)
    shown = [summary for summary in found if any(_both(summary, axis) for axis in costs)]
    if not shown:
        return None
    scale = _scale(shown)
    for axis in costs:
        panel, unnamed = _panel([s for s in shown if _both(s, axis)], look, axis, f"{name}-{axis.column}", scale)
        drawn.append(panel)
        missed += unnamed
    title = TITLE if len(costs) > 1 else costs[0].title
    columns = [part for axis in costs for part in (axis.column, *([f"{axis.column}_low", f"{axis.column}_high"]
               if axis is THROUGHPUT else []))]  # fmt: skip
    header = ["variant", *columns, "top1_mean", "top1_low", "top1_high", "seeds", "top1_by_seed"]
    table: list[list[object]] = []
    for s in shown:
        line: list[object] = [s.variant]
        for axis in costs:
            quantity = axis.of(s)
            line += [quantity.value, *([quantity.low, quantity.high] if axis is THROUGHPUT else [])]
        by_seed = " ".join(f"{seed}:{value!r}" for seed, value in s.seeds.items())
        table.append([*line, s.top1.value, s.top1.low, s.top1.high, len(s.seeds), by_seed])
    return Drawing(name, "\n".join(drawn), title, caption, header, table, missed, len(costs))


def _both(summary: Summary, axis: Axis) -> bool:
    return summary.top1.value is not None and axis.of(summary).value is not None


def _scale(shown: Sequence[Summary]) -> tuple[float, float]:
    """The ends of all panels' accuracy axis."""
    ends = [end for s in shown for end in (s.top1.value, s.top1.low, s.top1.high, *s.seeds.values()) if end is not None]
    margin = 0.1 * (max(ends) - min(ends)) or 1.0
    return min(ends) - margin, max(ends) + margin


def _panel(
    shown: Sequence[Summary], look: dict[str, Look], axis: Axis, name: str, scale: tuple[float, float]
) -> tuple[str, list[str]]:
    """The SVG of one panel, and the variants that find no room for their name."""
    with svg.style():
        figure = Figure(figsize=PANEL)
        ax = figure.add_axes((0.155, 0.15, 0.825, 0.82))
        costs = [float(axis.of(s).value or 0.0) for s in shown]
        means = [float(s.top1.value or 0.0) for s in shown]
        _front(ax, means, costs, axis.more_is_better)
        _seeds(ax, shown, costs, look)
        for summary, cost in zip(shown, costs, strict=True):
            _mean(ax, summary, cost, axis.of(summary), look[summary.variant])
        if min(costs) > 0 and max(costs) / min(costs) > 5:
            ax.set_xscale("log")
        ax.margins(x=0.16)
        ax.set_ylim(*scale)
        axes(ax, axis.label, "top-1 accuracy, %")
        if axis.form:
            form = axis.form
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
        anchors = [
            labels.Anchor(cost, mean, s.variant, look[s.variant].color)
            for s, cost, mean in zip(shown, costs, means, strict=True)
        ]
        missed = labels.place(ax, anchors, _markers(ax, costs, means), _obstacles(ax, shown, costs, axis))
        return svg.inline(figure, name, axis.title), missed


def _seeds(ax: Axes, shown: Sequence[Summary], costs: Sequence[float], look: dict[str, Look]) -> None:
    places = [(cost, top1, s.variant) for s, cost in zip(shown, costs, strict=True) for top1 in s.seeds.values()]
    if places:
        xs, ys, hues = zip(*places, strict=True)
        sns.scatterplot(
            x=xs, y=ys, hue=hues, palette={name: one.color for name, one in look.items()}, ax=ax, edgecolor=PAPER,
            linewidth=0.6, alpha=0.5, s=14, zorder=3, legend=False,
        )  # fmt: skip


def _mean(ax: Axes, summary: Summary, cost: float, spread: Quantity, look: Look) -> None:
    """The mean with its intervals, of accuracy and of cost."""
    top1 = summary.top1
    mean = float(top1.value or 0.0)
    line: dict[str, Any] = {"color": look.color, "linewidth": 1.4, "alpha": 0.6, "solid_capstyle": "butt", "zorder": 2}
    if top1.low is not None and top1.high is not None:
        ax.plot([cost, cost], [top1.low, top1.high], **line)
    if spread.low is not None and spread.high is not None:
        ax.plot([spread.low, spread.high], [mean, mean], **line)
    ax.plot(
        [cost], [mean], linestyle="none", marker=look.marker, markersize=7, color=look.color, zorder=4,
        markeredgecolor=PAPER, markeredgewidth=1.0,
    )  # fmt: skip


def _front(ax: Axes, means: Sequence[float], costs: Sequence[float], more_is_better: bool) -> None:
    sign = -1 if more_is_better else 1
    front = pareto_front(means, [sign * cost for cost in costs])
    if len(front) > 1:
        ax.plot(
            [costs[index] for index in front], [means[index] for index in front], color=FAINT, linewidth=1.0,
            linestyle=(0, (4, 3)), zorder=1,
        )  # fmt: skip


def _markers(ax: Axes, xs: Sequence[float], ys: Sequence[float]) -> list[Bbox]:
    where = ax.transData.transform(list(zip(xs, ys, strict=True)))
    return [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in where]


def _obstacles(ax: Axes, shown: Sequence[Summary], costs: Sequence[float], axis: Axis) -> list[Bbox]:
    """Boxes of intervals and single seeds, in pixels."""
    found = []
    for summary, cost in zip(shown, costs, strict=True):
        mean, spread, top1 = float(summary.top1.value or 0.0), axis.of(summary), summary.top1
        spans = []
        if top1.low is not None and top1.high is not None:
            spans.append(((cost, top1.low), (cost, top1.high)))
        if spread.low is not None and spread.high is not None:
            spans.append(((spread.low, mean), (spread.high, mean)))
        spans += [((cost, value), (cost, value)) for value in summary.seeds.values()]
        for start, end in spans:
            (x0, y0), (x1, y1) = ax.transData.transform([start, end])
            found.append(Bbox.from_extents(x0 - 1.5, y0 - 1.5, x1 + 1.5, y1 + 1.5))
    return found
