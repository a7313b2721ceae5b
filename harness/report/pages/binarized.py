"""Binarised priors: how accurate the trained models stay with a mask in the prior's place, and what the mask saves.

The numbers are those of harness/report/analysis/binarized.py; here they are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.analysis.binarized import HEADER, Arm, Curves, arms, table
from harness.report.analysis.quantity import Quantity
from harness.report.figures.style import line_ends, svg
from harness.report.figures.style.chart import SIZE, Drawing, axes
from harness.report.figures.style.palette import FAINT, HUES, MARKERS, PAPER, THEME, Look
from harness.report.study.study import Setting
from harness.report.text.formatting import listing, tick

TITLE = "Binarised priors of {}"


@dataclass(frozen=True)
class Binarised:
    """All that is shown of one variant: sentences and figures."""

    variant: str
    sentences: list[tuple[str, str]]
    drawings: list[Drawing]


def binarised(setting: Setting, prefix: str) -> list[Binarised]:
    """One for each variant whose prior was made binary and has a number."""
    found = []
    for number, (spec, mine) in enumerate(arms(setting).items(), start=1):
        curve = Curves(setting, spec, mine)
        if curve.top1:
            drawings = [draw(curve, f"{prefix}kept-{number}")]
            found.append(Binarised(spec, curve.sentences(), drawings))
    return found


def draw(curves: Curves, name: str) -> Drawing:
    """Accuracy against the share of offsets; beside it the time ratios, where there are any."""
    title = TITLE.format(curves.spec)
    panels = [_accuracy(curves, f"{name}-top1", title)]
    if curves.times:
        panels.append(_time(curves, f"{name}-time", title))
    return Drawing(name, "\n".join(panels), title, caption(curves), HEADER, table(curves), [], len(panels))


def _look(order: int) -> Look:
    hue = HUES[order % len(HUES)]
    return Look(hue, THEME[hue][0], MARKERS[order % len(MARKERS)])


def _accuracy(curves: Curves, name: str, title: str) -> str:
    series = curves.series()
    look = {words: _look(order) for order, (words, _) in enumerate(series)}
    with svg.style():
        figure, ax = _figure()
        lasts = []
        for order, (words, arms) in enumerate(series):
            shift = 1 + 0.012 * (order - (len(series) - 1) / 2)
            tuned = [one for one in arms if one.name in curves.tuned]
            _line(ax, tuned, curves.tuned, look[words], shift, hollow=True)
            _line(ax, arms, curves.top1, look[words], shift, hollow=False)
            lasts.append((words, 100 * shift, curves.top1[arms[-1].name][0].value or 0.0))
        if curves.plain.value is not None:
            ax.axhline(curves.plain.value, color=FAINT, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=0)
        _finish(ax, curves, "top-1 accuracy, %")
        line_ends.name(ax, lasts, look)
        return svg.inline(figure, name, f"{title}: accuracy")


def _line(ax: Axes, arms: Sequence[Arm], values: dict[str, tuple[Quantity, dict[str, float]]], look: Look,
          shift: float, hollow: bool) -> None:  # fmt: skip
    xs, each = [one.keep * shift for one in arms], [values[one.name][0] for one in arms]
    mark: dict[str, Any] = {"markerfacecolor": PAPER if hollow else look.color}
    mark["markeredgecolor"] = look.color if hollow else PAPER
    for x, one in zip(xs, each, strict=True):
        if one.low is not None and one.high is not None:
            ax.plot([x, x], [one.low, one.high], color=look.color, linewidth=1.1, alpha=0.5, zorder=2)
    ax.plot(xs, [one.value or 0.0 for one in each], color=look.color, linewidth=1.5, marker=look.marker, markersize=5.5,
            markeredgewidth=0.9, linestyle=(0, (4, 2.5)) if hollow else "-", zorder=3, **mark)  # fmt: skip


def _time(curves: Curves, name: str, title: str) -> str:
    """A line for each grid and each form, the faster way to choose; with the prior inside all kept is as trained."""
    look: dict[str, Look] = {}
    with svg.style():
        figure, ax = _figure()
        lasts = []
        for order, px in enumerate(curves.sizes):
            word = curves.grid(px)
            look[word] = _look(order)
            for ones in (False, True):
                best: dict[float, Quantity] = {} if ones else {100.0: Quantity(1.0)}
                for one in curves.arms:
                    time = curves.times.get((one.name, px))
                    if time is not None and one.ones == ones and time.ratio.value is not None:
                        before = best.get(one.keep)
                        if before is None or time.ratio.value < (before.value or 9.0):
                            best[one.keep] = time.ratio
                xs = sorted(best)
                ys = [best[x].value or 0.0 for x in xs]
                for x in xs:
                    low, high = best[x].low, best[x].high
                    if low is not None and high is not None:
                        ax.plot([x, x], [low, high], color=look[word].color, linewidth=1.1, alpha=0.5, zorder=2)
                ax.plot(xs, ys, color=look[word].color, linewidth=1.5, marker=look[word].marker, markersize=5,
                        markeredgecolor=PAPER, markeredgewidth=0.8, zorder=3,
                        linestyle=(0, (4, 2.5)) if ones else "-")  # fmt: skip
                if ones and xs:
                    lasts.append((word, xs[-1], ys[-1]))
        ax.axhline(1.0, color=FAINT, linewidth=1.0, zorder=1)
        _finish(ax, curves, "time / time of the trained layers")
        line_ends.name(ax, lasts, look)
        return svg.inline(figure, name, f"{title}: time")


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE)
    ax = figure.add_axes((0.12, 0.14, 0.55, 0.83))
    ax.set_xscale("log")
    return figure, ax


def _finish(ax: Axes, curves: Curves, y: str) -> None:
    ax.margins(x=0.06, y=0.08)
    axes(ax, "offsets kept, % (log scale)", y)
    keeps = sorted({one.keep for one in curves.arms})
    ax.set_xticks(keeps, [tick(keep) for keep in keeps])
    ax.minorticks_off()
    ax.autoscale_view()


def caption(curves: Curves) -> str:
    tuned = ""
    if curves.tuned:
        tuned = (
            f" Dashed, hollow: after {curves.epochs} epochs of fine-tuning, the rate chosen on the validation split; "
            "what keeps all was fine-tuned as well, for comparison."
        )
    timed = ""
    if curves.times:
        timed = (
            " Right: below 1 is faster. Time of the layers with the prior, masked, by the fastest backend of "
            f"{listing(curves.tried)}, over that of the same layers as trained, on the masks of the first seed, in "
            "interleaved rounds; the fastest is read off the same rounds. Solid: prior inside, dashed: prior 1, whose "
            "100 % shows what dropping the prior saves without any mask. Vertical lines: 95 % bootstrap intervals, "
            "each for itself."
        )
    return (
        "Further up is more accurate. The trained prior, thresholded for each head and layer: only so many of the "
        "offsets are attended. prior inside: the learned values act on what is left; prior 1: a mask alone. by "
        "deviation: the offsets with the largest |prior - 1|; by mass: those with the most attention. Dotted line: as "
        f"trained. Vertical lines: 95 % t intervals over seeds, from three seeds on.{tuned}{timed}"
    )
