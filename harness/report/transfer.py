"""Zero-shot resolution transfer: top-1 of the trained weights at test resolutions they were not trained at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report import ends, svg
from harness.report.chart import SIZE, Drawing, axes
from harness.report.palette import FAINT, PAPER, Look
from harness.report.rows import by_number, side
from harness.report.study import Setting
from harness.stats import Estimate, mean_interval

TITLE = "Zero-shot resolution transfer"
MOST_DOTS = 1500  # single seeds; more would cover the lines and weigh megabytes


@dataclass(frozen=True)
class Point:
    """Top-1 over seeds at one test resolution, %; `position` is the side in pixels."""

    px: str
    position: float
    top1: Estimate
    seeds: dict[str, float]


@dataclass(frozen=True)
class Curve:
    variant: str
    points: list[Point]


def curves(setting: Setting) -> list[Curve]:
    """A curve per variant that has a top-1 somewhere, its points by growing resolution."""
    rows = setting.named("top1")
    rows = rows[rows["value"].notna() & (rows["test_px"] != "")]
    found = []
    for variant in setting.variants:
        mine = rows[rows["variant"] == variant]
        points = []
        for px, here in mine.groupby("test_px", sort=False):
            seeds = dict(zip(here["seed"], here["value"].astype(float), strict=True))
            seeds = {seed: seeds[seed] for seed in sorted(seeds, key=by_number)}
            points.append(Point(str(px), side(str(px)), mean_interval(list(seeds.values())), seeds))
        points = [point for point in points if point.position >= 0]
        if points:
            found.append(Curve(variant, sorted(points, key=lambda point: (point.position, point.px))))
    return found


def draw(curves: Sequence[Curve], look: dict[str, Look], train_px: str, name: str, caption: str) -> Drawing | None:
    """Top-1 against test resolution, one line a variant with t intervals; None below two resolutions."""
    ticks = sorted({(point.position, point.px) for curve in curves for point in curve.points})
    if len({px for _, px in ticks}) < 2:
        return None
    with svg.style():
        figure = Figure(figsize=SIZE)
        ax = figure.add_axes((0.12, 0.14, 0.58, 0.83))
        where = {px: float(order) for order, (_, px) in enumerate(ticks)}
        if len({position for position, _ in ticks}) == len(ticks):
            where = {px: position for position, px in ticks}
        width = max(where.values()) - min(where.values())
        step, raw = min(0.011, 0.12 / len(curves)), dots(curves)
        shifts = [width * step * (order - (len(curves) - 1) / 2) for order in range(len(curves))]
        lasts = [
            _line(ax, curve, where, look[curve.variant], shift, raw)
            for curve, shift in zip(curves, shifts, strict=True)
        ]
        ax.margins(x=0.05, y=0.08)
        axes(ax, "test resolution, px", "top-1 accuracy, %")
        ax.set_xticks(list(where.values()), list(where))
        if train_px in where:
            ax.axvline(where[train_px], color=FAINT, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=0)
            ax.annotate(
                "trained here", (where[train_px], 0), (4, 5), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize=8.5, color=FAINT, ha="left", va="bottom", gid="label",
            )  # fmt: skip
        ax.autoscale_view()
        missed = ends.name(ax, [(curve.variant, *last) for curve, last in zip(curves, lasts, strict=True)], look)
        drawn = svg.inline(figure, name, TITLE)
    header = ["variant", "test_px", "top1_mean", "top1_low", "top1_high", "seeds", "top1_by_seed"]
    table: list[list[object]] = [
        [curve.variant, point.px, point.top1.center, point.top1.low, point.top1.high, point.top1.n,
         " ".join(f"{seed}:{value!r}" for seed, value in point.seeds.items())]
        for curve in curves
        for point in curve.points
    ]  # fmt: skip
    return Drawing(name, drawn, TITLE, caption, header, table, missed)


def dots(curves: Sequence[Curve]) -> bool:
    """Whether single seeds are few enough to be drawn."""
    return sum(len(point.seeds) for curve in curves for point in curve.points) <= MOST_DOTS


def _line(ax: Axes, curve: Curve, where: dict[str, float], look: Look, shift: float, raw: bool) -> tuple[float, float]:
    """Draws a curve, moved sideways by `shift`; returns its last point."""
    xs = [where[point.px] + shift for point in curve.points]
    ys = [point.top1.center for point in curve.points]
    for x, point in zip(xs, curve.points, strict=True):
        seeds = list(point.seeds.values()) if raw else []
        sns.scatterplot(
            x=[x] * len(seeds), y=seeds, ax=ax, color=look.color, s=9, alpha=0.4, linewidth=0, zorder=2, legend=False
        )
        if point.top1.low is not None and point.top1.high is not None:
            ax.plot([x, x], [point.top1.low, point.top1.high], color=look.color, linewidth=1.2, alpha=0.6)
    ax.plot(
        xs, ys, color=look.color, linewidth=1.6, marker=look.marker, markersize=6, markeredgecolor=PAPER,
        markeredgewidth=0.9, zorder=4,
    )  # fmt: skip
    return xs[-1], ys[-1]
