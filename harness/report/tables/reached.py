"""The table "Epochs and seconds to reach": what each variant takes to an accuracy, every gap with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.report.analysis.learning import Learning, Reach, reach, unlearned
from harness.report.analysis.quantity import Quantity
from harness.report.study.study import Setting
from harness.report.tables.main import Cell, Column, Footnotes, Form, Line, Table, gap, mean_cell, number_cell
from harness.report.text.formatting import grouped, plural, significant, tick
from harness.results.stats import FEWEST_SEEDS


def table(setting: Setting, found: Sequence[Learning], targets: Sequence[float]) -> Table | None:
    """Two columns a target; None without curves or targets. Variants without a curve are kept, with a reason."""
    if not found or not targets:
        return None
    known = {one.variant: one for one in found}
    notes = Footnotes()
    lines = []
    for variant in setting.variants:
        cells: list[Cell] = []
        for target in targets:
            cells += _cells(setting, variant, known.get(variant), target, notes)
        lines.append(Line(variant, setting.families.get(variant, ""), variant == setting.baseline, cells))
    return Table([column for target in targets for column in _columns(target)], lines, notes.sentences)


def how(setting: Setting, targets: Sequence[float]) -> str:
    """The caption of the table."""
    asked = "" if setting.reach else (
        f" The targets are the two largest multiples of 5 % that the mean of {setting.baseline} ends at or above."
        if len(targets) > 1
        else f" The target is the largest multiple of 5 % that the mean of {setting.baseline} ends at or above."
    )  # fmt: skip
    return (
        "The first validated epoch at which the accuracy on the validation split is at the target or above, and the "
        "seconds of training till its end: means over the seeds that reach it. In brackets: 95 % t intervals, where "
        f"all seeds do.{asked}"
    )


def _columns(target: float) -> list[Column]:
    group = f"{tick(target)} % on the validation split"
    return [
        Column(f"epochs_{target}", group, "Epochs", "", "the first epoch after which the accuracy is this or more"),
        Column(f"seconds_{target}", group, "Seconds", "of training", "from the start to the end of that epoch"),
    ]


def _cells(setting: Setting, variant: str, one: Learning | None, target: float, notes: Footnotes) -> list[Cell]:
    if one is None:
        why = gap(unlearned(setting, variant), notes)
        return [why, why]
    found = reach(one, target)
    return [_cell(found, found.epochs, grouped_once, notes), _cell(found, found.seconds, significant, notes)]


def _cell(found: Reach, quantity: Quantity, form: Form, notes: Footnotes) -> Cell:
    """A mean; in place of an interval that all seeds alike do not give, or not all seeds, how many there are."""
    remark = ""
    if quantity.value is not None and found.reached < found.seeds:
        remark = f"{found.reached} of {plural(found.seeds, 'seed')}"
    elif quantity.value is not None and quantity.low is None and quantity.n >= FEWEST_SEEDS:
        remark = f"all {quantity.n} seeds alike"
    if not remark:
        return mean_cell(quantity, form, notes)
    return replace(number_cell(quantity, form, notes), remark=remark)


def grouped_once(value: float) -> str:
    """Epochs, to a tenth: they are means of whole numbers."""
    return grouped(value, 1)
