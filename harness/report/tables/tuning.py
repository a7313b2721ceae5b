"""The table "Learning rates": what each variant reached at each rate, and which one it is trained with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from statistics import fmean

from harness.report.analysis.quantity import Quantity
from harness.report.study.study import Setting
from harness.report.tables.main import Cell, Column, Footnotes, Line, Table, gap, number_cell
from harness.report.text.formatting import percent, significant

OVER = "Validation top-1 by learning rate"
UNTRIED = "no training at this learning rate"
ONCE = "Each variant was trained once at each of these learning rates, with a seed that the study does not have. "
SEVERAL = (
    "Each variant was trained at each of these learning rates, with seeds that the study does not have: all rates with "
    "the first seed, and the better half of them with the other ones. A cell is the mean over the seeds that the "
    "rate was tried with. "
)
CHOSEN = (
    "The rate with the most right answers on the validation split is the one of all trainings of the variant. The test "
    "split was not read."
)


def how(setting: Setting) -> str:
    """How the rates were tried, by the seeds in the rows."""
    seeds = {seed for variant in setting.variants for seed in setting.named("tuning_top1", variant)["seed"]}
    return (SEVERAL if len(seeds) > 1 else ONCE) + CHOSEN


def table(setting: Setting) -> Table | None:
    """A column a rate and one of the seconds; None where nothing was tuned."""
    tried = {variant: by_rate(setting, "tuning_top1", variant) for variant in setting.variants}
    rates = sorted({rate for found in tried.values() for rate in found})
    if not rates:
        return None
    notes, lines = Footnotes(), []
    for variant, found in tried.items():
        chosen = set(setting.named("tuned_lr", variant)["value"])
        cells = [_cell(found.get(rate), rate in chosen, notes) for rate in rates]
        spent = by_rate(setting, "tuning_s", variant)
        whole = Quantity(sum(q.value or 0.0 for q in chain(*spent.values()))) if spent else Quantity(reason=UNTRIED)
        cells.append(number_cell(whole, significant, notes))
        lines.append(Line(variant, setting.families.get(variant, ""), variant == setting.baseline, cells))
    columns = [Column(f"lr_{rate}", OVER, f"{rate:g}", "%", "of the trainings with this rate") for rate in rates]
    columns.append(Column("tuning_s", "Cost", "Seconds", "of training", "of all trainings of the tuning"))
    return Table(columns, lines, notes.sentences)


def by_rate(setting: Setting, metric: str, variant: str) -> Mapping[float, list[Quantity]]:
    """The values of a metric of the tuning by learning rate, one a seed, failures with their reason."""
    rows, found = setting.named(metric, variant), defaultdict[float, list[Quantity]](list)
    for params, value, note, stale in zip(rows["params"], rows["value"], rows["note"], rows["stale"], strict=True):
        if "lr" in params:
            one = Quantity(None if value != value else float(value), reason=note, stale=stale)
            found[float(params["lr"])].append(one)
    return found


def _mean(trials: Sequence[Quantity]) -> Quantity:
    """Over the seeds of a rate; where one failed, its reason."""
    if (lost := next((one for one in trials if one.value is None), None)) is not None:
        return lost
    return Quantity(fmean(one.value or 0.0 for one in trials), stale=any(one.stale for one in trials))


def _cell(found: Sequence[Quantity] | None, chosen: bool, notes: Footnotes) -> Cell:
    if found is None:
        return gap(UNTRIED, notes)
    cell = number_cell(_mean(found), percent, notes)
    return replace(cell, remark="chosen", tone="more") if chosen else cell
