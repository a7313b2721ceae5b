"""Resolution transfer: top-1 of the trained weights at test resolutions they were not trained at, and after
fine-tuning there; under it, what an image costs in time at that resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.report.analysis.quantity import Quantity
from harness.report.analysis.timing import Times
from harness.report.figures.style import line_ends, svg
from harness.report.figures.style.chart import SIZE, Drawing, axes
from harness.report.figures.style.palette import FAINT, PAPER, Look
from harness.report.study.rows import by_number, side
from harness.report.study.study import Setting
from harness.results.stats import Estimate, mean_interval

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


def draw(
    curves: Sequence[Curve], times: Times | None, look: dict[str, Look], train_px: str, name: str, caption: str
) -> Drawing | None:
    """Top-1 against test resolution, one line a variant with t intervals; None below two resolutions.

    Dashed lines with hollow marks lead from what was trained to what was fine-tuned from it. Under it the time of an
    image at the same resolutions, where it was measured.
    """
    every = [point for curve in curves for point in (*curve.points, *curve.finetuned)]
    ticks = sorted({(point.position, point.px) for point in every})
    if len({px for _, px in ticks}) < 2:
        return None
    title = BOTH if any(curve.finetuned for curve in curves) else TITLE
    sizes = {px for _, px in ticks}
    timed = {} if times is None else {
        variant: {px: ms for px, ms in by_px.items() if px in sizes} for variant, by_px in times.by_variant.items()
    }  # fmt: skip
    timed = {variant: by_px for variant, by_px in timed.items() if by_px and variant in {c.variant for c in curves}}
    with svg.style():
        figure = Figure(figsize=(SIZE[0], SIZE[1] + 1.5) if timed else SIZE)
        ax = figure.add_axes((0.12, 0.38, 0.58, 0.60) if timed else (0.12, 0.14, 0.58, 0.83))
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
        axes(ax, "" if timed else "test resolution, px", "top-1 accuracy, %")
        ax.set_xticks(list(where.values()), list(where))
        if train_px in where:
            ax.axvline(where[train_px], color=FAINT, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=0)
            ax.annotate(
                "trained here", (where[train_px], 0), (4, 5), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize=8.5, color=FAINT, ha="left", va="bottom", gid="label",
            )  # fmt: skip
        ax.autoscale_view()
        if timed:
            middle = (len(curves) - 1) / 2
            moved_by = {curve.variant: width * step * (place - middle) for place, curve in enumerate(curves)}
            _times(figure.add_axes((0.12, 0.10, 0.58, 0.20), sharex=ax), timed, where, moved_by, look)
        missed = line_ends.name(ax, lasts, look)
        drawn = svg.inline(figure, name, title)
    header = ["variant", "test_px", "top1_mean", "top1_low", "top1_high", "seeds", "top1_by_seed"]
    if title == BOTH:
        header += ["finetuned_mean", "finetuned_low", "finetuned_high", "finetuned_seeds", "finetuned_by_seed"]
    if timed:
        header += ["ms_per_image", "ms_per_image_low", "ms_per_image_high"]
    return Drawing(name, drawn, title, caption, header, _table(curves, title == BOTH, timed), missed)


def _times(
    ax: Axes, timed: Mapping[str, Mapping[str, Quantity]], where: dict[str, float], moved_by: dict[str, float],
    look: dict[str, Look],
) -> None:  # fmt: skip
    """The lower panel: milliseconds an image, in the colours of the upper one, which names them."""
    values = [ms.value for by_px in timed.values() for ms in by_px.values() if ms.value]
    if min(values) > 0 and max(values) / min(values) > 8:
        ax.set_yscale("log")
    for variant, by_px in timed.items():
        places = sorted(by_px, key=lambda px: where[px])
        xs, each = [where[px] + moved_by[variant] for px in places], [by_px[px] for px in places]
        for x, ms in zip(xs, each, strict=True):
            if ms.low is not None and ms.high is not None:
                ax.plot([x, x], [ms.low, ms.high], color=look[variant].color, linewidth=1.2, alpha=0.6, zorder=2)
        style: dict[str, Any] = {"color": look[variant].color, "linewidth": 1.3, "marker": look[variant].marker}
        ax.plot(
            xs, [ms.value or 0.0 for ms in each], markersize=4.5, markeredgecolor=PAPER, markeredgewidth=0.7, **style
        )
    ax.margins(y=0.12)
    axes(ax, "test resolution, px", "ms an image")
    ax.set_xticks(list(where.values()), list(where))
    if ax.get_yscale() == "linear":
        ax.set_ylim(bottom=0.0)
        ax.yaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 2.5, 5, 10]))
    ax.autoscale_view()


def _table(
    curves: Sequence[Curve], both: bool, timed: Mapping[str, Mapping[str, Quantity]]
) -> list[list[object]]:  # fmt: skip
    """A line for each variant and resolution."""
    lines = []
    for curve in curves:
        zero, tuned = ({point.px: point for point in points} for points in (curve.points, curve.finetuned))
        for px in sorted(zero.keys() | tuned.keys(), key=lambda px: (side(px), px)):
            line: list[object] = [curve.variant, px, *_cells(zero.get(px))]
            line += _cells(tuned.get(px)) if both else []
            if timed:
                ms = timed.get(curve.variant, {}).get(px, Quantity())
                line += [ms.value, ms.low, ms.high]
            lines.append(line)
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
