"""The README's part about a study, from its rows: one table and one figure, small enough for a front page.

It stands between two marks, and `python -m harness.report results/NAME --readme README.md` writes it anew. The settings
that lead the study are the columns. All else is on the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.backbone.sizes import SIZES
from harness.report.analysis.claims import Claims, claims, count
from harness.report.analysis.leading import Column, chosen, factors, left_out, listed
from harness.report.analysis.power_card import Card, cards
from harness.report.analysis.summary import Found, summaries
from harness.report.export.formats import seeds_words
from harness.report.export.sheet import Sheet, Value, markdown, marked
from harness.report.figures import forest_plot
from harness.report.figures.style.palette import alone, looks
from harness.report.study.primary import ALPHA, delta
from harness.report.study.study import Study
from harness.report.text.formatting import aligned, confidence, interval, listing, percent, plural, points, tick
from harness.results import store
from harness.results.stats import Difference

BEGIN, END = "<!-- study: {} -->", "<!-- end of study -->"
TUNED = "Each variant is trained with the learning rate that was its best on the validation split. "


@dataclass(frozen=True)
class Part:
    """Markdown, and the figures that it shows: SVG files by name."""

    text: str
    figures: dict[str, str]


def write(study: Study, name: str, readme: Path, figures: Path) -> None:
    """Puts the study's part between its marks in a file, and the figures into a folder.

    Raises ValueError where the file has no such marks, or the study nothing to compare.
    """
    text = readme.read_text(encoding="utf-8")
    begin = BEGIN.format(name)
    before, found, rest = text.partition(begin)
    inside, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{readme} has no lines {begin!r} and {END!r} to write between; add them")
    made = part(study, name, figures.as_posix())
    for file, svg in made.figures.items():
        store.write_bytes(figures / file, svg.encode())
    if inside != f"\n{made.text}\n":
        store.write_bytes(readme, f"{before}{begin}\n{made.text}\n{END}{after}".encode())


def part(study: Study, name: str, folder: str) -> Part:
    """The part, its figures named as lying in `folder`. Raises ValueError for a study that compares nothing."""
    found: Found = {setting.key: summaries(setting) for setting in study.settings}
    shown = chosen(study, found)
    if not shown:
        raise ValueError(f"{name} has no setting with two trained variants, so there is nothing to show")
    look = looks(list(dict.fromkeys(v for s in study.settings for v in s.variants)), study.baseline)
    lines = [*ranking(study, found), table(study, shown), "", caption(study, shown), ""]
    figures = {}
    groups = factors(shown)
    drawing = forest_plot.draw_factors(groups, look, study.baseline, "differences")
    if drawing is not None:
        figures[f"{name}-differences.svg"] = alone(drawing.svg)
        lines += [f"![Top-1 minus {study.baseline}, by setting]({folder}/{name}-differences.svg)", ""]
        lines += [f"*{forest_plot.caption(groups, study.baseline)}*", ""]
    lines += [line for one in claims(study.settings, found) for line in (finding(one), "")]
    return Part("\n".join(lines).rstrip(), figures)


def ranking(study: Study, found: Found) -> list[str]:
    """Of each setting whether it can rank biases, and why not; [] where all can. The page has their power cards."""
    every = cards(study.settings, found)
    lines = [f"- {marked(one.name)}: {marked(_answer(one))}" for one in every]
    asked = "Can this setting rank biases?" if len(every) == 1 else "Can these settings rank biases?"
    return [asked, "", *lines, ""] if any(one.failed for one in every) else []


def _answer(card: Card) -> str:
    if not card.failed:
        return "yes."
    return f"{'no' if card.known else 'not known'}, {card.failed}"


def table(study: Study, shown: Sequence[Column]) -> str:
    """Parameters and top-1 in the leading setting, and the difference to the baseline in every setting."""
    lead, minus = shown[0], f"minus {study.baseline}"
    unit, size = aligned([s.params.value for s in lead.found.values() if s.params.value is not None])
    headings = [f"Parameters, {unit}".removesuffix(", "), f"{lead.words}: top-1, %", minus]
    headings += [f"{column.words}: {minus}" for column in shown[1:]]
    lines = []
    for variant in [study.baseline, *listed(shown)]:
        s, values = lead.found.get(variant), [Value(), Value()]
        if s is not None and s.params.value is not None:
            values[0] = Value(size(s.params.value))
        if s is not None and s.top1.value is not None:
            values[1] = Value(percent(s.top1.value), interval(s.top1.low, s.top1.high))
        values += [
            difference(s.difference, s.primary) if (s := column.found.get(variant)) else Value() for column in shown
        ]
        lines.append((variant, values))
    return markdown(Sheet("Variant", [("", words) for words in headings], lines))


def difference(found: Difference | None, primary: bool = False) -> Value:
    """ "+1.02 [0.10, 1.94]", a primary one bold where it is better or worse, and equal where it is that."""
    if found is None:
        return Value()
    one = found.estimate
    words = "equal" if primary and found.equal else ""
    ends = " ".join(filter(None, [interval(one.low, one.high, points), words]))
    return Value(points(one.center), ends, primary and found.resolved)


def caption(study: Study, shown: Sequence[Column]) -> str:
    """How to read the tables, and how far the study went."""
    names = listed(shown)
    many = "; ".join(
        f"{column.words}: {seeds_words(column.found.values())}{'' if column.setting.primary else ', exploratory'}"
        for column in shown
    )
    twins = {tuple(v for v in names if v == s.variant or v in s.same_as)
             for column in shown for s in column.found.values() if s.same_as}  # fmt: skip
    counted = "".join(f"{listing(list(one))} have the same numbers and are one comparison. "
                      for one in sorted(twins) if len(one) > 1)  # fmt: skip
    bodies = listing([body(size) for size in sorted({column.setting.key.size for column in shown})])
    machines = sorted({str(machine.get("cpu")) for machine in study.rows["machine"] if isinstance(machine, dict)})
    commits = sorted({code for code in study.rows["code"] if code})
    return marked(
        f"Means over paired seeds ({many}), with 95 % intervals in brackets. {together(shown)}{counted}"
        f"Bold is better or worse than {study.baseline}. What is equal is less than "
        f"{tick(delta(shown[0].setting))} points from it. All else is undetermined, and so is what is exploratory. "
        f"{left_out(shown, names)}{TUNED if (shown[0].setting.recipe or {}).get('tune') else ''}The body is {bodies}. "
        f"Measured on {listing(machines)}, commit {listing(commits)}."
    )


def together(shown: Sequence[Column]) -> str:
    """For how many differences the intervals hold at once, and at which level."""
    rule = shown[0].setting.rule
    many, level = plural(rule.compared, "comparison"), confidence(1 - rule.alpha)
    looked = round(ALPHA / rule.alpha)
    at = f" at {level}, since the rows were looked at {looked} times" if looked > 1 else ""
    alone = f", in an exploratory column at {confidence(1 - ALPHA)} over its own"
    own = "" if all(column.setting.primary for column in shown) else alone
    return f"Those of differences hold together{at}: over the {many} of the primary family{own}. "


def body(size: str) -> str:
    """ "nano (2 layers, 64 wide)"; the name alone of a size that is not ours."""
    known = SIZES.get(size)
    return size if known is None else f"{size} ({known.depth} layers, {known.width} wide)"


def finding(one: Claims) -> str:
    """How the paper's findings stand, in a sentence; the page has them one by one."""
    each = "" if len({it.words for it in one.tested}) == len(one.tested) else ", tested in each of its settings"
    return f"SP-ViT's findings (arXiv 2206.07662) on {marked(one.name)}{each}: {count(one.tested)}."
