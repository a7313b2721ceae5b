"""Time relative to the baseline against resolution, with the A/A band in which nothing is resolved."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report import ends, svg
from harness.report.chart import SIZE, Drawing, axes
from harness.report.overtaking import Curve
from harness.report.palette import PAPER, RULE, Look
from harness.report.rows import side

TITLES = {"": "Inference time by resolution", "train_": "Training time by resolution"}


def draw(
    curves: Sequence[Curve], look: dict[str, Look], baseline: str, prefix: str, name: str, caption: str
) -> Drawing | None:
    """One line a variant with bootstrap intervals, the baseline at 1 in its band; None where no other was timed."""
    others = [curve for curve in curves if curve.variant != baseline]
    if not others:
        return None
    title = TITLES[prefix]
    conditions = {point.px: point.condition for curve in curves for point in curve.points}
    ticks = sorted(conditions, key=lambda px: (side(px), px))
    where = {px: float(order) for order, px in enumerate(ticks)}
    if len({side(px) for px in ticks}) == len(ticks):
        where = {px: side(px) for px in ticks}
    with svg.style():
        figure = Figure(figsize=SIZE)
        ax = figure.add_axes((0.12, 0.14, 0.58, 0.83))
        banded = [px for px in ticks if conditions[px].floor is not None]
        floors = [conditions[px].floor or 0.0 for px in banded]
        ax.fill_between(
            [where[px] for px in banded], [1 - floor for floor in floors], [1 + floor for floor in floors], color=RULE,
            linewidth=0, zorder=0,
        )  # fmt: skip
        width = max(where.values()) - min(where.values())
        step = min(0.011, 0.12 / len(others))
        lasts = []
        for order, curve in enumerate(others):
            shift = width * step * (order - (len(others) - 1) / 2)
            lasts.append((curve.variant, *_line(ax, curve, where, look[curve.variant], shift)))
        if baseline in look:
            xs = list(where.values())
            ax.plot(xs, [1.0] * len(xs), color=look[baseline].color, linewidth=1.2, zorder=1)
            lasts.append((baseline, max(xs), 1.0))
        ax.margins(x=0.05, y=0.08)
        axes(ax, "resolution, px", f"time \N{MULTIPLICATION SIGN} {baseline}")
        ax.set_xticks(list(where.values()), list(where))
        ax.autoscale_view()
        missed = ends.name(ax, lasts, look)
        drawn = svg.inline(figure, name, title)
    header = ["variant", "test_px", "batch_size", "time_ratio", "time_ratio_low", "time_ratio_high", "rounds",
              "outcome", "aa_floor", "images_per_s", "peak_mib", "mfu"]  # fmt: skip
    table: list[list[object]] = [
        [curve.variant, point.px, point.condition.batch, point.ratio, point.speed.ratio.low, point.speed.ratio.high,
         point.speed.images_per_s.n, "baseline" if curve.variant == baseline else point.outcome, point.condition.floor,
         point.speed.images_per_s.value, point.speed.peak_mib.value, point.speed.mfu.value]
        for curve in curves
        for point in curve.points
    ]  # fmt: skip
    return Drawing(name, drawn, title, caption, header, table, missed)


def _line(ax: Axes, curve: Curve, where: dict[str, float], look: Look, shift: float) -> tuple[float, float]:
    """Draws a curve, moved sideways by `shift`; a hollow mark is not resolved. Returns its last point."""
    xs = [where[point.px] + shift for point in curve.points]
    ys = [point.ratio for point in curve.points]
    ax.plot(xs, ys, color=look.color, linewidth=1.6, zorder=3)
    for x, point in zip(xs, curve.points, strict=True):
        ratio = point.speed.ratio
        if ratio.low is not None and ratio.high is not None:
            ax.plot([x, x], [ratio.low, ratio.high], color=look.color, linewidth=1.2, alpha=0.6, zorder=2)
        full = point.speed.resolved
        ax.plot(
            [x], [point.ratio], linestyle="none", marker=look.marker, markersize=6, zorder=4,
            color=look.color if full else PAPER, markeredgecolor=PAPER if full else look.color, markeredgewidth=0.9,
        )  # fmt: skip
    return xs[-1], ys[-1]
