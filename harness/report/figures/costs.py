"""The figure of costs: by variant the GMACs over those of plain attention, a mark for each resolution."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from harness.report.analysis.costs import Costs
from harness.report.figures.style import labels, svg
from harness.report.figures.style.chart import Drawing, axes
from harness.report.figures.style.palette import FAINT, PAPER, RULE, Look

TITLE = "What the bias adds"
LINE, FOOT, TOP = 0.21, 0.62, 0.12  # inches: a variant, the axis, above
WIDTH, LEFT, RIGHT = 5.3, 0.26, 0.97
SMALLEST, LARGEST = 4.0, 9.0  # a mark's size, from the lowest resolution to the highest


def draw(costs: Costs, look: Mapping[str, Look]) -> Drawing | None:
    """Larger marks are higher resolutions; None where nothing can be compared."""
    shown = [v for v in costs.variants if v != "sa" and any(costs.ratio(v, px) is not None for px in costs.pixels)]
    if not shown:
        return None
    tall = LINE * len(shown) + FOOT + TOP
    table: list[list[object]] = []
    name = f"costs-{costs.size}"
    with svg.style():
        figure = Figure(figsize=(WIDTH, tall))
        ax = figure.add_axes((LEFT, FOOT / tall, RIGHT - LEFT, 1 - (FOOT + TOP) / tall))
        ax.axvline(0.0, color=FAINT, linewidth=1.0, zorder=1)
        for place, variant in enumerate(shown):
            style, found = look[variant], []
            for number, px in enumerate(costs.pixels):
                ratio = costs.ratio(variant, px)
                if ratio is not None:
                    size = SMALLEST + (LARGEST - SMALLEST) * number / max(1, len(costs.pixels) - 1)
                    more = 100 * (ratio - 1)
                    found.append(more)
                    ax.plot([more], [-place], linestyle="none", marker=style.marker, markersize=size, color=style.color,
                            markeredgecolor=PAPER, markeredgewidth=0.8, zorder=3)  # fmt: skip
                    table.append([variant, px, ratio])
            ax.plot([min(found), max(found)], [-place] * 2, color=style.color, linewidth=1.2, alpha=0.6, zorder=2)
        ax.set_ylim(-len(shown) + 0.4, 0.6)
        ax.margins(x=0.05)
        axes(ax, "GMACs beyond those of sa, %", "")
        ax.set_yticks([])
        ax.grid(visible=True, axis="x", color=RULE)
        for place, variant in enumerate(shown):
            labels.left(ax, variant, -place, look[variant].color, 0.005, LEFT - 0.01)
        drawn = svg.inline(figure, name, f"{TITLE}: {costs.size}")
    sizes = ", ".join(map(str, costs.pixels))
    caption = f"GMACs beyond those of plain attention; the larger the mark, the higher the resolution ({sizes} px)."
    return Drawing(name, drawn, TITLE, caption, ["variant", "px", "gmac_over_sa"], table)
