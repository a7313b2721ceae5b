"""Resolution transfer: top-1 of the trained weights at test resolutions they were not trained at, and after
fine-tuning there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report import ends, svg
from harness.report.chart import SIZE, Drawing, axes
from harness.report.palette import FAINT, PAPER, Look
from harness.report.rows import by_number, side
from harness.report.study import Setting
from harness.stats import Estimate, mean_interval

TITLE = "Zero-shot resolution transfer"
BOTH = "Resolution transfer, zero-shot and fine-tuned"
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
    """A variant's points by growing resolution: of the weights as trained, and `finetuned` at that resolution."""

    variant: str
    points: list[Point]
    finetuned: list[Point]


def curves(setting: Setting) -> list[Curve]:
    """A curve per variant that has a top-1 somewhere."""
    after = setting.named("finetuned_top1")
    after = after[after["epoch"] == finetune_epochs(setting)]
    found = []
    for variant in setting.variants:
        points = _by_resolution(setting.named("top1", variant))
        finetuned = _by_resolution(after[after["variant"] == variant])
        if points or finetuned:
            found.append(Curve(variant, points, finetuned))
    return found


def finetune_epochs(setting: Setting) -> str:
    """For how many epochs the newest fine-tuning ran; others are not mixed with it. "" where there is none."""
    rows = setting.named("finetuned_top1")
    rows = rows[rows["value"].notna()]
    return str(rows["epoch"].iloc[-1]) if len(rows) else ""


def _by_resolution(rows: pd.DataFrame) -> list[Point]:
    rows = rows[rows["value"].notna() & (rows["test_px"] != "")]
    points = []
    for px, here in rows.groupby("test_px", sort=False):
        seeds = dict(zip(here["seed"], here["value"].astype(float), strict=True))
        seeds = {seed: seeds[seed] for seed in sorted(seeds, key=by_number)}
        points.append(Point(str(px), side(str(px)), mean_interval(list(seeds.values())), seeds))
    return sorted((p for p in points if p.position >= 0), key=lambda point: (point.position, point.px))


def draw(curves: Sequence[Curve], look: dict[str, Look], train_px: str, name: str, caption: str) -> Drawing | None:
    """Top-1 against test resolution, one line a variant with t intervals; None below two resolutions.

    Dashed lines with hollow marks lead from what was trained to what was fine-tuned from it.
    """
    every = [point for curve in curves for point in (*curve.points, *curve.finetuned)]
    ticks = sorted({(point.position, point.px) for point in every})
    if len({px for _, px in ticks}) < 2:
        return None
    title = BOTH if any(curve.finetuned for curve in curves) else TITLE
    with svg.style():
        figure = Figure(figsize=SIZE)
        ax = figure.add_axes((0.12, 0.14, 0.58, 0.83))
        where = {px: float(order) for order, (_, px) in enumerate(ticks)}
        if len({position for position, _ in ticks}) == len(ticks):
            where = {px: position for position, px in ticks}
        width = max(where.values()) - min(where.values())
        step, raw = min(0.011, 0.12 / len(curves)), dots(curves)
        lasts = []
        for order, curve in enumerate(curves):
            shift = width * step * (order - (len(curves) - 1) / 2)
            moved = {px: x + shift for px, x in where.items()}
            lasts.append((curve.variant, *_curve(ax, curve, moved, look[curve.variant], train_px, raw)))
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
        missed = ends.name(ax, lasts, look)
        drawn = svg.inline(figure, name, title)
    header = ["variant", "test_px", "top1_mean", "top1_low", "top1_high", "seeds", "top1_by_seed"]
    if title == BOTH:
        header += ["finetuned_mean", "finetuned_low", "finetuned_high", "finetuned_seeds", "finetuned_by_seed"]
    return Drawing(name, drawn, title, caption, header, _table(curves, title == BOTH), missed)


def _table(curves: Sequence[Curve], both: bool) -> list[list[object]]:
    """A line for each variant and resolution."""
    lines = []
    for curve in curves:
        zero, tuned = ({point.px: point for point in points} for points in (curve.points, curve.finetuned))
        for px in sorted(zero.keys() | tuned.keys(), key=lambda px: (side(px), px)):
            line: list[object] = [curve.variant, px, *_cells(zero.get(px))]
            lines.append(line + _cells(tuned.get(px)) if both else line)
    return lines


def _cells(point: Point | None) -> list[object]:
    if point is None:
        return [None] * 5
    by_seed = " ".join(f"{seed}:{value!r}" for seed, value in point.seeds.items())
    return [point.top1.center, point.top1.low, point.top1.high, point.top1.n, by_seed]


def dots(curves: Sequence[Curve]) -> bool:
    """Whether single seeds are few enough to be drawn."""
    return sum(len(point.seeds) for curve in curves for point in curve.points + curve.finetuned) <= MOST_DOTS


def _curve(
    ax: Axes, curve: Curve, where: dict[str, float], look: Look, train_px: str, raw: bool
) -> tuple[float, float]:
    """Draws a curve, and dashed what was fine-tuned; returns its last point."""
    trained = [point for point in curve.points if point.px == train_px]
    path = sorted([*trained, *curve.finetuned], key=lambda point: (point.position, point.px))
    if curve.finetuned:
        _line(ax, path, where, look, linestyle=(0, (4, 2.5)), marker="none")
        _spread(ax, curve.finetuned, where, look, raw)
        _line(ax, curve.finetuned, where, look, linestyle="none", markerfacecolor=PAPER, markeredgecolor=look.color)
    if curve.points:
        _spread(ax, curve.points, where, look, raw)
        _line(ax, curve.points, where, look, markeredgecolor=PAPER)
    end = (curve.points or curve.finetuned)[-1]
    return where[end.px], end.top1.center


def _line(ax: Axes, points: Sequence[Point], where: dict[str, float], look: Look, **style: Any) -> None:
    line: dict[str, Any] = {"color": look.color, "linewidth": 1.6, "marker": look.marker, "markersize": 6}
    line |= {"markeredgewidth": 0.9, "zorder": 4} | style
    ax.plot([where[point.px] for point in points], [point.top1.center for point in points], **line)


def _spread(ax: Axes, points: Sequence[Point], where: dict[str, float], look: Look, raw: bool) -> None:
    """Single seeds, where there are not too many, and intervals."""
    for point in points:
        x, seeds = where[point.px], list(point.seeds.values()) if raw else []
        ax.scatter([x] * len(seeds), seeds, color=look.color, s=9, alpha=0.4, linewidth=0, zorder=2)
        if point.top1.low is not None and point.top1.high is not None:
            ax.plot([x, x], [point.top1.low, point.top1.high], color=look.color, linewidth=1.2, alpha=0.6)
