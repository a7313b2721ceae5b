"""What every figure has: the data it was drawn from, and axes in one style."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import Formatter, MaxNLocator

from harness.report.analysis.quantity import Quantity
from harness.report.text.formatting import distinct, tick
from harness.results.stats import Estimate

SIZE = (5.3, 3.9)  # inches; 72 SVG units an inch
PANEL = (4.3, 3.7)  # of a figure with several panels side by side
Record = Mapping[str, Any]  # a line of a figure's data, by column: a number, a word, or {seed: number}
Table = Sequence[Record]


@dataclass(frozen=True)
class Drawing:
    """A drawn figure, of one SVG or of several `panels`; `unlabelled` are the variants that need a legend.

    The columns of `table` are those of its first record.
    """

    name: str
    svg: str
    title: str
    caption: str
    table: Table = field(repr=False)
    unlabelled: Sequence[str] = ()
    panels: int = 1

    def csv(self) -> str:
        out = io.StringIO()
        writer = csv.DictWriter(out, list(self.table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({column: _text(cell) for column, cell in record.items()} for record in self.table)
        return out.getvalue()


def interval(name: str, one: Estimate | Quantity) -> dict[str, Any]:
    """A number and the ends of its interval by column."""
    value = one.value if isinstance(one, Quantity) else one.center
    return {name: value, end_of(name, "low"): one.low, end_of(name, "high"): one.high}


def end_of(name: str, end: str) -> str:
    """The column of an interval's end: "top1_low" beside "top1_mean", "time_low" beside "time", "low" beside "mean"."""
    return name.removesuffix("mean") + end if name.endswith("mean") else f"{name}_{end}"


def _text(cell: object) -> object:
    """A cell as it stands in the CSV: numbers by seed as "0:93.5 1:94.0", several of a seed as "0:0.5/0.7"."""
    if isinstance(cell, Mapping):
        return " ".join(f"{seed}:{_text(value)}" for seed, value in cell.items())
    if isinstance(cell, list | tuple):
        return "/".join(map(repr, cell))
    return ("yes" if cell else "no") if isinstance(cell, bool) else cell


class Plain(Formatter):
    """Plain numbers, with as many digits as tell the ticks of an axis apart."""

    def __init__(self, form: Callable[[float, int], str]):
        self.form = form

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self.form(x, 6)

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        return distinct(values, self.form)


def axes(ax: Axes, x: str, y: str) -> None:
    """Names, grid and round ticks, few of them, with plain numbers."""
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
    ax.xaxis.set_major_formatter(Plain(tick))
    ax.yaxis.set_major_formatter(Plain(tick))
    ax.autoscale_view()  # lazy otherwise: what is placed in pixels below would be placed on other limits


def _nice(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) < 5 else (1,)
    return [step * 10.0**decade for decade in decades for step in steps]
