"""What is shown of one setting, and of settings that differ in the share of the training images alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report import figures
from harness.report.analysis import ablation, crossover, interaction, learning
from harness.report.analysis import low_data as fractions
from harness.report.analysis.summary import Found, Summary
from harness.report.analysis.timing import Condition, Elsewhere, chosen, elsewhere
from harness.report.figures import forest_plot, low_data
from harness.report.figures.context import Context
from harness.report.figures.style.chart import Drawing
from harness.report.figures.style.palette import Look
from harness.report.pages import binarized, maps, saliency
from harness.report.study import rules
from harness.report.study.primary import delta
from harness.report.study.published import Pair, Published, beside
from harness.report.study.study import Setting
from harness.report.tables import reached, tuning
from harness.report.tables.main import Table, level, measured, table
from harness.report.tables.means import Means, means
from harness.report.text import pairs, plan, verdict
from harness.report.text.formatting import plural

KINDS = {"": "inference", "train_": "training", "latency_": "the latency of a single image"}


@dataclass(frozen=True)
class Overview:
    """All that is shown of settings that differ in the share of the training images alone."""

    id: str
    name: str
    sentences: list[tuple[str, str]]
    drawings: list[Drawing]
    legend: list[str]
    look: dict[str, Look]


@dataclass(frozen=True)
class Training:
    """How a setting's variants learned: figures, and the table of what it takes to reach a target."""

    drawings: list[Drawing]
    table: Table | None
    how: str


@dataclass(frozen=True)
class Section:
    """All that is shown of one setting; `speed_of` is the number of the section that shows the same speeds."""

    id: str
    name: str
    intro: str
    headline: str
    verdicts: list[verdict.Verdict]
    bars: str
    pairs: str
    table: Table
    unmeasured: str
    level: str
    family: str
    drawings: list[Drawing]
    rules: list[tuple[list[str], str]]
    means: list[Means]
    training: Training | None
    tuned: Table | None
    tuned_how: str
    timings: list[Drawing]
    legend: list[str]
    look: dict[str, Look]
    conditions: list[tuple[str, Condition]]
    crossings: list[tuple[str, list[tuple[str, str]]]]
    speed_of: int
    elsewhere: list[Elsewhere]
    published: list[Pair]
    priors: maps.Atlas | None
    looked: saliency.Saliency | None
    masked: list[binarized.Binarised]


@dataclass(frozen=True)
class Across:
    """All that is shown of settings that differ in their recipe alone."""

    id: str
    name: str
    drawings: list[Drawing]
    changes: interaction.Changes | None


def across(one: ablation.Recipes, found: Found, look: dict[str, Look], number: int) -> Across:
    drawing = forest_plot.draw_factors(one.factors, look, one.members[0].baseline, f"r{number}-ablation")
    changes = interaction.changes(one.members, found)
    return Across(f"recipes-{number}", one.name, [drawing] if drawing else [], changes)


def overview(group: fractions.Group, look: dict[str, Look], number: int) -> Overview:
    drawings = low_data.draw(group, look, f"f{number}-")
    return Overview(
        id=f"shares-{number}",
        name=group.name,
        sentences=fractions.sentences(group),
        drawings=drawings,
        legend=unlabelled(group.variants, drawings),
        look=look,
    )


def section(
    setting: Setting,
    found: Sequence[Summary],
    look: dict[str, Look],
    number: int,
    speed_of: int,
    known: Sequence[Published] = (),
) -> Section:
    found = list(found)
    inference, training, alone = (chosen(setting, prefix) for prefix in KINDS)
    by_px = {kind: crossover.curves(setting, kind) for kind in ("", "train_") if speed_of == number}
    whole, unmeasured = measured(table(found, setting.baseline, inference, training, alone))
    about = Context(setting, found, look, f"s{number}-")
    drawings = figures.draw("figures", about)
    timings = figures.draw("speed", about) if speed_of == number else []
    learned = learned_of(about)
    challengers = [s for s in found if not s.is_baseline]
    every = drawings + timings + (learned.drawings if learned else [])
    return Section(
        id=f"setting-{number}",
        name=setting.name,
        intro=", ".join(
            part
            for part in (
                plural(len(challengers), "variant") + f" against {setting.baseline}",
                seeds_words(found),
            )
            if part
        ),
        headline=verdict.headline(setting, found) if setting.probe is None else "",
        verdicts=verdict.verdicts(found, setting.baseline, delta(setting)),
        bars=verdict.axis_words(found, setting.baseline),
        pairs=pairs.pairs(found),
        table=whole,
        unmeasured=unmeasured,
        level=level(found),
        family=plan.family(setting),
        drawings=drawings,
        rules=rules.rules(setting),
        means=means(setting),
        training=learned,
        tuned=tuning.table(setting),
        tuned_how=tuning.how(setting),
        timings=timings,
        legend=unlabelled(setting.variants, every),
        look=look,
        conditions=[
            (what, c) for what, c in zip(KINDS.values(), (inference, training, alone), strict=True) if c is not None
        ],
        crossings=crossings(setting, by_px),
        speed_of=speed_of,
        elsewhere=elsewhere(setting, "") + elsewhere(setting, "train_") if speed_of == number else [],
        published=beside(setting, known),
        priors=maps.atlas(about),
        looked=saliency.saliency(about),
        masked=binarized.binarised(setting, about.prefix),
    )


def learned_of(about: Context) -> Training | None:
    """None where no variant was validated after more than one epoch."""
    drawings = figures.draw("convergence", about)
    if not drawings:
        return None
    found = learning.learnings(about.setting)
    targets = learning.targets(about.setting, found)
    return Training(drawings, reached.table(about.setting, found, targets), reached.how(about.setting, targets))


def seeds_words(found: list[Summary]) -> str:
    """Which seeds took part."""
    every = list(dict.fromkeys(seed for s in found for seed in s.seeds if seed))
    if not every:
        return ""
    return f"{plural(len(every), 'seed')} ({', '.join(every)})" if len(every) <= 12 else plural(len(every), "seed")


def unlabelled(variants: list[str], drawings: list[Drawing]) -> list[str]:
    """The variants that some figure does not name."""
    return [name for name in variants if any(name in drawing.unlabelled for drawing in drawings)]


def crossings(setting: Setting, by_px: dict[str, list[crossover.Curve]]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each variant with its sentences of overtaking: (inference or training, sentence)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for prefix, lines in by_px.items():
        for curve in lines:
            if curve.variant != setting.baseline:
                words = crossover.sentence(curve, setting.baseline)
                found.setdefault(curve.variant, []).append((KINDS[prefix], words))
    return [(variant, found[variant]) for variant in setting.variants if variant in found]
