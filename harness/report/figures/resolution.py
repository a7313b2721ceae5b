"""Time and peak memory relative to the baseline against resolution; in the A/A band no time is resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.analysis.crossover import Curve
from harness.report.figures.style import line_ends, svg
from harness.report.figures.style.chart import SIZE, Drawing, axes
from harness.report.figures.style.palette import PAPER, RULE, Look
from harness.report.study.rows import side

TITLES = {"": "Inference by resolution", "train_": "Training by resolution"}
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Mark:
    """A point of a line: its place, its interval where it has one, and whether it is told from 1."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    full: bool = True


def draw(
    curves: Sequence[Curve], look: dict[str, Look], baseline: str, prefix: str, name: str, caption: str
) -> Drawing | None:
    """A panel of time and one of memory, the baseline at 1; None where no other variant was timed."""
    others = [curve for curve in curves if curve.variant != baseline]
    if not others:
        return None
    where = places(curves)
    peaks = memory(curves, baseline)
    step = (max(where.values()) - min(where.values())) * min(0.011, 0.12 / len(others))
    shifts = {curve.variant: step * (order - (len(others) - 1) / 2) for order, curve in enumerate(others)}
    times = {
        curve.variant: [
            Mark(where[p.px], p.ratio, p.speed.ratio.low, p.speed.ratio.high, p.speed.resolved) for p in curve.points
        ]
        for curve in others
    }
    needs = {
        curve.variant: [Mark(where[p.px], peaks[curve.variant, p.px]) for p in curve.points
                        if (curve.variant, p.px) in peaks]
        for curve in others
    }  # fmt: skip
    needs = {variant: marks for variant, marks in needs.items() if marks}
    title = TITLES[prefix]
    time = f"{title}: time"
    band = {where[p.px]: p.condition.floor for curve in curves for p in curve.points if p.condition.floor is not None}
    drawn = [_panel(times, look, baseline, where, shifts, band, f"time {TIMES} {baseline}", f"{name}-time", time)]
    if needs:
        label = f"peak memory {TIMES} {baseline}"
        drawn.append(_panel(needs, look, baseline, where, {}, {}, label, f"{name}-memory", f"{title}: peak memory"))
    header = ["variant", "test_px", "batch_size", "time_ratio", "time_ratio_low", "time_ratio_high", "rounds",
              "outcome", "aa_floor", "images_per_s", "peak_mib", "peak_ratio", "mfu"]  # fmt: skip
    table: list[list[object]] = [
        [curve.variant, point.px, point.condition.batch, point.ratio, point.speed.ratio.low, point.speed.ratio.high,
         point.speed.images_per_s.n, "baseline" if curve.variant == baseline else point.outcome, point.condition.floor,
         point.speed.images_per_s.value, point.speed.peak_mib.value, peaks.get((curve.variant, point.px)),
         point.speed.mfu.value]
        for curve in curves
        for point in curve.points
    ]  # fmt: skip
    missed = list(dict.fromkeys(variant for _, unnamed in drawn for variant in unnamed))
    return Drawing(name, "\n".join(panel for panel, _ in drawn), title, caption, header, table, missed, len(drawn))


def memory(curves: Sequence[Curve], baseline: str) -> dict[tuple[str, str], float]:
    """Peak memory over the baseline's, by variant and resolution, where both were measured."""
    peaks = {
        (curve.variant, point.px): point.speed.peak_mib.value
        for curve in curves
        for point in curve.points
        if point.speed.peak_mib.value
    }
    return {
        (variant, px): peak / peaks[baseline, px] for (variant, px), peak in peaks.items() if (baseline, px) in peaks
    }


def places(curves: Sequence[Curve]) -> dict[str, float]:
    """Where on the axis a resolution stands: at its side in pixels, or one after the other where sides are alike."""
    ticks = sorted({point.px for curve in curves for point in curve.points}, key=lambda px: (side(px), px))
    if len({side(px) for px in ticks}) == len(ticks):
        return {px: side(px) for px in ticks}
    return {px: float(order) for order, px in enumerate(ticks)}


def _panel(
    lines: dict[str, list[Mark]], look: dict[str, Look], baseline: str, where: dict[str, float],
    shifts: dict[str, float], band: dict[float, float], label: str, name: str, title: str,
) -> tuple[str, list[str]]:  # fmt: skip
    """The SVG of one panel, and the variants that find no room for their name."""
    with svg.style():
        figure = Figure(figsize=SIZE)
        ax = figure.add_axes((0.12, 0.14, 0.58, 0.83))
        at = sorted(band)
        ax.fill_between(at, [1 - band[x] for x in at], [1 + band[x] for x in at], color=RULE, linewidth=0, zorder=0)
        lasts = [
            (variant, *_line(ax, marks, look[variant], shifts.get(variant, 0.0))) for variant, marks in lines.items()
        ]
        if baseline in look:
            xs = list(where.values())
            ax.plot(xs, [1.0] * len(xs), color=look[baseline].color, linewidth=1.2, zorder=1)
            lasts.append((baseline, max(xs), 1.0))
        ax.margins(x=0.05, y=0.08)
        axes(ax, "resolution, px", label)
        ax.set_xticks(list(where.values()), list(where))
        ax.autoscale_view()
        missed = line_ends.name(ax, lasts, look)
        return svg.inline(figure, name, title), missed


def _line(ax: Axes, marks: Sequence[Mark], look: Look, shift: float) -> tuple[float, float]:
    """Draws a curve, moved sideways by `shift`; a hollow mark is not resolved. Returns its last point."""
    xs, ys = [mark.x + shift for mark in marks], [mark.y for mark in marks]
    ax.plot(xs, ys, color=look.color, linewidth=1.6, zorder=3)
    for x, mark in zip(xs, marks, strict=True):
        if mark.low is not None and mark.high is not None:
            ax.plot([x, x], [mark.low, mark.high], color=look.color, linewidth=1.2, alpha=0.6, zorder=2)
        ax.plot(
            [x], [mark.y], linestyle="none", marker=look.marker, markersize=6, zorder=4,
            color=look.color if mark.full else PAPER, markeredgecolor=PAPER if mark.full else look.color,
            markeredgewidth=0.9,
        )  # fmt: skip
    return xs[-1], ys[-1]
