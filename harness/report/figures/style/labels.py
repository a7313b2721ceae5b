"""Names beside their points, without overlaps: each label takes the cheapest free place around its point.

Greedy, in SVG units: a place over another label, another marker or the axes is forbidden, one over an interval
or a raw point only costs. A label that finds no place is left out, and the caller shows a legend.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox

LONGEST = 26  # letters of a name in a figure; the page's own lists have it in full
SIZE = 9.5
RIM = 2.5  # SVG units of clear paper to either side of a label


@dataclass(frozen=True)
class Anchor:
    """A point to be named, in data coordinates."""

    x: float
    y: float
    name: str
    color: str


def short(name: str, longest: int = LONGEST) -> str:
    """A name as one printable line of at most `longest` letters, its middle left out where it is too long."""
    line = "".join(letter if unicodedata.category(letter)[0] not in "CZ" else " " for letter in name)
    line = " ".join(line.split()) or "?"
    if len(line) <= longest:
        return line
    half = (longest - 1) // 2
    return line[: longest - 1 - half] + "…" + line[-half:]


def fit(text: Text, name: str, right: float) -> None:
    """Shortens a label until it ends left of `right`, in pixels."""
    for longest in range(max(LONGEST, len(name)), 4, -1):
        text.set_text(short(name, longest))
        if text.get_window_extent().x1 <= right:
            return


def place(ax: Axes, anchors: Sequence[Anchor], hard: Sequence[Bbox], soft: Sequence[Bbox]) -> list[str]:
    """Writes the labels; returns the names that found no place. `hard` and `soft` are boxes in pixels to keep off."""
    figure = ax.figure
    plot = ax.get_window_extent()
    frame = Bbox.from_extents(plot.x0, plot.y0, figure.bbox.x1, figure.bbox.y1)  # off the numbers of the axes
    taken: list[Bbox] = list(hard)
    missed = []
    for anchor in sorted(anchors, key=lambda anchor: (-anchor.y, anchor.x)):
        x, y = ax.transData.transform((anchor.x, anchor.y))
        text = ax.annotate(
            short(anchor.name), (anchor.x, anchor.y), (0, 0), textcoords="offset pixels", fontsize=SIZE,
            color=anchor.color, ha="left", va="center", annotation_clip=False, gid="label",
        )  # fmt: skip
        box = text.get_window_extent()
        best = min(
            ((_cost(moved, frame, taken, soft) + reach, dx, dy, moved) for dx, dy, reach, moved in _places(x, y, box)),
            key=lambda found: found[:3],
        )
        cost, dx, dy, moved = best
        if math.isinf(cost):
            text.remove()
            missed.append(anchor.name)
            continue
        text.set_position((dx, dy))
        taken.append(moved)
        if math.hypot(max(moved.x0 - x, 0, x - moved.x1), max(moved.y0 - y, 0, y - moved.y1)) > 12:
            _lead(ax, anchor, moved, x, y)
    return missed


def _places(x: float, y: float, box: Bbox) -> list[tuple[float, float, float, Bbox]]:
    """Offsets of the label's left middle around the point, with what their distance costs and the box they give."""
    width, height = box.width, box.height
    found = []
    for gap, reach in ((8, 0.0), (14, 0.5), (24, 1.1), (38, 1.9)):
        sides = [
            (gap, 0.0), (-gap - width, 0.0), (-width / 2, gap + height / 2), (-width / 2, -gap - height / 2),
            (gap * 0.7, gap * 0.7 + height / 3), (gap * 0.7, -gap * 0.7 - height / 3),
            (-gap * 0.7 - width, gap * 0.7 + height / 3), (-gap * 0.7 - width, -gap * 0.7 - height / 3),
        ]  # fmt: skip
        for order, (dx, dy) in enumerate(sides):
            moved = Bbox.from_bounds(x + dx - RIM, y + dy - height / 2, width + 2 * RIM, height)
            found.append((dx, dy, reach + 0.05 * order, moved))
    return found


def _cost(box: Bbox, frame: Bbox, hard: Sequence[Bbox], soft: Sequence[Bbox]) -> float:
    inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
    if not inside or any(box.overlaps(other) for other in hard):
        return math.inf
    return 1.0 * sum(box.overlaps(other) for other in soft)


def _lead(ax: Axes, anchor: Anchor, box: Bbox, x: float, y: float) -> None:
    """A thin line from a point to a label that had to move away."""
    end = (min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1))
    start = tuple(ax.transData.inverted().transform(end))
    ax.annotate(
        "", xy=(anchor.x, anchor.y), xytext=start, annotation_clip=False, zorder=1,
        arrowprops={"arrowstyle": "-", "color": anchor.color, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 4},
    )  # fmt: skip


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights moved apart to at least `gap`, in their order, kept within low..high where there is room."""
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    moved = list(heights)
    for _ in range(200):
        still = True
        for below, above in itertools.pairwise(order):
            short_by = gap - (moved[above] - moved[below])
            if short_by > 1e-6:
                moved[below] -= short_by / 2
                moved[above] += short_by / 2
                still = False
        moved = [min(max(height, low), high) for height in moved]
        if still:
            break
    return moved


def left(ax: Axes, words: str, y: float, color: str, at: float, room: float, bold: bool = False) -> None:
    """A line's name left of the axes, beside `y` of the data; `at` and `room` are shares of the figure's width."""
    figure = ax.figure
    weight = "bold" if bold else "normal"
    text = figure.text(at, 0.0, "", fontsize=SIZE, color=color, ha="left", va="center", fontweight=weight)
    text.set_y(figure.transFigure.inverted().transform(ax.transData.transform((0.0, y)))[1])
    fit(text, words, figure.bbox.x1 * room)
