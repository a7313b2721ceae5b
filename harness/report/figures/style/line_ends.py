"""Names at the right end of a figure's lines, moved apart so that each can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from harness.report.figures.style import labels
from harness.report.figures.style.palette import Look

GAP = 13.5  # SVG units from name to name
FAR = 30  # SVG units from the end of a line to the edge


def name(ax: Axes, lasts: Sequence[tuple[str, float, float]], look: dict[str, Look]) -> list[str]:
    """Writes the variants beside the last points (variant, x, y) of their lines; returns those that find no room."""
    frame = ax.get_window_extent()
    room = int(frame.height // GAP)
    named, missed = lasts[:room], [variant for variant, _, _ in lasts[room:]]
    places = [ax.transData.transform((x, y)) for _, x, y in named]
    heights = labels.spread([float(y) for _, y in places], GAP, frame.y0 + 5, frame.y1 - 2)
    edge = float(ax.transAxes.transform((1.0, 0.0))[0])
    to_data = ax.transData.inverted().transform
    for (variant, _, _), (x, y), height in zip(named, places, heights, strict=True):
        color = look[variant].color
        (x0, y0), (x1, y1) = to_data([(x + 5, y), (edge + 7, height)])
        line: dict[str, Any] = {"color": color, "linewidth": 0.7, "alpha": 0.7, "clip_on": False, "zorder": 1}
        if edge - x > FAR:  # not to be taken for a curve that goes on
            line["linestyle"] = (0, (1, 3))
        ax.plot([x0, x1], [y0, y1], scalex=False, scaley=False, **line)
        text = ax.annotate(
            "", tuple(to_data((edge + 10, height))), fontsize=labels.SIZE, color=color,
            ha="left", va="center", annotation_clip=False, gid="label",
        )  # fmt: skip
        labels.fit(text, variant, ax.figure.bbox.x1)
    return missed
