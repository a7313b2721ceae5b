"""The page of harness.costs: by size a table of parameters and GMACs, and the published numbers beside ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harness.report import Report
from harness.report.analysis.costs import Costs, costs
from harness.report.figures.costs import draw
from harness.report.figures.style.palette import looks
from harness.report.pages.template import fill
from harness.report.study.published import Published, read
from harness.report.study.rows import tidy
from harness.report.tables.main import TIMES, Cell, Column, Footnotes, Line, Table
from harness.report.text.formatting import DASH, MINUS, count, grouped, significant
from harness.results import store


@dataclass(frozen=True)
class Beside:
    """A published model and ours; `params` and `gmac` are our numbers, the others what they are to the published."""

    published: Published
    params: str
    params_say: str
    gmac: str
    gmac_say: str


def render(folder: Path, output: Path) -> Report:
    """Draws the page of the rows in `folder` into `output`."""
    frame = store.load(folder)
    store.write_bytes(output, page(frame).encode())
    return Report(output, list(frame.attrs["damaged"]))


def page(frame: pd.DataFrame) -> str:
    """The HTML of the rows."""
    rows = tidy(frame)
    rows["body"] = [params.get("body", "") for params in rows["params"]]
    rows = rows.drop_duplicates(["variant", "size", "train_px", "metric", "body"], keep="last")
    as_published = rows["body"] != ""
    found = costs(rows[~as_published])
    look = looks(list(dict.fromkeys(v for one in found for v in one.variants)), "sa")
    tables = [(one, table(one), draw(one, look)) for one in found]
    return fill(
        "costs.html", tables=tables, look=look, pairs=beside(rows[as_published], read()),
        codes=sorted(set(rows["code"])), newest=rows["when"].iloc[-1],
    )  # fmt: skip


def table(one: Costs) -> Table:
    """A line a variant: parameters and those beyond sa's, then GMACs and their ratio to sa's at each resolution.

    Under the GMACs of all pairs stand those of the attended pairs alone, where a mask leaves some out.
    """
    first, notes = one.pixels[0], Footnotes()
    millions, gmacs = (decimals([scale * value for (_, _, metric), value in one.value.items() if metric == name])
                       for name, scale in (("params", 1e-6), ("gmac", 1)))  # fmt: skip
    columns = [Column("params", "", "Parameters", f"M at {first} px", "trainable parameters; those beyond sa's")]
    columns += [
        Column(str(px), "", f"{px} px", "GMAC, over sa", "multiply-adds of an image; their ratio to sa's")
        for px in one.pixels
    ]
    lines = []
    for variant in one.variants:
        params, base = (one.value.get((v, first, "params")) for v in (variant, "sa"))
        is_baseline = variant == "sa"
        if params is None:
            marks = [notes.number(one.refused.get(variant) or "Not counted.")]
            cells = [Cell(DASH, notes=marks) for _ in columns]
        else:
            beyond = "" if base is None or is_baseline else signed(params - base)
            cells = [Cell(grouped(params / 1e6, millions), params, beyond),
                     *(_gmac(one, variant, px, gmacs) for px in one.pixels)]  # fmt: skip
        lines.append(Line(variant, one.families[variant], is_baseline, cells))
    return Table(columns, lines, notes.sentences)


def decimals(numbers: Sequence[float]) -> int:
    """How many decimals leave the least of these numbers four digits; three at least."""
    least = min(filter(None, numbers), default=1.0)
    return max(3, 3 - math.floor(math.log10(least)))


def _gmac(one: Costs, variant: str, px: int, digits: int) -> Cell:
    gmac, attended = (one.value.get((variant, px, metric)) for metric in ("gmac", "attended_gmac"))
    ratio = one.ratio(variant, px)
    over = "" if ratio is None or variant == "sa" else f"{TIMES}{ratio:.3f}"
    shown = DASH if gmac is None else grouped(gmac, digits)
    return Cell(shown, gmac, over, "" if attended is None else f"attended {grouped(attended, digits)}")


def signed(number: float) -> str:
    """ "+1.2 K", or "+0"."""
    return f"{MINUS if number < 0 else '+'}{count(abs(number)) if number else '0'}"


def beside(rows: pd.DataFrame, known: Sequence[Published]) -> list[Beside]:
    """The published models whose body was built here, with our parameters and GMACs."""
    has = rows[rows["value"].notna()]
    columns = [has[name] for name in ("variant", "size", "train_px", "metric", "value")]
    ours = {tuple(map(str, key)): float(x) for *key, x in zip(*columns, strict=True)}
    found = []
    for one in known:
        params, gmac = (ours.get((one.variant, one.size, one.test_px, metric)) for metric in ("params", "gmac"))
        if (one.params_m or one.gmac) and params is not None and gmac is not None:
            found.append(Beside(one, grouped(params / 1e6, 2), say(params / 1e6, one.params_m),
                                grouped(gmac, 3), say(gmac, one.gmac)))  # fmt: skip
    return found


def say(ours: float, published: str) -> str:
    """How our number is to the published one: equal to its digits, or by how many percent it is more or less."""
    if not published:
        return ""
    decimals = len(published.partition(".")[2])
    if f"{ours:.{decimals}f}" == f"{float(published):.{decimals}f}":
        return "equal"
    off = 100 * (ours / float(published) - 1)
    return f"{'+' if off > 0 else MINUS}{significant(abs(off), 2)} %"
