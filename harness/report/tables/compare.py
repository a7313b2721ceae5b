"""A comparison as tables: one row a variant, A and B beside each other, and what changed; every gap with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.report.analysis.compare import SAME, Compared, Comparison, Time
from harness.report.analysis.quantity import Quantity
from harness.report.analysis.summary import Summary
from harness.report.analysis.timing import Speed
from harness.report.tables.main import (
    TIMES,
    Cell,
    Column,
    Footnotes,
    Form,
    Line,
    Table,
    mean_cell,
    number_cell,
    sentence,
)
from harness.report.text.formatting import DASH, count, grouped, interval, percent, points, significant, tick

ARROW = "\N{RIGHTWARDS ARROW}"


def accuracy(found: Comparison) -> Table:
    """What a model has and what it reaches."""
    notes = Footnotes()
    columns = [
        Column("params", "Model", "Params", "", "trainable parameters"),
        Column("gmac", "Model", "GMACs", "per image", "multiply-adds of the forward pass at the training resolution"),
        Column("a", "Top-1 accuracy", "A", "%", "mean over seeds, with its 95 % t interval"),
        Column("b", "Top-1 accuracy", "B", "%", "mean over seeds, with its 95 % t interval"),
        Column("difference", "Top-1 accuracy", f"B {chr(0x2212)} A", "points", "with its simultaneous 95 % interval"),
        Column("seeds", "Top-1 accuracy", "Seeds", "A, B", "seeds with a top-1"),
    ]
    lines = []
    for one in found.variants:
        seeds = [str(len(s.seeds)) if s is not None else DASH for s in (one.a, one.b)]
        cells = [
            _exact(one, "params", count, notes),
            _exact(one, "gmac", significant, notes),
            *(_mean(one, s, notes) for s in (one.a, one.b)),
            _difference(one, notes),
            Cell(", ".join(seeds), float(len(one.a.seeds)) if one.a is not None else None),
        ]
        lines.append(_line(one, found, cells))
    return Table(columns, lines, notes.sentences)


def speed(found: Comparison, prefix: str) -> Table | None:
    """Time over the baseline's and images/s of inference ("") or training; None where neither was timed."""
    if not any(s is not None and s.images_per_s.value for one in found.variants for s in _speeds(one.times[prefix])):
        return None
    notes = Footnotes()
    base, meaning = f"{TIMES} {found.baseline}", "median over interleaved rounds of time over the baseline's"
    columns = [
        Column("a", "Time", "A", base, meaning),
        Column("b", "Time", "B", base, meaning),
        Column("change", "Time", "B / A", "", "how the time over the baseline's changed, with its 95 % interval"),
        Column("images_a", "Images/s", "A", "", "batch size over the median time of an iteration"),
        Column("images_b", "Images/s", "B", "", "batch size over the median time of an iteration"),
    ]
    lines = []
    for one in found.variants:
        time, is_baseline = one.times[prefix], one.variant == found.baseline
        ratios = [_ratio(one, s, is_baseline, notes) for s in _speeds(time)]
        cells = [*ratios, _change(time, is_baseline, notes), *(_images(one, s, notes) for s in _speeds(time))]
        first, second = (s.images_per_s.value if s is not None else None for s in _speeds(time))
        if first and second:
            change = f"{points(100 * (second / first - 1))} %"
            cells[-1] = replace(cells[-1], remark=change)
        lines.append(_line(one, found, cells))
    return Table(columns, lines, notes.sentences)


def _line(one: Compared, found: Comparison, cells: list[Cell]) -> Line:
    return Line(one.variant, one.family, one.variant == found.baseline, cells)


def _speeds(time: Time) -> Sequence[Speed | None]:
    return time.a, time.b


def _gap(one: Compared, notes: Footnotes) -> Cell:
    """A dash where a side has not got the variant."""
    return Cell(DASH, notes=[notes.number(f"Not in {'A' if one.a is None else 'B'}.")])


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


def _mean(one: Compared, summary: Summary | None, notes: Footnotes) -> Cell:
    return _gap(one, notes) if summary is None else mean_cell(summary.top1, percent, notes)


def _difference(one: Compared, notes: Footnotes) -> Cell:
    if one.a is None or one.b is None:
        return _gap(one, notes)
    if one.top1 is None:
        return Cell(DASH, notes=[notes.number(sentence("no difference: a side has no top-1"))])
    estimate = one.top1.estimate
    if one.outcome == SAME:
        return Cell("0", 0.0, "", "the same", "open")
    ends = interval(estimate.low, estimate.high, points)
    if one.top1.resolved:
        return Cell(points(estimate.center), estimate.center, ends, one.how, "more" if estimate.center > 0 else "less")
    marks = [] if ends else [notes.number("No interval: it needs 3 seeds on each side, and a spread.")]
    return Cell(points(estimate.center), estimate.center, ends, f"not resolved; {one.how}", "open", marks)


def _ratio(one: Compared, speed: Speed | None, is_baseline: bool, notes: Footnotes) -> Cell:
    if speed is None:
        return _gap(one, notes)
    if is_baseline and speed.ratio.value is not None:
        return Cell("1", 1.0)
    ends = interval(speed.ratio.low, speed.ratio.high, lambda value: grouped(value, 2))
    return number_cell(speed.ratio, lambda value: grouped(value, 2), notes, ends)


def _change(time: Time, is_baseline: bool, notes: Footnotes) -> Cell:
    if is_baseline:
        return Cell("1", 1.0, tone="open")
    marks = [notes.number(f"Not judged: {time.reason}.")] if time.reason else []
    if time.change is None:
        return Cell(DASH, notes=marks or [notes.number("Not timed on both sides.")])
    change = time.change
    ends = interval(change.low, change.high, lambda value: grouped(value, 2))
    if time.resolved:
        tone = "less" if change.center > 1 else "more"
        return Cell(grouped(change.center, 2), change.center, ends, "slower" if change.center > 1 else "faster", tone)
    word = "not judged" if time.reason else "not resolved"
    return Cell(grouped(change.center, 2), change.center, ends, word, "open", marks)


def _images(one: Compared, speed: Speed | None, notes: Footnotes) -> Cell:
    if speed is None:
        return _gap(one, notes)
    images = speed.images_per_s
    return number_cell(images, significant, notes, interval(images.low, images.high, significant))
