"""The main table: one row a variant, what it costs and what it reaches, every gap with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from harness.report.analysis.condition import Condition
from harness.report.analysis.quantity import Quantity
from harness.report.analysis.summary import Summary
from harness.report.analysis.timing import Latency, Speed
from harness.report.text.formatting import (
    DASH,
    confidence,
    count,
    grouped,
    interval,
    p_value,
    percent,
    plural,
    points,
    significant,
)


@dataclass(frozen=True)
class Column:
    """`group` heads several columns; `meaning` is the header's tooltip and the note under the table."""

    key: str
    group: str
    title: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Cell:
    """`sort` is the bare number, None last; `notes` are numbers of the table's footnotes."""

    text: str
    sort: float | None = None
    detail: str = ""
    remark: str = ""
    tone: str = ""
    notes: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Line:
    variant: str
    family: str
    is_baseline: bool
    cells: list[Cell]


@dataclass(frozen=True)
class Table:
    columns: list[Column]
    lines: list[Line]
    notes: list[str]

    def groups(self) -> list[tuple[str, int]]:
        """Headings over columns and how many each spans."""
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans


class Footnotes:
    """Sentences numbered as they come up, each once."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def number(self, sentence: str) -> int:
        if sentence not in self.sentences:
            self.sentences.append(sentence)
        return self.sentences.index(sentence) + 1


Form = Callable[[float], str]
TIMES = "\N{MULTIPLICATION SIGN}"
TESTED = (
    "p: of the paired t test over seeds, adjusted by Holm's step-down over the variants. P: probability of "
    "improvement, the share of all pairs of a run of the variant and a run of the baseline in which the variant's is "
    "better, a tie being half."
)
THESE_IMAGES = "On these test images: taken as a sample, too, they leave an interval that holds 0."
STALE = "Stale: measured with another state of the source than the newest row."


def columns(baseline: str) -> list[Column]:
    """The columns, left to right; `meaning` is what hovering a heading shows."""
    step = "as for inference, of a step: forward, backward and update"
    of_baseline = f"{TIMES} {baseline}"
    return [
        Column("params", "Model", "Params", "", "trainable parameters"),
        Column("gmac", "Model", "GMACs", "per image", "multiply-adds of the forward pass at the training resolution"),
        Column("images_per_s", "Inference", "Images/s", "", "batch size over the median time of an iteration; MFU"),
        Column("ratio", "Inference", "Time", of_baseline, "median over interleaved rounds of time over the baseline's"),
        Column("peak_mib", "Inference", "Peak", "MiB", "peak memory of a batch"),
        Column("latency_ms", "Inference", "Latency", "ms", "median time of a single image"),
        Column("train_images_per_s", "Training", "Images/s", "", step),
        Column("train_ratio", "Training", "Time", of_baseline, step),
        Column("train_peak_mib", "Training", "Peak", "MiB", "peak memory of a training batch"),
        Column("top1", "Top-1 accuracy", "Mean", "%", "of the test split, over seeds, with its 95 % t interval"),
        Column("difference", "Top-1 accuracy", "Difference", f"to {baseline}, points", "mean over paired seeds"),
        Column("seeds", "Top-1 accuracy", "Seeds", "", "seeds with a top-1"),
    ]


def table(
    found: list[Summary],
    baseline: str,
    inference: Condition | None,
    training: Condition | None,
    latency: Condition | None = None,
) -> Table:
    """The table; the time ratio columns are judged by the A/A floors of the conditions."""
    notes = Footnotes()
    lines = []
    for s in found:
        cells = [
            number_cell(s.params, count, notes),
            number_cell(s.gmac, significant, notes),
            *_speed(s.inference, s.is_baseline, inference, notes),
            _latency(s.latency, baseline, s.is_baseline, latency, notes),
            *_speed(s.training, s.is_baseline, training, notes),
            mean_cell(s.top1, percent, notes),
            _difference(s, any(other.p is not None for other in found), notes),
            _seeds(s, notes),
        ]
        lines.append(Line(s.variant, s.family, s.is_baseline, cells))
    return Table(columns(baseline), lines, notes.sentences)


def number_cell(quantity: Quantity, form: Form, notes: Footnotes, detail: str = "") -> Cell:
    """A number, or a dash with its reason as a footnote."""
    if quantity.value is None:
        return Cell(DASH, notes=[notes.number(sentence(quantity.reason))])
    marks = [notes.number(STALE)] if quantity.stale else []
    return Cell(form(quantity.value), quantity.value, detail, notes=marks)


def _speed(speed: Speed, is_baseline: bool, condition: Condition | None, notes: Footnotes) -> list[Cell]:
    images = speed.images_per_s
    rate = number_cell(images, significant, notes, interval(images.low, images.high, significant))
    if rate.sort is not None and speed.mfu.value is not None:
        rate = replace(rate, remark=f"{significant(100 * speed.mfu.value, 2)} % MFU")
    return [rate, _ratio(speed, is_baseline, condition, notes), number_cell(speed.peak_mib, significant, notes)]


def _ratio(speed: Speed, is_baseline: bool, condition: Condition | None, notes: Footnotes) -> Cell:
    ratio = speed.ratio
    cell = number_cell(ratio, lambda value: grouped(value, 2), notes)
    if ratio.value is None:
        return cell
    if is_baseline:
        return Cell("1", 1.0, notes=cell.notes)
    ends = interval(ratio.low, ratio.high, lambda value: grouped(value, 2))
    if speed.resolved:
        return Cell(cell.text, cell.sort, ends, notes=cell.notes)
    marks = [*cell.notes, notes.number(_unresolved(condition))]
    return Cell(cell.text, cell.sort, ends, "not resolved", "open", marks)


def _latency(latency: Latency, baseline: str, is_baseline: bool, condition: Condition | None, notes: Footnotes) -> Cell:
    ms, ratio = latency.ms, latency.ratio
    cell = number_cell(ms, significant, notes, interval(ms.low, ms.high, significant))
    if is_baseline or ms.value is None or ratio.value is None:
        return cell
    cell = replace(cell, remark=f"{grouped(ratio.value, 2)} {TIMES} {baseline}")
    if latency.resolved:
        return cell
    return replace(cell, remark="not resolved", notes=[*cell.notes, notes.number(_unresolved(condition))])


def _unresolved(condition: Condition | None) -> str:
    if condition is None or condition.floor is None:
        return "Time ratio not resolved: this run has no A/A floor to judge it by."
    return (
        "Time ratio not resolved: its interval holds 1, or it differs from 1 by no more than the baseline differs "
        "from itself (the A/A floor, below)."
    )


def mean_cell(quantity: Quantity, form: Form, notes: Footnotes) -> Cell:
    """A mean with its interval under it, or with the reason why it has none."""
    cell = number_cell(quantity, form, notes, interval(quantity.low, quantity.high, form))
    if quantity.value is not None and quantity.reason:
        return replace(cell, notes=[*cell.notes, notes.number(sentence(quantity.reason))])
    return cell


def _difference(s: Summary, several: bool, notes: Footnotes) -> Cell:
    """The paired difference; under it the interval, Holm's p and the probability of improvement."""
    if s.is_baseline and s.top1.value is not None:
        return Cell("0", 0.0, tone="open", notes=[notes.number(TESTED)] if several else [])
    if s.difference is None:
        return Cell(DASH, notes=[notes.number(sentence(s.unpaired))])
    estimate = s.difference.estimate
    marks = [notes.number(sentence(s.unpaired))] if s.unpaired else []
    if estimate.n < len(s.seeds):
        marks.append(notes.number(f"Over the {plural(estimate.n, 'seed')} that it shares with the baseline."))
    if s.remark:
        marks.append(notes.number(f"{s.remark[:1].upper()}{s.remark[1:]}."))
    resolved = s.difference.resolved
    if resolved and s.over_images is not None and not s.over_images.excludes(0.0):
        marks.append(notes.number(THESE_IMAGES))
    tests = [] if resolved else ["not resolved"]
    if s.p is not None:
        tests.append(p_value(s.p))
        tests += [f"P {grouped(s.improvement.any_runs, 2)}"] if s.improvement is not None else []
    tone = "open" if not resolved else "more" if estimate.center > 0 else "less"
    ends = interval(estimate.low, estimate.high, points)
    return Cell(points(estimate.center), estimate.center, ends, "; ".join(tests), tone, marks)


def _seeds(s: Summary, notes: Footnotes) -> Cell:
    if not s.failed_seeds:
        return Cell(str(len(s.seeds)), float(len(s.seeds)))
    why = f"No top-1 of {s.variant} for seed {', '.join(s.failed_seeds)}: see the failures below."
    return Cell(
        f"{len(s.seeds)} of {len(s.seeds) + len(s.failed_seeds)}", float(len(s.seeds)), notes=[notes.number(why)]
    )


def sentence(words: str) -> str:
    """The report's own phrases, which begin with "no", as sentences; a row's note stays as it was written."""
    if not words.startswith(("no ", "not ", "the A/A")):
        return words
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")


def level(found: list[Summary]) -> str:
    """The confidence of a single simultaneous interval, in words; "" where none is formed."""
    formed = [
        s.difference.estimate for s in found if s.difference is not None and s.difference.estimate.low is not None
    ]
    return confidence(formed[0].confidence) if formed else ""
