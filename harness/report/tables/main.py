"""The main table: one row a variant, what it costs and what it reaches, every gap with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

from harness.report.analysis.quantity import Quantity, Untried
from harness.report.analysis.summary import Summary
from harness.report.analysis.timing import Condition, Latency, Speed
from harness.report.text.formatting import (
    DASH,
    aligned,
    confidence,
    fixed,
    grouped,
    interval,
    listing,
    p_value,
    percent,
    plural,
    points,
    significant,
)
from harness.report.text.sentences import one_model
from harness.results.metrics import METRICS, Metric
from harness.results.stats import BETTER, UNDETERMINED, WORSE, Difference

SHOWN = ("size", "inference", "latency", "training", "accuracy")  # groups of metrics
SPEED = ("Inference", "Training")  # headings that may be left out; the others always stand


@dataclass(frozen=True)
class Column:
    """`group` heads several columns; `meaning` is the header's tooltip and the note under the table.

    printed: whether LaTeX and Markdown have it, too. judged: whether its numbers are resolved from the baseline's.
    """

    key: str
    group: str
    title: str
    unit: str
    meaning: str
    printed: bool = False
    judged: bool = False


@dataclass(frozen=True)
class Cell:
    """`sort` is the bare number, None last; `notes` are numbers of the table's footnotes; `tried` as in Quantity."""

    text: str
    sort: float | None = None
    detail: str = ""
    remark: str = ""
    tone: str = ""
    notes: list[int] = field(default_factory=list)
    tried: bool = True


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
        return [(group, len(list(these))) for group, these in groupby(self.columns, lambda column: column.group)]

    def keep(self, places: Sequence[int]) -> Table:
        """The table of these columns alone, its footnotes numbered anew."""
        notes, lines = Footnotes(), []
        for line in self.lines:
            kept = [line.cells[place] for place in places]
            cells = [replace(c, notes=[notes.number(self.notes[n - 1]) for n in c.notes]) for c in kept]
            lines.append(replace(line, cells=cells))
        return Table([self.columns[place] for place in places], lines, notes.sentences)


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
    "p: of the paired t test over seeds, moderated and adjusted for its family of comparisons. P: probability of "
    "improvement, the share of all pairs of a run of the variant and a run of the baseline in which the variant's is "
    "better, a tie being half."
)
THESE_IMAGES = "On these test images: taken as a sample, too, they leave an interval that holds 0."
OWN_SPREAD = "Judged by its own spread: it does not belong to that of the others."
NO_FLOOR = "Time ratio not resolved: this run has no A/A floor to judge it by."
UNSETTLED = (
    "Time ratio not resolved: its interval holds 1, or it differs from 1 by no more than the baseline differs from "
    "itself (the A/A floor, below)."
)
STALE = "Stale: measured with another state of the source than the newest row."


def columns(baseline: str) -> list[Column]:
    """The columns, left to right: those of the metrics; beside top-1 what is made of it."""
    found = []
    for metric in METRICS.values():
        if metric.group in SHOWN and metric.heading:
            found.append(column_of(metric, baseline))
        if metric.name == "top1":
            over, to = found[-1].group, f"to {baseline}, points"
            found.append(Column("difference", over, "Difference", to, "mean over paired seeds", True, True))
            found.append(Column("seeds", over, "Seeds", "", "seeds with a top-1", True))
    return found


def column_of(metric: Metric, baseline: str, part: Sequence[str] = ()) -> Column:
    """The column of a metric, or of one `part` of it: ("Noise", "severity 2") heads it in the place of its heading."""
    heading = metric.heading
    assert heading is not None, metric.name
    over, title, unit = (words.format(baseline=baseline) for words in (heading.over, heading.title, heading.unit))
    over = ", ".join(part) or over
    return Column(metric.name, over, title, unit, metric.about, heading.printed, heading.judged)


def table(
    found: list[Summary],
    baseline: str,
    inference: Condition | None,
    training: Condition | None,
    latency: Condition | None = None,
) -> Table:
    """The table; the time ratio columns are judged by the A/A floors of the conditions.

    A metric of size or accuracy has a cell as soon as it has a heading; one of speed is a dash until it is made here.
    """
    notes, lines = Footnotes(), []
    unit, params = aligned([s.params.value for s in found if s.params.value is not None])
    _, gmac = aligned([s.gmac.value for s in found if s.gmac.value is not None])
    shown = [replace(column, unit=unit) if column.key == "params" else column for column in columns(baseline)]
    several = any(s.p is not None for s in found)
    for s in found:
        cells = {
            "params": number_cell(s.params, params, notes),
            "gmac": number_cell(s.gmac, gmac, notes),
            **_speed("", s.inference, s.is_baseline, inference, notes),
            "latency_ms": _latency(s.latency, baseline, s.is_baseline, latency, notes),
            **_speed("train_", s.training, s.is_baseline, training, notes),
            "top1": mean_cell(s.top1, percent, notes),
            "difference": _difference(s, baseline, several, notes),
            "seeds": _seeds(s, notes),
            **{name: mean_cell(one, partial(fixed, decimals=METRICS[name].digits), notes)
               for name, one in s.more.items()},
        }  # fmt: skip
        missing = [column.key for column in shown if column.key not in cells]
        cells |= {key: gap(Untried(f"no cell of {key} is made in harness/report/tables/main.py"), notes)
                  for key in missing}  # fmt: skip
        lines.append(Line(s.variant, s.family, s.is_baseline, [cells[column.key] for column in shown]))
    return Table(shown, lines, notes.sentences)


def measured(whole: Table) -> tuple[Table, str]:
    """The table without the columns of speed that nobody tried to measure, and the sentence that says so."""
    tried = {
        column.group
        for place, column in enumerate(whole.columns)
        if column.group not in SPEED or not whole.lines or any(line.cells[place].tried for line in whole.lines)
    }
    left = [group[:1].lower() + group[1:] for group in dict(whole.groups()) if group not in tried]
    if not left:
        return whole, ""
    table = whole.keep([place for place, column in enumerate(whole.columns) if column.group in tried])
    return table, f"Not measured, and left out of the table: {listing(left)}."


def number_cell(quantity: Quantity, form: Form, notes: Footnotes, detail: str = "") -> Cell:
    """A number, or a dash with its reason as a footnote."""
    if quantity.value is None:
        return gap(quantity.reason, notes)
    marks = [notes.number(STALE)] if quantity.stale else []
    return Cell(form(quantity.value), quantity.value, detail, notes=marks)


def gap(reason: str, notes: Footnotes) -> Cell:
    """A dash with its reason."""
    return Cell(DASH, notes=[notes.number(sentence(reason))], tried=not isinstance(reason, Untried))


def _speed(
    prefix: str, speed: Speed, is_baseline: bool, condition: Condition | None, notes: Footnotes
) -> dict[str, Cell]:
    """The cells of inference or, by the `prefix` of its metrics, of training."""
    images = speed.images_per_s
    rate = number_cell(images, significant, notes, interval(images.low, images.high, significant))
    if rate.sort is not None and speed.mfu.value is not None:
        rate = replace(rate, remark=f"{significant(100 * speed.mfu.value, 2)} % MFU")
    return {
        f"{prefix}images_per_s": rate,
        f"{prefix}ratio": _ratio(speed, is_baseline, condition, notes),
        f"{prefix}peak_mib": number_cell(speed.peak_mib, significant, notes),
    }


def _ratio(speed: Speed, is_baseline: bool, condition: Condition | None, notes: Footnotes) -> Cell:
    cell = number_cell(speed.ratio, percent, notes, interval(speed.ratio.low, speed.ratio.high))
    if cell.sort is None or is_baseline:
        return cell if cell.sort is None else Cell("1", 1.0, notes=cell.notes)
    return cell if speed.resolved else _unresolved(replace(cell, tone="open"), condition, notes)


def _latency(latency: Latency, baseline: str, is_baseline: bool, condition: Condition | None, notes: Footnotes) -> Cell:
    ms, ratio = latency.ms, latency.ratio.value
    cell = number_cell(ms, significant, notes, interval(ms.low, ms.high, significant))
    if is_baseline or ms.value is None or ratio is None:
        return cell
    if not latency.resolved:
        return _unresolved(cell, condition, notes)
    return replace(cell, remark=f"{grouped(ratio, 2)} {TIMES} {baseline}")


def _unresolved(cell: Cell, condition: Condition | None, notes: Footnotes) -> Cell:
    """The cell of a time that is not told from the baseline's."""
    why = UNSETTLED if condition is not None and condition.floor is not None else NO_FLOOR
    return replace(cell, remark="not resolved", notes=[*cell.notes, notes.number(why)])


def mean_cell(quantity: Quantity, form: Form, notes: Footnotes) -> Cell:
    """A mean with its interval under it, or with the reason why it has none."""
    cell = number_cell(quantity, form, notes, interval(quantity.low, quantity.high, form))
    if quantity.value is not None and quantity.reason:
        return replace(cell, notes=[*cell.notes, notes.number(sentence(quantity.reason))])
    return cell


def _difference(s: Summary, baseline: str, several: bool, notes: Footnotes) -> Cell:
    """The paired difference; under it the interval, the adjusted p and the probability of improvement."""
    if s.is_baseline and s.top1.value is not None:
        return Cell("0", 0.0, tone="open", notes=[notes.number(TESTED)] if several else [])
    if s.difference is None:
        return gap(s.unpaired, notes)
    marks, n = [notes.number(sentence(s.unpaired))] if s.unpaired else [], s.difference.estimate.n
    if n < len(s.seeds):
        marks.append(notes.number(f"Over the {plural(n, 'seed')} that it shares with the baseline."))
    if s.same_as:
        marks.append(notes.number(one_model(s.same_as, baseline)))
    if s.remark:
        marks.append(notes.number(f"{s.remark[:1].upper()}{s.remark[1:]}."))
    if s.difference.resolved and s.over_images is not None and not s.over_images.excludes(0.0):
        marks.append(notes.number(THESE_IMAGES))
    tests = [] if s.p is None else [p_value(s.p)]
    if s.p is not None and s.improvement is not None:
        tests.append(f"P {grouped(s.improvement.any_runs, 2)}")
    if s.difference.own:
        marks.append(notes.number(OWN_SPREAD))
    return difference_cell(s.difference, points, marks, tests, primary=s.primary)


def difference_cell(
    difference: Difference,
    form: Form,
    notes: list[int],
    tests: Sequence[str] = (),
    less_is_better: bool = False,
    primary: bool = False,
) -> Cell:
    """A difference to the baseline with its interval; under it the verdict and what else was tested.

    It is coloured where a primary contrast is better or worse; an exploratory one suggests, and no more.
    """
    one, word = difference.estimate, difference.verdict or UNDETERMINED
    if difference.resolved:
        word = BETTER if (one.center > 0) != less_is_better else WORSE
    tone = {BETTER: "more", WORSE: "less"}.get(word, "open") if primary else "open"
    said = word if primary or word == UNDETERMINED else f"suggests {word}"
    return Cell(form(one.center), one.center, interval(one.low, one.high, form), "; ".join([said, *tests]), tone, notes)


def _seeds(s: Summary, notes: Footnotes) -> Cell:
    number, failed = len(s.seeds), len(s.failed_seeds)
    why = f"No top-1 of {s.variant} for seed {', '.join(s.failed_seeds)}: see the failures below."
    text = f"{number} of {number + failed}" if failed else str(number)
    return Cell(text, float(number), notes=[notes.number(why)] if failed else [])


def sentence(words: str) -> str:
    """The report's own phrases, which begin with "no", as sentences; a row's note stays as it was written."""
    if not words.startswith(("no ", "not ", "the A/A")):
        return words
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")


def level(found: list[Summary]) -> str:
    """The confidence of each simultaneous interval, primary and exploratory, in words; "" where none is formed."""
    formed = {s.primary: s.difference.estimate for s in found if s.difference and s.difference.estimate.low is not None}
    return " or ".join(confidence(formed[key].confidence) for key in sorted(formed, reverse=True))
