"""Pictures in rows and columns; and maps over offsets as pictures: a row a layer (or head), a column a head (or epoch),
one scale for all.

A map is a PNG of one pixel an offset, its colour the side of neutral and its opacity the distance from it: neutral is
the paper, in the light theme and in the dark one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from harness.report.figures.style import svg
from harness.report.figures.style.palette import FAINT, INK, RULE, THEME, rgb
from harness.report.text.formatting import distinct
from harness.results import maps

WIDTH, LEFT, TOP, BAR = 5.3, 0.72, 0.26, 0.62  # inches: all, the rows' names, the columns' names, the scale
LARGEST, GAP, NOTE = 0.98, 0.07, 0.17  # inches: a map's side, between maps, the line under a map
STRONG = (4.0, f"4 nats, a factor of {math.exp(4):.0f}")  # of attention: what is added to a logit counts up to here
CUT = {"bias": STRONG, "keys": STRONG, "position": STRONG, "attention": (2.0, "3 times uniform attention")}
ABOVE, BELOW = THEME["c2"][0], THEME["c1"][0]
Extent = tuple[float, float, float, float]  # inches: left, right, bottom, top


@dataclass(frozen=True)
class Tile:
    """A map [2h-1, 2w-1] of a kind, and the words under it."""

    map: maps.Map
    note: str = ""


def paper(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes for all its pictures (axes are slow), in inches from the lower left corner."""
    figure = Figure(figsize=(width, height))
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    return figure, ax


def put(ax: Axes, pixels: np.ndarray, extent: Extent) -> None:
    """A picture, uint8 [h, w, 3 or 4], in its place."""
    ax.imshow(pixels, interpolation="none", aspect="auto", extent=extent, zorder=1)


def limit(kind: str, tiles: Sequence[Tile]) -> float:
    """Where the scale ends: the largest departure from neutral of the tiles, at most that of CUT."""
    largest = max(float(np.nanmax(np.abs(tile.map - maps.NEUTRAL[kind]))) for tile in tiles)
    most = min(largest, CUT[kind][0]) if kind in CUT else largest
    return most if most > maps.FLAT else 1.0


def colours(kind: str, one: maps.Map, end: float) -> np.ndarray:
    """uint8 [..., 4]: red, green, blue, opacity."""
    departure = np.clip((one - maps.NEUTRAL[kind]) / end, -1, 1)
    found = np.where((departure < 0)[..., None], rgb(BELOW), rgb(ABOVE))
    opacity = np.rint(255 * np.abs(np.nan_to_num(departure)))
    found = np.concatenate([found, opacity[..., None]], axis=-1)
    found[np.isnan(one)] = [*rgb(FAINT), 45]  # no pair of patches has it
    return found.astype(np.uint8)


def draw(kind: str, rows: Sequence[tuple[str, Sequence[Tile]]], columns: Sequence[str], name: str, title: str) -> str:
    """The SVG of rows (name, tiles) under the columns' names."""
    every = [tile for _, tiles in rows for tile in tiles]
    end, notes = limit(kind, every), any(tile.note for tile in every)
    side = min(LARGEST, (WIDTH - LEFT - BAR) / len(columns) - GAP)
    shape = every[0].map.shape
    high, wide = (side * size / max(shape) for size in shape)
    step = high + GAP + (NOTE if notes else 0.0)
    tall = TOP + step * len(rows)
    lefts = [LEFT + place * (wide + GAP) for place in range(len(columns) + 1)]
    with svg.style():
        figure, ax = paper(WIDTH, tall)
        corners = []
        for number, (label, tiles) in enumerate(rows):
            top = tall - TOP - number * step
            ax.text(LEFT - 0.1, top - high / 2, label, ha="right", va="center", fontsize=9.5)
            for left, tile in zip(lefts, tiles, strict=False):
                corners.append((left, top - high))
                put(ax, colours(kind, tile.map, end), (left, left + wide, top - high, top))
                ax.text(left + wide / 2, top - high - 0.03, tile.note, ha="center", va="top", fontsize=8.5, color=FAINT)
        frames = [Rectangle(corner, wide, high) for corner in corners]
        ax.add_collection(PatchCollection(frames, facecolor="none", edgecolor=RULE, linewidth=1.2))
        ax.plot(
            [x + wide / 2 for x, _ in corners], [y + high / 2 for _, y in corners], linestyle="none", marker="o",
            markersize=max(2.0, 4 * side), markerfacecolor="none", markeredgecolor=INK, markeredgewidth=0.7,
        )  # fmt: skip
        for left, label in zip(lefts, columns, strict=False):
            ax.text(left + wide / 2, tall - TOP + 0.06, label, ha="center", fontsize=9.5)
        _scale(ax, kind, end, (lefts[-1] + 0.06, lefts[-1] + 0.16, tall - TOP - high, tall - TOP))
        return svg.inline(figure, name, title)


def _scale(ax: Axes, kind: str, end: float, extent: Extent) -> None:
    """The scale in its place: its ends and the neutral value."""
    neutral = maps.NEUTRAL[kind]
    top = neutral if kind == "kept" else neutral + end
    low = max(0.0, neutral - end) if kind in ("kept", "attention") else neutral - end
    put(ax, colours(kind, np.linspace(top, low, 41)[:, None], end), extent)
    ends = list(dict.fromkeys((top, neutral, low)))
    for value, label in zip(ends, distinct(ends, fewest=3), strict=True):
        y = extent[2] + (value - low) / (top - low) * (extent[3] - extent[2])
        ax.text(extent[1] + 0.05, y, label, fontsize=8.5, color=FAINT, va="center")
