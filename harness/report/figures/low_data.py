"""Top-1 by share of the training images, and beside it the paired difference to the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.analysis.low_data import Group
from harness.report.analysis.summary import Summary
from harness.report.figures.style import line_ends, svg
from harness.report.figures.style.chart import SIZE, Drawing, axes
from harness.report.figures.style.palette import PAPER, Look
from harness.report.text.formatting import share
from harness.results.stats import Estimate

TITLE = "Top-1 by share of the training images"
DIFFERENCE = "Difference to {} by share of the training images"
X = "training images (log scale)"
ROOM = 36.0  # SVG units from name to name on the axis of shares
Found = list[tuple[float, Summary]]  # a variant's numbers, with the fraction they belong to


def accuracy(group: Group, look: dict[str, Look], name: str, caption: str) -> Drawing:
    """Means over seeds with t intervals, single seeds faint."""
    curves = {v: [(f, s) for f, s in found if s.top1.value is not None] for v, found in _by_variant(group).items()}
    curves = {variant: found for variant, found in curves.items() if found}
    with svg.style():
        figure, ax = _figure()
        lasts = []
        for variant, found, shift in _shifted(curves):
            xs = [fraction * shift for fraction, _ in found]
            for x, (_, s) in zip(xs, found, strict=True):
                dots: dict[str, Any] = {"color": look[variant].color, "s": 9, "alpha": 0.4, "linewidth": 0, "zorder": 2}
                ax.scatter([x] * len(s.seeds), list(s.seeds.values()), **dots)
            each = [Estimate(s.top1.value or 0.0, s.top1.low, s.top1.high, s.top1.n, 0.95) for _, s in found]
            lasts.append((variant, *_line(ax, xs, each, [True] * len(xs), look[variant])))
        _finish(ax, group, "top-1 accuracy, %")
        missed = line_ends.name(ax, lasts, look)
        drawn = svg.inline(figure, name, TITLE)
    table: list[list[object]] = [
        [variant, fraction, s.top1.value, s.top1.low, s.top1.high, len(s.seeds),
         " ".join(f"{seed}:{value!r}" for seed, value in s.seeds.items())]
        for variant, found in curves.items()
        for fraction, s in found
    ]  # fmt: skip
    header = ["variant", "train_fraction", "top1_mean", "top1_low", "top1_high", "seeds", "top1_by_seed"]
    return Drawing(name, drawn, TITLE, caption, header, table, missed)


def difference(group: Group, look: dict[str, Look], name: str, caption: str) -> Drawing | None:
    """Mean paired differences with simultaneous intervals, hollow where not resolved; None where there is none."""
    curves = {v: [(f, s) for f, s in found if s.difference is not None] for v, found in _by_variant(group).items()}
    curves = {variant: found for variant, found in curves.items() if found}
    if not curves:
        return None
    title = DIFFERENCE.format(group.baseline)
    table: list[list[object]] = []
    with svg.style():
        figure, ax = _figure()
        lasts = []
        for variant, found, shift in _shifted(curves):
            each = [s.difference for _, s in found if s.difference is not None]
            xs = [fraction * shift for fraction, _ in found]
            full = [one.resolved for one in each]
            lasts.append((variant, *_line(ax, xs, [one.estimate for one in each], full, look[variant])))
            table += [
                [variant, fraction, one.estimate.center, one.estimate.low, one.estimate.high, one.estimate.confidence,
                 one.estimate.n, "yes" if one.resolved else "no"]
                for (fraction, _), one in zip(found, each, strict=True)
            ]  # fmt: skip
        if group.baseline in look:
            ends_x = [group.members[0].fraction, group.members[-1].fraction]
            ax.plot(ends_x, [0.0, 0.0], color=look[group.baseline].color, linewidth=1.2, zorder=1)
            lasts.append((group.baseline, ends_x[-1], 0.0))
        _finish(ax, group, f"top-1 minus {group.baseline}, points")
        missed = line_ends.name(ax, lasts, look)
        drawn = svg.inline(figure, name, title)
    header = ["variant", "train_fraction", "difference", "difference_low", "difference_high", "confidence",
              "paired_seeds", "resolved"]  # fmt: skip
    return Drawing(name, drawn, title, caption, header, table, missed)


def _by_variant(group: Group) -> dict[str, Found]:
    found: dict[str, Found] = {variant: [] for variant in group.variants}
    for member in group.members:
        for summary in member.found:
            found[summary.variant].append((member.fraction, summary))
    return found


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE)
    ax = figure.add_axes((0.12, 0.14, 0.58, 0.83))
    ax.set_xscale("log")
    return figure, ax


def _shifted(curves: dict[str, Found]) -> list[tuple[str, Found, float]]:
    """Each curve with the factor that sets it apart sideways."""
    fractions = [fraction for found in curves.values() for fraction, _ in found]
    decades = math.log10(max(fractions) / min(fractions)) or 1.0
    step = decades * min(0.011, 0.12 / len(curves))
    middle = (len(curves) - 1) / 2
    return [(name, found, 10 ** (step * (order - middle))) for order, (name, found) in enumerate(curves.items())]


def _line(
    ax: Axes, xs: Sequence[float], each: Sequence[Estimate], full: Sequence[bool], look: Look
) -> tuple[float, float]:
    """Draws a curve with its intervals; returns its last point."""
    ys = [one.center for one in each]
    ax.plot(xs, ys, color=look.color, linewidth=1.6, zorder=3)
    for x, one, filled in zip(xs, each, full, strict=True):
        if one.low is not None and one.high is not None:
            ax.plot([x, x], [one.low, one.high], color=look.color, linewidth=1.2, alpha=0.6, zorder=2)
        mark: dict[str, Any] = {"color": look.color, "markeredgecolor": PAPER}
        if not filled:
            mark = {"color": PAPER, "markeredgecolor": look.color}
        ax.plot([x], [one.center], linestyle="none", marker=look.marker, markersize=6, markeredgewidth=0.9, zorder=4,
                **mark)  # fmt: skip
    return xs[-1], ys[-1]


def _finish(ax: Axes, group: Group, y: str) -> None:
    ax.margins(x=0.05, y=0.08)
    axes(ax, X, y)
    fractions = [member.fraction for member in group.members]
    names: list[str] = []
    clear = math.inf
    for place in reversed(fractions):  # the largest is always named, one that would run into its neighbour is not
        x = float(ax.transData.transform((place, 0.0))[0])
        names.append(share(str(place)) if x < clear else "")
        clear = x - ROOM if x < clear else clear
    ax.set_xticks(fractions, names[::-1])
    ax.minorticks_off()
    ax.autoscale_view()
