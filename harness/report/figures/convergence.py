"""Validation accuracy while training, by epoch and by seconds: means over seeds, single seeds faint behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.report.analysis.learning import Learning, Point
from harness.report.figures.style import line_ends, svg
from harness.report.figures.style.chart import SIZE, Drawing, axes
from harness.report.figures.style.palette import PAPER, Look

TITLES = {"epoch": "Convergence by epoch", "second": "Convergence by seconds of training"}
LABELS = {"epoch": "epoch", "second": "seconds of training"}
MOST_LINES = 60  # single seeds; more would cover the means
MARKED = 6  # epochs, at most, at which marks and intervals stand: at each one they would hide the lines


def draw(found: Sequence[Learning], look: dict[str, Look], by: str, name: str, caption: str) -> Drawing | None:
    """Mean validation top-1 against epochs or seconds ("epoch", "second"); None where there is no curve."""
    curves = [(one, one.by_epoch if by == "epoch" else one.by_second) for one in found]
    curves = [(one, points) for one, points in curves if len(points) > 1]
    if not curves:
        return None
    with svg.style():
        figure = Figure(figsize=SIZE)
        ax = figure.add_axes((0.12, 0.14, 0.58, 0.83))
        lasts = []
        for order, (one, points) in enumerate(curves):
            if lines(found):
                _single(ax, one, points, by, look[one.variant])
            lasts.append((one.variant, *_mean(ax, points, by, look[one.variant], order / len(curves))))
        ax.margins(x=0.03, y=0.05)
        axes(ax, LABELS[by], "validation accuracy, %")
        if by == "epoch":
            ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        ax.set_ylim(bottom=max(floor(found), ax.get_ylim()[0]))
        missed = line_ends.name(ax, lasts, look)
        drawn = svg.inline(figure, name, TITLES[by])
    header = ["variant", "epoch", "seconds", "val_top1_mean", "val_top1_low", "val_top1_high", "seeds",
              "val_top1_by_seed"]  # fmt: skip
    table: list[list[object]] = [
        [one.variant, point.epoch, point.seconds, point.top1.center, point.top1.low, point.top1.high, point.top1.n,
         by_seed(one, point)]
        for one, points in curves
        for point in points
    ]  # fmt: skip
    return Drawing(name, drawn, TITLES[by], caption, header, table, missed)


def lines(found: Sequence[Learning]) -> bool:
    """Whether single seeds are few enough to be drawn."""
    return sum(len(one.top1) for one in found) <= MOST_LINES


def floor(found: Sequence[Learning]) -> float:
    """Where the axis of accuracy begins, %: below every mean from a third of the training on.

    The first epochs climb so far that on a whole axis the others could not be told apart.
    """
    late = [p.top1.center for one in found for p in one.by_epoch if 3 * p.epoch >= one.by_epoch[-1].epoch]
    top = max(late)
    return float(max(0, math.floor(min(late) - 0.35 * (top - min(late)) - 1)))


def marked(count: int, phase: float) -> list[int]:
    """Which of `count` points carry a mark: spread evenly, moved on by `phase` of a gap (0 to 1), and the last."""
    if count <= MARKED:
        return list(range(count))
    gap = (count - 1) / MARKED
    return [*(round((number + phase) * gap) for number in range(MARKED) if number + phase < MARKED - 0.5), count - 1]


def by_seed(one: Learning, point: Point) -> str:
    """The single seeds of a mean, as far as they are few."""
    if len(one.top1) > MOST_LINES:
        return ""
    seeds = [(seed, values[point.epoch]) for seed, values in one.top1.items() if point.epoch in values]
    return " ".join(f"{seed}:{value:.6g}" for seed, value in seeds)


def _single(ax: Axes, one: Learning, points: Sequence[Point], by: str, look: Look) -> None:
    """The lines of single seeds."""
    epochs = [point.epoch for point in points]
    drawn = []
    for seed, values in one.top1.items():
        places = one.seconds.get(seed, {}) if by == "second" else {epoch: float(epoch) for epoch in epochs}
        drawn.append([(places[epoch], values[epoch]) for epoch in epochs if epoch in places and epoch in values])
    ax.add_collection(LineCollection(drawn, colors=look.color, linewidths=0.8, alpha=0.22, zorder=1))


def _mean(ax: Axes, points: Sequence[Point], by: str, look: Look, phase: float) -> tuple[float, float]:
    """The line of the means with its marks and intervals; returns its last point."""
    xs = [float(point.seconds or 0.0) if by == "second" else float(point.epoch) for point in points]
    ys = [point.top1.center for point in points]
    style: dict[str, Any] = {"color": look.color, "linewidth": 1.2, "alpha": 0.6, "zorder": 2}
    places = marked(len(points), phase)
    for place in places:
        top1 = points[place].top1
        if top1.low is not None and top1.high is not None:
            ax.plot([xs[place]] * 2, [top1.low, top1.high], **style)
    ax.plot(
        xs, ys, color=look.color, linewidth=1.6, marker=look.marker, markevery=places, markersize=5.5,
        markeredgecolor=PAPER, markeredgewidth=0.8, zorder=4,
    )  # fmt: skip
    return xs[-1], ys[-1]
