"""The figure of ablations: a line of dots and an interval for each arm, factors one under the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.analysis.ablation import Arm, Factor
from harness.report.figures.style import labels, svg
from harness.report.figures.style.chart import Drawing, axes
from harness.report.figures.style.palette import FAINT, INK, PAPER, RULE, Look

TITLE = "Ablations"
LINE, HEAD, FOOT = 0.27, 0.30, 0.62  # inches: an arm, a factor's heading, the axis
WIDEST = 2.5  # intervals that reach further than so many times the largest difference of a seed leave the figure
WIDTH, LEFT, RIGHT = 5.3, 0.37, 0.97  # inches, and the axes' ends as shares of it


def draw(factors: Sequence[Factor], look: Mapping[str, Look], baseline: str, name: str, caption: str) -> Drawing | None:
    """Mean paired differences with simultaneous intervals and single seeds; hollow where not resolved."""
    if not factors:
        return None
    rows = sum(len(factor.arms) for factor in factors)
    tall = LINE * rows + HEAD * len(factors) + FOOT
    table: list[list[object]] = []
    with svg.style():
        figure = Figure(figsize=(WIDTH, tall))
        ax = figure.add_axes((LEFT, FOOT / tall, RIGHT - LEFT, 1 - (FOOT + 0.05) / tall))
        ax.set_ylim(-(tall - FOOT - 0.05), 0.0)
        ax.axvline(0.0, color=look[baseline].color if baseline in look else FAINT, linewidth=1.2, zorder=1)
        height, names = 0.0, []
        for factor in factors:
            height -= HEAD
            names.append((factor.name, height + 0.07, INK, True))
            for arm in factor.arms:
                height -= LINE
                names.append((arm.label, height + LINE / 2, look[arm.summary.variant].color, False))
                table.append([factor.name, arm.label, *_arm(ax, arm, height + LINE / 2, look[arm.summary.variant])])
        _limits(ax, [arm for factor in factors for arm in factor.arms])
        axes(ax, f"top-1 minus {baseline}, points", "")
        ax.set_yticks([])
        ax.grid(visible=True, axis="x", color=RULE)
        for words, y, color, bold in names:
            labels.left(ax, words, y, color, 0.005 if bold else 0.02, 1.0 if bold else LEFT - 0.01, bold)
        drawn = svg.inline(figure, name, TITLE)
    header = ["factor", "arm", "variant", "difference", "difference_low", "difference_high", "confidence",
              "paired_seeds", "resolved", "difference_by_seed"]  # fmt: skip
    return Drawing(name, drawn, TITLE, caption, header, table)


def _arm(ax: Axes, arm: Arm, y: float, look: Look) -> list[object]:
    """Draws an arm; returns its cells of the table."""
    one = arm.summary.difference
    assert one is not None
    estimate, seeds = one.estimate, arm.differences
    ax.scatter(list(seeds.values()), [y] * len(seeds), color=look.color, s=12, alpha=0.4, linewidth=0, zorder=2)
    if estimate.low is not None and estimate.high is not None:
        ax.plot([estimate.low, estimate.high], [y, y], color=look.color, linewidth=1.6, alpha=0.7, zorder=3)
    face, edge = (look.color, PAPER) if one.resolved else (PAPER, look.color)
    ax.plot([estimate.center], [y], linestyle="none", marker=look.marker, markersize=7, color=face,
            markeredgecolor=edge, markeredgewidth=1.1, zorder=4)  # fmt: skip
    by_seed = " ".join(f"{seed}:{value!r}" for seed, value in seeds.items())
    return [arm.summary.variant, estimate.center, estimate.low, estimate.high, estimate.confidence, estimate.n,
            "yes" if one.resolved else "no", by_seed]  # fmt: skip


def _limits(ax: Axes, arms: Sequence[Arm]) -> None:
    """The axis shows every mean and seed, and the intervals that are not many times wider; the others leave it."""
    shown = [0.0] + [value for arm in arms for value in arm.differences.values()]
    reach = WIDEST * max(map(abs, shown))
    for arm in arms:
        assert arm.summary.difference is not None
        one = arm.summary.difference.estimate
        shown += [end for end in (one.center, one.low, one.high) if end is not None and abs(end) <= reach]
    low, high = min(shown), max(shown)
    margin = 0.06 * (high - low) or 1.0  # where nothing differs, a point to either side
    ax.set_xlim(low - margin, high + margin)
