"""What every figure has: the data it was drawn from, and axes in one style."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.report.text.formatting import tick

SIZE = (5.3, 3.9)  # inches; 72 SVG units an inch
PANEL = (4.3, 3.7)  # of a figure with several panels side by side


@dataclass(frozen=True)
class Drawing:
    """A drawn figure, of one SVG or of several `panels`; `unlabelled` are the variants that need a legend."""

    name: str
    svg: str
    title: str
    caption: str
    header: list[str]
    table: list[list[object]] = field(repr=False)
    unlabelled: list[str] = field(default_factory=list)
    panels: int = 1

    def csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows([["" if cell is None else cell for cell in line] for line in self.table])
        return out.getvalue()


def axes(ax: Axes, x: str, y: str) -> None:
    ax.set_xlabel(x, labelpad=5)
    ax.set_ylabel(y, labelpad=6)
    ax.grid(visible=False, axis="x")
    ax.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    ax.minorticks_off()
    if ax.get_xscale() == "log":
        low, high = ax.get_xlim()
        ax.set_xticks([place for place in _nice(low, high) if low <= place <= high])
    else:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    plain = FuncFormatter(lambda value, _: tick(value))
    ax.xaxis.set_major_formatter(plain)
    ax.yaxis.set_major_formatter(plain)
    ax.autoscale_view()  # lazy otherwise: what is placed in pixels below would be placed on other limits


def _nice(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) < 5 else (1,)
    return [step * 10.0**decade for decade in decades for step in steps]
