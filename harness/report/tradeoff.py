"""Top-1 against a cost: means with intervals, single seeds faint behind them, the Pareto front of the means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from harness.report import labels, svg
from harness.report.chart import SIZE, Drawing, axes
from harness.report.palette import FAINT, PAPER, Look
from harness.report.quantity import Quantity
from harness.report.summary import Summary
from harness.stats import pareto_front


@dataclass(frozen=True)
class Axis:
    """The cost axis of an accuracy figure: how it is called, where a summary has it, which way is better."""

    name: str
    title: str
    label: str
    column: str
    of: Callable[[Summary], Quantity]
    more_is_better: bool


THROUGHPUT = Axis(
    "throughput", "Top-1 accuracy against inference throughput", "inference, images/s", "images_per_s",
    lambda summary: summary.inference.images_per_s, True,
)  # fmt: skip
GMAC = Axis(
    "gmac", "Top-1 accuracy against multiply-adds", "GMACs per image", "gmac", lambda summary: summary.gmac, False
)


def draw(found: Sequence[Summary], look: dict[str, Look], axis: Axis, prefix: str, caption: str) -> Drawing | None:
    """The figure, or None where no variant has both numbers."""
    shown = [s for s in found if s.top1.value is not None and axis.of(s).value is not None]
    if not shown:
        return None
    with svg.style():
        figure = Figure(figsize=SIZE)
        ax = figure.add_axes((0.12, 0.14, 0.855, 0.83))
        costs = [float(axis.of(s).value or 0.0) for s in shown]
        means = [float(s.top1.value or 0.0) for s in shown]
        _front(ax, means, costs, axis.more_is_better)
        for summary, cost in zip(shown, costs, strict=True):
            _points(ax, summary, cost, axis.of(summary), look[summary.variant])
        if min(costs) > 0 and max(costs) / min(costs) > 5:
            ax.set_xscale("log")
        ax.margins(x=0.14, y=0.10)
        axes(ax, axis.label, "top-1 accuracy, %")
        anchors = [
            labels.Anchor(cost, mean, s.variant, look[s.variant].color)
            for s, cost, mean in zip(shown, costs, means, strict=True)
        ]
        missed = labels.place(ax, anchors, _markers(ax, costs, means), _obstacles(ax, shown, costs, axis))
        drawn = svg.inline(figure, prefix + axis.name, axis.title)
    header = [
        "variant",
        axis.column,
        f"{axis.column}_low",
        f"{axis.column}_high",
        "top1_mean",
        "top1_low",
        "top1_high",
        "seeds",
        "top1_by_seed",
    ]
    table: list[list[object]] = [
        [s.variant, axis.of(s).value, axis.of(s).low, axis.of(s).high, s.top1.value, s.top1.low, s.top1.high,
         len(s.seeds), " ".join(f"{seed}:{value!r}" for seed, value in s.seeds.items())]
        for s in shown
    ]  # fmt: skip
    return Drawing(prefix + axis.name, drawn, axis.title, caption, header, table, missed)


def _points(ax: Axes, summary: Summary, cost: float, spread: Quantity, look: Look) -> None:
    top1, seeds = summary.top1, list(summary.seeds.values())
    mean = float(top1.value or 0.0)
    line: dict[str, Any] = {"color": look.color, "linewidth": 1.4, "alpha": 0.6, "solid_capstyle": "butt", "zorder": 2}
    if top1.low is not None and top1.high is not None:
        ax.plot([cost, cost], [top1.low, top1.high], **line)
    if spread.low is not None and spread.high is not None:
        ax.plot([spread.low, spread.high], [mean, mean], **line)
    sns.scatterplot(
        x=[cost] * len(seeds), y=seeds, ax=ax, color=look.color, edgecolor=PAPER, linewidth=0.7, alpha=0.5, s=17,
        zorder=3, legend=False,
    )  # fmt: skip
    ax.plot(
        [cost], [mean], linestyle="none", marker=look.marker, markersize=7.5, color=look.color, zorder=4,
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
