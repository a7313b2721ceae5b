"""The README's part about a study, from its rows: one table and one figure, small enough for a front page.

It stands between two marks, and `python -m harness.report results/NAME --readme README.md` writes it anew. The table is
led by the setting with the largest images and, among these, the most seeds; two of the study's other settings follow as
columns of differences. All else is on the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.report.analysis import ablation
from harness.report.analysis.claims import Claims, claims, count
from harness.report.analysis.power_card import cards
from harness.report.analysis.summary import Summary, summaries
from harness.report.export.formats import seeds_words
from harness.report.export.sheet import Sheet, Value, markdown, marked
from harness.report.figures import forest_plot
from harness.report.figures.style.palette import alone, looks
from harness.report.study.primary import MANY, delta
from harness.report.study.recipes import COLUMNS, differing, entry_words
from harness.report.study.rows import by_number, side
from harness.report.study.study import Key, Setting, Study, alike
from harness.report.text.formatting import aligned, interval, listing, percent, plural, points, tick
from harness.results import store
from harness.results.stats import UNDETERMINED, Difference

BEGIN, END = "<!-- study: {} -->", "<!-- end of study -->"
TUNED = "Each variant is trained with the learning rate that was its best on the validation split. "
MOST_ROWS, MOST_COLUMNS = 12, 3  # of variants, and of settings
Found = dict[Key, list[Summary]]


@dataclass(frozen=True)
class Part:
    """Markdown, and the figures that it shows: SVG files by name."""

    text: str
    figures: dict[str, str]


@dataclass(frozen=True)
class Column:
    """A setting of the table: its heading, whether it is the first of its dataset and share, summaries by variant."""

    words: str
    first: bool
    setting: Setting
    found: Mapping[str, Summary]


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
    lines = [*powerless(study, found), table(study, shown), "", caption(study, shown), ""]
    figures = {}
    groups = factors(shown)
    drawing = forest_plot.draw_factors(groups, look, study.baseline, "differences")
    if drawing is not None:
        figures[f"{name}-differences.svg"] = alone(drawing.svg)
        lines += [f"![Top-1 minus {study.baseline}, by setting]({folder}/{name}-differences.svg)", ""]
        lines += [f"*{forest_plot.caption(groups, study.baseline)}*", ""]
    lines += [line for one in claims(study.settings, found) for line in (finding(one), "")]
    return Part("\n".join(lines).rstrip(), figures)


def powerless(study: Study, found: Found) -> list[str]:
    """The settings that cannot rank biases, and why; the page has their power cards in full."""
    failed = [f"- {marked(one.name)}: {marked(one.failed)}" for one in cards(study.settings, found) if one.failed]
    return ["These settings cannot rank biases:", "", *failed, ""] if failed else []


def chosen(study: Study, found: Found) -> list[Column]:
    """The settings that the table shows, the leading one first, MOST_COLUMNS at most.

    Of the same images and body the recipe with the most variants, then the others that compare many, called by what
    differs.
    """
    bodies = {setting.key.size for setting in study.settings}
    sides = [dataset for dataset, _ in {(setting.key.dataset, setting.train_px) for setting in study.settings}]
    ranked = []
    for _, members in alike(study.settings, "recipe"):
        many = {s.key: sum(one.difference is not None for one in found[s.key]) for s in members}
        first, *others = sorted(members, key=lambda s: -many[s.key])
        shown = [s for s in (first, *others) if many[s.key] >= (1 if s is first else MANY)]
        for place, setting in enumerate(shown):
            body = [setting.key.size] if len(bodies) > 1 else []
            size = [f"{setting.train_px} px"] if sides.count(setting.key.dataset) > 1 else []
            words = ", ".join([heading(setting), *body, *size, *(apart(setting, first) if place else [])])
            seeds = max(len(s.seeds) for s in found[setting.key])
            rank = (-side(setting.train_px), place, -seeds, -by_number(setting.train_fraction)[0])
            ranked.append((rank, Column(words, place == 0, setting, {s.variant: s for s in found[setting.key]})))
    return [column for _, column in sorted(ranked, key=lambda one: one[0])][:MOST_COLUMNS]


def heading(setting: Setting) -> str:
    """A setting in words: the dataset and how many images trained it, where the recipe says so."""
    dataset = setting.key.dataset
    fraction = by_number(setting.train_fraction or "1")[0]
    if setting.images:
        return f"{dataset}, {plural(round(setting.images * fraction), 'image')}"
    return dataset if fraction == 1 else f"{dataset}, {100 * fraction:g} % of the images"


def apart(setting: Setting, first: Setting) -> list[str]:
    """The entries of a setting's recipe in which it is not as the first, in words."""
    if setting.recipe is None or first.recipe is None:
        return [setting.key.recipe or "recipe as kept"]
    entries = differing([first.recipe, setting.recipe], {*COLUMNS, "train_images"})
    return [entry_words(key, setting.recipe.get(key)) for key in entries]


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


def listed(shown: Sequence[Column]) -> list[str]:
    """The variants of the leading setting and those of several others, by falling difference to the baseline.

    Where a variant is not in the leading setting, the first that has it places it, after those before. With the
    baseline they are MOST_ROWS at most: primary variants stay, then what is decided, then the larger differences.
    """
    ranks: dict[str, tuple[int, float]] = {}
    weights: dict[str, tuple[bool, bool, int, float]] = {}
    times: dict[str, int] = {}
    for place, column in enumerate(shown):
        for s in column.found.values():
            if s.top1.value is not None and not s.is_baseline:
                center = s.difference.estimate.center if s.difference else -math.inf
                ranks.setdefault(s.variant, (place, -center))
                decided = s.primary and s.difference is not None and s.difference.verdict not in ("", UNDETERMINED)
                weights.setdefault(s.variant, (not s.primary, not decided, place, -abs(center)))
                times[s.variant] = times.get(s.variant, 0) + 1
    known = [v for v in ranks if ranks[v][0] == 0 or times[v] > 1]
    kept = sorted(known, key=lambda v: weights[v])[: MOST_ROWS - 1]
    return sorted(kept, key=lambda v: ranks[v])


def left_out(shown: Sequence[Column], names: Sequence[str]) -> str:
    """How many variants of the leading setting are not among the names, in words."""
    more = [v for v, s in shown[0].found.items() if s.top1.value is not None and not s.is_baseline and v not in names]
    verb = "is" if len(more) == 1 else "are"
    return f"{plural(len(more), 'more variant')} of this setting {verb} on the page. " if more else ""


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
    bodies = listing(sorted({column.setting.key.size for column in shown}))
    machines = sorted({str(machine.get("cpu")) for machine in study.rows["machine"] if isinstance(machine, dict)})
    commits = sorted({code for code in study.rows["code"] if code})
    return marked(
        f"Means over paired seeds ({many}), with 95 % intervals in brackets. Those of differences hold together: over "
        f"the {plural(shown[0].setting.rule.compared, 'comparison')} of the primary family, in an exploratory column "
        f"over its own. {counted}Bold is better or worse than {study.baseline}. What is equal is less than "
        f"{tick(delta(shown[0].setting))} points from it. All else is undetermined, and so is what is exploratory. "
        f"{left_out(shown, names)}{TUNED if (shown[0].setting.recipe or {}).get('tune') else ''}The body is {bodies}. "
        f"Measured on {listing(machines)}, commit {listing(commits)}."
    )


def factors(shown: Sequence[Column]) -> list[ablation.Factor]:
    """The table's variants in its settings, but for those of another recipe, as a figure's groups."""
    names, made = listed(shown), []
    for column in (one for one in shown if one.first):
        baseline = column.found[column.setting.baseline].seeds
        arms = [ablation.Arm(v, s, baseline) for v, s in column.found.items() if s.difference and v in names]
        arms.sort(key=lambda arm: -(arm.summary.difference.estimate.center if arm.summary.difference else 0.0))
        if arms:
            made.append(ablation.Factor(column.words, arms))
    return made


def finding(one: Claims) -> str:
    """How the paper's findings stand, in a sentence; the page has them one by one."""
    return f"The paper's findings on {marked(one.name)}: {count(one.tested)}."
