"""Lines through points with intervals: a panel is drawn from the same records that the figure's CSV holds.

`read` makes a line for each name in a column of the table, `drawing` a figure of panels, `draw` one panel on axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from harness.report.figures.style import labels, svg
from harness.report.figures.style.chart import SIZE, Drawing, Plain, Table, axes, end_of
from harness.report.figures.style.palette import FAINT, INK, PAPER, RULE, Look

Frame = tuple[float, float, float, float]  # of the axes in the figure: left, bottom, width, height
FRAME: Frame = (0.12, 0.14, 0.58, 0.83)  # names stand right of it
SMALL: Frame = (0.155, 0.15, 0.53, 0.74)  # in chart.PANEL, with a heading
LINE, FOOT, LEFT = 0.25, 0.62, 0.37  # of rows, in inches: a row, the axis; of the width: their names
DOTTED, DASHED = (0, (1, 2.5)), (0, (4, 2.5))
EDGE = 0.08  # of the axis' height, above and below the data
STEP, APART = 0.015, 0.12  # of the axis' width, at most: from line to line set apart sideways, and all lines together


class Point(NamedTuple):
    """A mark, hollow where it is not resolved; the ends of its intervals, up and across; dots of single values."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    left: float | None = None
    right: float | None = None
    dots: Sequence[tuple[float, float]] = ()
    hollow: bool = False

    @property
    def spans(self) -> list[tuple[tuple[float, float], tuple[float, float]]]:
        """The two ends of each interval."""
        up = [((self.x, self.low), (self.x, self.high))] if self.low is not None and self.high is not None else []
        if self.left is not None and self.right is not None:
            return [*up, ((self.left, self.y), (self.right, self.y))]
        return up


@dataclass(frozen=True)
class Line:
    """A named line; `marked`: which points have a mark and an interval; `behind`: faint lines [n, 2] under it."""

    name: str
    look: Look
    points: Sequence[Point]
    marked: Sequence[int] | None = None  # None for all
    behind: Sequence[Any] = ()
    named: bool = True
    dashed: bool = False
    size: float = 6.0  # of a mark
    opacity: float = 1.0


@dataclass(frozen=True)
class Level:
    """A line at a height (upright in a panel of rows): dotted and grey, or with a name and a look that of a variant.

    In the band, which has a half width at each x, nothing is resolved.
    """

    at: float
    name: str = ""
    look: Look | None = None
    band: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """Lines and their axes. Of several panels each has a `key`, for its ids, and a `title`."""

    lines: Sequence[Line]
    x: str
    y: str
    key: str = ""
    title: str = ""
    ticks: Mapping[float, str] = field(default_factory=dict)  # round numbers where it is empty
    whole: bool = False  # x is a whole number
    log_x: bool = False
    log_y: bool = False
    apart: float = 0.0  # how far lines are set apart sideways, so that each interval is seen: APART, or less
    level: Level | None = None
    zero: bool = False  # y begins at 0
    limits: tuple[float | None, float | None] = (None, None)  # of the numbers: y, in a panel of rows x
    form: Callable[[float, int], str] | None = None  # of the numbers on the x axis, with so many digits
    beside: bool = False  # names stand beside the points, not at the ends of lines
    rows: Mapping[float, tuple[str, str]] = field(default_factory=dict)  # y has names: their words and colours
    heading: str = ""
    heading_color: str = INK


def read(
    table: Table, x: str, y: str, looks: Mapping[str, Look], by: str = "variant", resolved: str = "", single: str = "",
    place: Callable[[Any], float] = float, **style: Any,
) -> list[Line]:  # fmt: skip
    """A line for each name in column `by`; records without a height are left out.

    The ends of intervals stand in the columns beside x and y: "top1_low" and "top1_high" beside "top1_mean".
    `resolved` and `single` are columns, too, `place` puts an x on the axis, and `style` is of all lines.
    """
    points: dict[str, list[Point]] = {}
    for record in table:
        if record.get(y) is not None:
            ends = [record.get(end_of(name, end)) for name in (y, x) for end in ("low", "high")]
            at = place(record[x])
            dots = [(at, value) for value in np.hstack([[], *(record.get(single) or {}).values()])]
            hollow = record.get(resolved) in (False, "not resolved")
            point = Point(at, record[y], ends[0], ends[1], ends[2], ends[3], dots, hollow)
            points.setdefault(str(record[by]), []).append(point)
    return [Line(name, looks[name], found, **style) for name, found in points.items()]


def drawing(
    name: str, title: str, caption: str, table: Table, panels: Sequence[Panel], size: tuple[float, float] = SIZE,
    frame: Frame = FRAME,
) -> Drawing:  # fmt: skip
    """A figure of panels, an SVG each."""
    drawn, missed = [], []
    for one in panels:
        with svg.style():
            figure = Figure(figsize=size)
            missed += draw(figure.add_axes(frame), one)
            drawn.append(svg.inline(figure, "-".join(filter(None, (name, one.key))), one.title or title))
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    return Drawing(name, "\n".join(drawn), title, caption, table, list(dict.fromkeys(missed)), columns)


def rows_drawing(name: str, title: str, caption: str, table: Table, one: Panel) -> Drawing:
    """A figure of rows, as tall as they need."""
    tall = LINE * len(one.rows) + FOOT
    frame = (LEFT, FOOT / tall, 0.97 - LEFT, 1 - (FOOT + 0.05) / tall)
    return drawing(name, title, caption, table, [one], (SIZE[0], tall), frame)


def draw(ax: Axes, one: Panel) -> list[str]:
    """Draws a panel on axes; returns the names that find no room."""
    ax.set(xscale="log" if one.log_x else "linear", yscale="log" if one.log_y else "linear")
    lines = _set_apart(one) if one.apart else one.lines
    for line in lines:
        _draw_line(ax, line)
    if one.level is not None:
        _draw_level(ax, one.level, upright=bool(one.rows))
    ax.margins(x=0.16 if one.beside else 0.05, y=EDGE)
    axes(ax, one.x, one.y)
    if one.ticks:
        ax.set_xticks(list(one.ticks), list(one.ticks.values()))
        ax.minorticks_off()
    elif one.whole:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    if one.form is not None:
        ax.xaxis.set_major_formatter(Plain(one.form))
    ax.autoscale_view()
    if one.rows:
        ax.set_xlim(*one.limits)
        return _name_rows(ax, one.rows)
    low, high = one.limits
    if low is not None and high is None:  # else as far above the data as if nothing were cut off below
        high = ax.dataLim.y1 + EDGE * (ax.dataLim.y1 - low)
    ax.set_ylim(low, high)
    if one.zero and not one.log_y:
        ax.set_ylim(bottom=min(0.0, ax.dataLim.y0))
    ax.set_title(one.heading, loc="left", fontsize=10, color=one.heading_color)
    if one.beside:
        return _name_beside(ax, lines)
    ends = [labels.Anchor(*line.points[-1][:2], line.name, line.look.color) for line in lines if line.named]
    if one.level is not None and one.level.look is not None:
        ends.append(labels.Anchor(ax.get_xlim()[1], one.level.at, one.level.name, one.level.look.color))
    return labels.write_at_ends(ax, ends)


def _set_apart(one: Panel) -> list[Line]:
    """The lines moved sideways, those of one name together."""
    names = list(dict.fromkeys(line.name for line in one.lines))
    every = np.array([point.x for line in one.lines for point in line.points])
    width = float(np.ptp(np.log(every) if one.log_x else every)) or 1.0
    step = width * min(STEP, one.apart / len(names))
    moved = []
    for line in one.lines:
        by = step * (names.index(line.name) - (len(names) - 1) / 2)
        points = []
        for point in line.points:
            x = point.x * float(np.exp(by)) if one.log_x else point.x + by
            points.append(point._replace(x=x, dots=[(x, value) for _, value in point.dots]))
        moved.append(replace(line, points=points))
    return moved


def _draw_line(ax: Axes, line: Line) -> None:
    """A line with its marks, intervals and single values."""
    color, points = line.look.color, line.points
    marked = points if line.marked is None else [points[place] for place in line.marked]
    # not errorbar, which takes no interval that leaves its point out: of a median that a row rounds, it may
    for spans, width, opacity, order in (
        (line.behind, 0.7, 0.22, 1), ([span for point in marked for span in point.spans], 1.2, 0.6, 2),
    ):  # fmt: skip
        if len(spans):
            ax.add_collection(LineCollection(spans, colors=color, linewidths=width, alpha=opacity, zorder=order))
    dots = np.array([dot for point in points for dot in point.dots])
    if len(dots):
        ax.scatter(dots[:, 0], dots[:, 1], color=color, s=9, alpha=0.4, linewidth=0, zorder=2)
    if len(points) > 1:
        ax.plot([point.x for point in points], [point.y for point in points], color=color, linewidth=1.6,
                alpha=line.opacity, linestyle=DASHED if line.dashed else "-", zorder=3)  # fmt: skip
    for hollow, face, edge in ((False, color, PAPER), (True, PAPER, color)):
        places = np.array([point[:2] for point in marked if point.hollow == hollow])
        if len(places):
            ax.plot(*places.T, linestyle="none", marker=line.look.marker, markersize=line.size, color=face,
                    markeredgecolor=edge, markeredgewidth=0.9, zorder=4)  # fmt: skip


def _draw_level(ax: Axes, level: Level, upright: bool) -> None:
    color, width, dashes = (FAINT, 0.9, DOTTED) if level.look is None else (level.look.color, 1.2, "-")
    (ax.axvline if upright else ax.axhline)(level.at, color=color, linewidth=width, linestyle=dashes, zorder=1)
    at = sorted(level.band)
    below, above = ([level.at + sign * level.band[x] for x in at] for sign in (-1, 1))
    ax.fill_between(at, below, above, color=RULE, linewidth=0, zorder=0)


def _name_rows(ax: Axes, rows: Mapping[float, tuple[str, str]]) -> list[str]:
    """Names left of the axes; those in ink are headings."""
    ax.set_ylim(min(rows) - 0.5, max(rows) + 0.5)
    ax.set_yticks([])
    ax.grid(visible=True, axis="x")
    room = ax.get_window_extent().x0 - 12
    for y, (words, color) in rows.items():
        heading = color == INK  # runs from the left edge over the whole figure
        text = ax.annotate(
            "", (0, y), (-8 - room * heading, 0), xycoords=("axes fraction", "data"), textcoords="offset pixels",
            va="center", ha="left" if heading else "right", fontsize=labels.SIZE, color=color,
            fontweight="bold" if heading else "normal",
        )  # fmt: skip
        labels.fit(text, words, ax.figure.bbox.x1 if heading else room)
    return []


def _name_beside(ax: Axes, lines: Sequence[Line]) -> list[str]:
    """Names beside the points, off the marks, and where there is room off intervals and single values."""

    def boxes(spans: Sequence[Any], rim: float) -> list[Bbox]:
        corners = [ax.transData.transform(span) for span in spans]
        return [Bbox.from_extents(*(low - rim), *(high + rim)) for low, high in corners]

    named = [(line, point) for line in lines if line.named for point in line.points]
    dots = [[dot] * 2 for _, point in named for dot in point.dots]
    anchors = [labels.Anchor(point.x, point.y, line.name, line.look.color) for line, point in named]
    marks = boxes([[point[:2]] * 2 for _, point in named], 5.0)
    return labels.place(ax, anchors, marks, boxes([span for _, point in named for span in point.spans] + dots, 1.5))
