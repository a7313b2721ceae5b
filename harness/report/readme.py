"""The README's part about a study, from its rows: the main table, the paper's findings, two figures as files.

It stands between two marks, and `python -m harness.report results/NAME --readme README.md` writes it anew. The table is
led by the setting with the largest images and, among these, the most seeds; the study's other settings follow as
columns of differences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import results
from harness.report import ablation, captions, dots
from harness.report.claims import Claims, claims, count
from harness.report.exports import marked, row, seeds_words, span
from harness.report.palette import css_variables, looks
from harness.report.rows import by_number, side
from harness.report.study import SETTING, Setting, Study, alike
from harness.report.summary import Summary, comparisons, summaries
from harness.report.transfer import curves
from harness.report.words import DASH, interval, listing, percent, plural, points
from harness.report.words import count as amount
from harness.stats import Difference, paired_difference

BEGIN, END = "<!-- study: {} -->", "<!-- end of study -->"
Found = Mapping[tuple[str, ...], Sequence[Summary]]


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
        results.write_bytes(figures / file, svg.encode())
    if inside != f"\n{made.text}\n":
        results.write_bytes(readme, f"{before}{begin}\n{made.text}\n{END}{after}".encode())


def part(study: Study, name: str, folder: str) -> Part:
    """The part, its figures named as lying in `folder`. Raises ValueError for a study that compares nothing."""
    found: Found = {setting.key: summaries(setting) for setting in study.settings}
    shown = chosen(study, found)
    if not shown:
        raise ValueError(f"{name} has no setting with two trained variants, so there is nothing to show")
    groups = factors(study, shown, found)
    look = looks(list(dict.fromkeys(v for s in study.settings for v in s.variants)), study.baseline)
    findings = claims(study.settings, found)
    lines = [table(study, shown, found), "", caption(study, shown, found), ""]
    figures = {}
    drawings = {
        "differences": dots.draw(groups, look, study.baseline, "differences", ""),
        "ablations": dots.draw(ablations(study, found), look, study.baseline, "ablations", ""),
    }
    told = {
        "differences": f"Top-1 minus {study.baseline}, by setting",
        "ablations": f"Ablations: top-1 minus {study.baseline}",
    }
    for key, drawing in drawings.items():
        if drawing is not None:
            figures[f"{name}-{key}.svg"] = alone(drawing.svg)
            lines += [f"![{told[key]}]({folder}/{name}-{key}.svg)", ""]
    if figures:
        words = captions.ablation(groups, study.baseline)
        lines += [f"*{words}*", ""]
    for one in findings:
        lines += [*finding(one), ""]
    return Part("\n".join(lines).rstrip(), figures)


def chosen(study: Study, found: Found) -> list[Setting]:
    """The settings that the table shows, the leading one first: of a dataset and share that with the most variants."""
    compared = [s for s in study.settings if any(one.difference is not None for one in found[s.key])]
    most = [max(members, key=lambda s: len(s.variants)) for _, members in alike(compared, "recipe")]
    return sorted(most, key=lambda s: (-side(s.train_px), -seeds(found[s.key]), -by_number(s.train_fraction)[0]))


def seeds(found: Sequence[Summary]) -> int:
    return max((len(s.seeds) for s in found), default=0)


def heading(setting: Setting) -> str:
    """A setting in words: the dataset and how many images trained it, where the recipe says so."""
    dataset = setting.key[SETTING.index("dataset")]
    fraction = by_number(setting.train_fraction or "1")[0]
    if setting.images:
        return f"{dataset}, {plural(round(setting.images * fraction), 'image')}"
    return dataset if fraction == 1 else f"{dataset}, {100 * fraction:g} % of the images"


def table(study: Study, shown: Sequence[Setting], found: Found) -> str:
    """The leading setting's variants: parameters, top-1, and the difference to the baseline in every setting.

    The leading setting's zero-shot resolutions have a column each.
    """
    lead = shown[0]
    elsewhere = transferred(lead)
    heads = [f"{marked(heading(lead))}: top-1, %", "minus " + study.baseline]
    heads += [f"at {px} px: minus {study.baseline}" for px in elsewhere]
    heads += [f"{marked(heading(one))}: minus {study.baseline}" for one in shown[1:]]
    lines = [row(["Variant", "Parameters", *heads]), row(["---", *["---:"] * (len(heads) + 1)])]
    others = [{s.variant: s for s in found[one.key]} for one in shown[1:]]
    trained = [s for s in found[lead.key] if s.top1.value is not None]
    order = sorted(
        trained, key=lambda s: (not s.is_baseline, -(s.difference.estimate.center if s.difference else -1e9))
    )
    for s in order:
        assert s.top1.value is not None
        top = f"{percent(s.top1.value)} {interval(s.top1.low, s.top1.high)}".strip()
        cells = [amount(s.params.value) if s.params.value is not None else DASH, marked(top), difference(s.difference)]
        cells += [difference(by_variant.get(s.variant)) for by_variant in elsewhere.values()]
        cells += [difference(one[s.variant].difference if s.variant in one else None) for one in others]
        lines.append(row([span(s.variant), *cells]))
    return "\n".join(lines)


def transferred(setting: Setting) -> dict[str, dict[str, Difference]]:
    """By other resolution and variant: the difference to the baseline of the same weights there, simultaneous."""
    seeds: dict[str, dict[str, Mapping[str, float]]] = {}
    for curve in curves(setting):
        for point in curve.points:
            if point.px != setting.train_px:
                seeds.setdefault(point.px, {})[curve.variant] = point.seeds
    found: dict[str, dict[str, Difference]] = {}
    for px, known in seeds.items():
        by_seed = {variant: dict(known.get(variant, {})) for variant in setting.variants}
        compared = comparisons(setting, by_seed)
        for variant in setting.challengers:
            one = paired_difference(by_seed[variant], by_seed[setting.baseline], compared)
            if one is not None:
                found.setdefault(px, {})[variant] = one
    return found


def difference(found: Difference | None) -> str:
    """ "+1.02 [0.10, 1.94]", bold where it is resolved; a dash where there is none."""
    if found is None:
        return DASH
    one = found.estimate
    center = f"**{points(one.center)}**" if found.resolved else points(one.center)
    return f"{center} {marked(interval(one.low, one.high, points))}".strip()


def caption(study: Study, shown: Sequence[Setting], found: Found) -> str:
    """How to read the table, and how far the study went."""
    many = listing([f"{heading(one)}: {seeds_words(found[one.key])}" for one in shown])
    machines = sorted({str(machine.get("cpu")) for machine in study.rows["machine"] if isinstance(machine, dict)})
    commits = sorted({code for code in study.rows["code"] if code})
    return marked(
        f"Means over paired seeds ({many}); at another resolution the same weights, zero-shot; in brackets 95 % "
        f"intervals, those of differences simultaneous over the variants of a column. Bold is resolved, all else is "
        f"not. The body is {study.rows['size'].iloc[-1]} for all. Measured on {listing(machines)}, commit "
        f"{listing(commits)}."
    )


def factors(study: Study, shown: Sequence[Setting], found: Found) -> list[ablation.Factor]:
    """The leading setting's variants in every setting, as the figure's groups."""
    names, made = shown[0].variants, []
    for setting in shown:
        baseline = ablation.baseline_seeds(found[setting.key])
        arms = [ablation.Arm(s.variant, s, baseline) for s in found[setting.key] if s.difference and s.variant in names]
        arms.sort(key=lambda arm: -(arm.summary.difference.estimate.center if arm.summary.difference else 0.0))
        if arms:
            made.append(ablation.Factor(heading(setting), arms))
    return made


def ablations(study: Study, found: Found) -> list[ablation.Factor]:
    """The factors of all settings and recipes."""
    inside = [factor for setting in study.settings for factor in ablation.of_settings(found[setting.key])]
    return inside + [factor for one in ablation.of_recipes(study.settings, found) for factor in one.factors]


def finding(one: Claims) -> list[str]:
    """The table of the paper's findings."""
    lines = [f"The paper's findings on {marked(one.name)}: {count(one.tested)} ({one.level} intervals).", ""]
    lines += [row(["Finding (ImageNet-100, arXiv 2206.07662)", "Points", "Here"]), row(["---", "---:", "---"])]
    for it in one.tested:
        words = f"{it.words[:1].upper()}{it.words[1:]}"
        lines.append(row([marked(words), f"{it.points} {marked(it.ends)}", it.verdict]))
    return lines


def alone(svg: str) -> str:
    """An inline figure as a file of its own: both themes inside, since no page gives it colours."""
    light, dark = css_variables()
    style = f"<style>:root{{{light}--sans:sans-serif;}}@media (prefers-color-scheme: dark){{:root{{{dark}}}}}</style>"
    return re.sub(r"(<svg[^>]*>)", lambda match: match[1] + style, svg, count=1) + "\n"
