"""A comparison as tables: one row a variant, A and B beside each other, and what changed; every gap with its reason."""

from __future__ import annotations

from dataclasses import replace

from harness.report.analysis.compare import FASTER, SAME, SLOWER, Compared, Comparison, Time
from harness.report.analysis.quantity import Quantity
from harness.report.tables.main import (
    TIMES,
    Cell,
    Column,
    Footnotes,
    Form,
    Line,
    Table,
    columns,
    mean_cell,
    number_cell,
)
from harness.report.text.formatting import DASH, MINUS, count, grouped, interval, percent, points, significant, tick

ARROW = "\N{RIGHTWARDS ARROW}"
MEANINGS = {column.key: column for column in columns("")}  # of the main table


def accuracy(found: Comparison) -> Table:
    """What a model has and what it reaches."""
    notes = Footnotes()
    mean = "mean over seeds, with its 95 % t interval"
    columns = [
        MEANINGS["params"],
        MEANINGS["gmac"],
        Column("a", "Top-1 accuracy", "A", "%", mean),
        Column("b", "Top-1 accuracy", "B", "%", mean),
        Column("difference", "Top-1 accuracy", f"B {MINUS} A", "points", "with its simultaneous 95 % interval"),
        Column("seeds", "Top-1 accuracy", "Seeds", "A, B", "seeds with a top-1"),
    ]
    lines = []
    for one in found.variants:
        seeds = [str(len(s.seeds)) if s is not None else DASH for s in (one.a, one.b)]
        cells = [
            _exact(one, "params", count, notes),
            _exact(one, "gmac", significant, notes),
            *(mean_cell(top1, percent, notes) for top1 in _both(one.a, one.b, "top1")),
            _difference(one, notes),
            Cell(", ".join(seeds), float(len(one.a.seeds)) if one.a is not None else None),
        ]
        lines.append(_line(one, found, cells))
    return Table(columns, lines, notes.sentences)


def speed(found: Comparison, prefix: str) -> Table | None:
    """Time over the baseline's and images/s of inference ("") or training; None where neither was timed."""
    times = {one.variant: one.times[prefix] for one in found.variants}
    if not any(s is not None and s.images_per_s.value for time in times.values() for s in (time.a, time.b)):
        return None
    notes = Footnotes()
    base, meaning, rate = f"{TIMES} {found.baseline}", MEANINGS["ratio"].meaning, MEANINGS["images_per_s"]
    columns = [
        Column("a", "Time", "A", base, meaning),
        Column("b", "Time", "B", base, meaning),
        Column("change", "Time", "B / A", "", "how the time over the baseline's changed, with its 95 % interval"),
        Column("images_a", rate.title, "A", "", "batch size over the median time of an iteration"),
        Column("images_b", rate.title, "B", "", "batch size over the median time of an iteration"),
    ]
    lines = []
    for one in found.variants:
        time, is_baseline = times[one.variant], one.variant == found.baseline
        ratios = [
            Cell("1", 1.0) if is_baseline and ratio.value is not None else _measured(ratio, _times, notes)
            for ratio in _both(time.a, time.b, "ratio")
        ]
        change = _change(time, is_baseline, notes)
        first, second = _both(time.a, time.b, "images_per_s")
        images = [_measured(rate, significant, notes) for rate in (first, second)]
        if first.value and second.value:
            images[1] = replace(images[1], remark=f"{points(100 * (second.value / first.value - 1))} %")
        lines.append(_line(one, found, [*ratios, change, *images]))
    return Table(columns, lines, notes.sentences)


def _line(one: Compared, found: Comparison, cells: list[Cell]) -> Line:
    return Line(one.variant, one.family, one.variant == found.baseline, cells)


def _both(a: object | None, b: object | None, name: str) -> list[Quantity]:
    """A quantity of A and of B; where a study has not got the variant, that is the reason."""
    return [Quantity(reason=f"Not in {letter}.") if one is None else getattr(one, name)
            for letter, one in (("A", a), ("B", b))]  # fmt: skip


def _times(value: float) -> str:
    return grouped(value, 2)


def _measured(quantity: Quantity, form: Form, notes: Footnotes) -> Cell:
    """A number with its interval, or a dash with its reason."""
    return number_cell(quantity, form, notes, interval(quantity.low, quantity.high, form))


def _exact(one: Compared, name: str, form: Form, notes: Footnotes) -> Cell:
    """A count that is exact: one number where both agree, else A's, an arrow, B's."""
    known: list[Quantity] = [getattr(s, name) for s in (one.a, one.b) if s is not None]
    values = [quantity.value for quantity in known if quantity.value is not None]
    if not values:
        return number_cell(known[0], form, notes)
    if len(values) == 1 or values[0] == values[1]:
        lone = len(known) == 2 and len(values) == 1
        which = "A" if lone and known[0].value is not None else "B"
        marks = [notes.number(f"Counted in {which} alone.")] if lone else []
        return Cell(form(values[0]), values[0], notes=marks)
    shown = [form(value) for value in values]
    if shown[0] == shown[1]:
        shown = [in_full(value) for value in values]
    return Cell(f"{shown[0]} {ARROW} {shown[1]}", values[1], tone="more")


def in_full(value: float) -> str:
    """A count with all its digits, GMACs with six."""
    return grouped(value, 0) if value >= 1000 else tick(value)


def _difference(one: Compared, notes: Footnotes) -> Cell:
    if one.top1 is None:
        missing = [letter for letter, s in (("A", one.a), ("B", one.b)) if s is None]
        why = f"Not in {missing[0]}." if missing else "No difference: a side has no top-1."
        return Cell(DASH, notes=[notes.number(why)])
    estimate = one.top1.estimate
    if one.outcome == SAME:
        return Cell("0", 0.0, "", "the same", "open")
    ends = interval(estimate.low, estimate.high, points)
    if one.top1.resolved:
        return Cell(points(estimate.center), estimate.center, ends, one.how, "more" if estimate.center > 0 else "less")
    marks = [] if ends else [notes.number("No interval: it needs 3 seeds on each side, and a spread.")]
    return Cell(points(estimate.center), estimate.center, ends, f"not resolved; {one.how}", "open", marks)


def _change(time: Time, is_baseline: bool, notes: Footnotes) -> Cell:
    if is_baseline:
        return Cell("1", 1.0, tone="open")
    marks = [notes.number(f"Not judged: {time.reason}.")] if time.reason else []
    if time.change is None:
        return Cell(DASH, notes=marks or [notes.number("Not timed on both sides.")])
    word = time.word or ("not judged" if time.reason else "not resolved")
    tone = {SLOWER: "less", FASTER: "more"}.get(time.word, "open")
    ends = interval(time.change.low, time.change.high, _times)
    return Cell(_times(time.change.center), time.change.center, ends, word, tone, marks)
