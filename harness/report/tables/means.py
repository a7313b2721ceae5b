"""A group of metrics as a table: means over seeds, differences to the baseline, every gap with its reason.

One table for all groups: what is in it is said by harness/results/metrics.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial

from harness.report.analysis.summary import differences_of, failure, seed_mean, unpaired
from harness.report.study.rows import natural
from harness.report.study.study import Setting
from harness.report.tables.main import (
    Cell,
    Column,
    Footnotes,
    Line,
    Table,
    column_of,
    difference_cell,
    gap,
    mean_cell,
    sentence,
)
from harness.report.text import sentences
from harness.report.text.formatting import fixed, grouped, signed
from harness.results.metrics import DOWN, GROUPS, Metric, of_group

BESIDE = 3  # columns of a table that has room beside another


@dataclass(frozen=True)
class Means:
    """The table of a group, its title and the text over it; `wide`: it has no room beside another."""

    group: str
    title: str
    how: str
    table: Table

    @property
    def wide(self) -> bool:
        return len(self.table.columns) > BESIDE


def means(setting: Setting) -> list[Means]:
    """Every group of GROUPS of which a variant has a number."""
    tables = {name: table(setting, name) for name in GROUPS}
    return [
        Means(name, GROUPS[name].title, GROUPS[name].how.format(images=images(setting, name)) + undecided(name), found)
        for name, found in tables.items()
        if found is not None
    ]


def undecided(group: str) -> str:
    """That the differences of a group suggest, and decide nothing."""
    return (
        " The differences are exploratory: they suggest, and nothing is decided on them."
        if GROUPS[group].paired
        else ""
    )


def table(setting: Setting, group: str) -> Table | None:
    """A line for each variant of which a metric was measured, or tried; None where no variant has a number."""
    notes, paired = Footnotes(), group in GROUPS and GROUPS[group].paired
    columns: list[Column] = []
    each: list[list[Cell]] = []
    for metric in of_group(group):
        for part in _parts(setting, metric):
            named = column_of(metric, setting.baseline, sentences.part(json.loads(part or "{}"), metric.apart))
            columns.append(named)
            each.append(_means(setting, metric, part, notes))
            if paired:
                meaning = "mean over paired seeds, with its simultaneous interval"
                columns.append(Column(f"{named.key}_difference", named.group, "Difference", f"to {setting.baseline}",
                                      meaning, judged=True))  # fmt: skip
                each.append(_differences(setting, metric, part, notes))
    lines = [
        Line(variant, setting.families[variant], variant == setting.baseline, list(cells))
        for variant, *cells in zip(setting.variants, *each, strict=True)
        if any(cell.tried for cell in cells)
    ]
    return Table(columns, lines, notes.sentences) if columns else None


def _parts(setting: Setting, metric: Metric) -> list[str]:
    """The parts of a metric of which a variant has a number; [""] where it has none but the whole."""
    rows = setting.named(metric.name)
    return sorted(set(rows[rows["value"].notna()]["part"]), key=natural)


def _means(setting: Setting, metric: Metric, part: str, notes: Footnotes) -> list[Cell]:
    form = partial(fixed, decimals=metric.digits)
    found = (
        seed_mean(setting, metric.name, variant, failure(setting, variant, metric.group), part)
        for variant in setting.variants
    )
    return [mean_cell(one, form, notes) for one in found]


def _differences(setting: Setting, metric: Metric, part: str, notes: Footnotes) -> list[Cell]:
    by_seed = {variant: setting.by_seed(metric.name, variant, part=part) for variant in setting.variants}
    differences, base = differences_of(by_seed, setting), by_seed.get(setting.baseline, {})
    form = partial(signed, decimals=metric.digits)
    cells = []
    for variant, seeds in by_seed.items():
        if not seeds:
            cells.append(gap(failure(setting, variant, metric.group), notes))
        elif variant == setting.baseline:
            cells.append(Cell("0", 0.0, tone="open"))
        else:
            one = differences.get(variant)
            why = unpaired(setting, one, base, metric.name)
            marks = [notes.number(sentence(why))] if one is not None and why else []
            cells.append(gap(why, notes) if one is None else
                         difference_cell(one, form, notes=marks, less_is_better=metric.better == DOWN))  # fmt: skip
    return cells


def images(setting: Setting, group: str) -> str:
    """ " of 360 test images", or "" where the rows do not agree on a number."""
    named = [setting.named(metric.name).dropna(subset="n") for metric in of_group(group)]
    counts = {(n, sentences.at_places(p)) for rows in named for n, p in zip(rows["n"], rows["params"], strict=True)}
    if len(counts) != 1:
        return ""
    ((number, places),) = counts
    return f" of {grouped(number, 0)} test images{places}"
