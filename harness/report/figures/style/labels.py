"""Names without overlaps: beside their points, at the right end of lines, or left of the axes; all in SVG units.

A label that finds no place is left out, and the caller shows a legend.
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
ROW = 13.5  # SVG units from name to name at the ends of lines
FAR = 30  # SVG units from the end of a line to the edge


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


def fit(text: Text, name: str, room: float) -> None:
    """Shortens a label until it is at most `room` wide, in pixels."""
    for longest in range(max(LONGEST, len(name)), 4, -1):
        text.set_text(short(name, longest))
        if text.get_window_extent().width <= room:
            return


def place(ax: Axes, anchors: Sequence[Anchor], hard: Sequence[Bbox], soft: Sequence[Bbox]) -> list[str]:
    """Writes each label at the cheapest free place around its point; returns the names that found none.

    A place over a box of `hard`, another label or the axes is forbidden, one over a box of `soft` only costs.
    """
    figure = ax.figure
    plot = ax.get_window_extent()
    frame = Bbox.from_extents(plot.x0, plot.y0, figure.bbox.x1, figure.bbox.y1)  # off the numbers of the axes
    taken: list[Bbox] = list(hard)
    missed = []
    for anchor in sorted(anchors, key=lambda anchor: (-anchor.y, anchor.x)):
        x, y = ax.transData.transform((anchor.x, anchor.y))
        text = _text(ax, short(anchor.name), (anchor.x, anchor.y), anchor.color)
        box = text.get_window_extent()
        every = ((_cost(m, frame, taken, soft) + reach, dx, dy, m) for dx, dy, reach, m in _places(x, y, box))
        cost, dx, dy, moved = min(every, key=lambda found: found[:3])
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


def write_at_ends(ax: Axes, ends: Sequence[Anchor]) -> list[str]:
    """Writes names right of the axes, moved apart so that each can be read; returns those that find no room."""
    frame = ax.get_window_extent()
    room = int(frame.height // ROW)
    places = [ax.transData.transform((end.x, end.y)) for end in ends[:room]]
    heights = spread([float(y) for _, y in places], ROW, frame.y0 + 5, frame.y1 - 2)
    to_data = ax.transData.inverted().transform
    for end, (x, y), height in zip(ends[:room], places, heights, strict=True):
        (x0, y0), (x1, y1), written = to_data([(x + 5, y), (frame.x1 + 7, height), (frame.x1 + 10, height)])
        dashes = (0, (1, 3)) if frame.x1 - x > FAR else "-"  # not to be taken for a curve that goes on
        ax.plot([x0, x1], [y0, y1], scalex=False, scaley=False, color=end.color, linewidth=0.7, alpha=0.7,
                clip_on=False, zorder=1, linestyle=dashes)  # fmt: skip
        fit(_text(ax, "", written, end.color), end.name, ax.figure.bbox.x1 - frame.x1 - 10)
    return [end.name for end in ends[room:]]


def _text(ax: Axes, words: str, where: tuple[float, float], color: str) -> Text:
    """A label at a point of the data, whose place can be moved by pixels."""
    return ax.annotate(words, where, (0, 0), textcoords="offset pixels", fontsize=SIZE, color=color, ha="left",
                       va="center", annotation_clip=False, gid="label")  # fmt: skip


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
