"""The settings that lead a study: what its summary in one table and one picture shows, here and in a README.

First comes the setting with the largest images and, among these, the most seeds; two of the study's others follow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.report.analysis import ablation
from harness.report.analysis.summary import Found, Summary
from harness.report.study.primary import MANY
from harness.report.study.recipes import COLUMNS, differing, entry_words
from harness.report.study.rows import by_number, side
from harness.report.study.study import Setting, Study, alike
from harness.report.text.formatting import plural
from harness.results.stats import UNDETERMINED

MOST_ROWS, MOST_COLUMNS = 12, 3  # of variants, and of settings


@dataclass(frozen=True)
class Column:
    """A setting of the table: its heading, whether it is the first of its dataset and share, summaries by variant."""

    words: str
    first: bool
    setting: Setting
    found: Mapping[str, Summary]


def chosen(study: Study, found: Found) -> list[Column]:
    """The settings that the table shows, the leading one first, MOST_COLUMNS at most.

    Of the same images and body the recipe with the most variants, then the others that compare many, called by what
    differs. Probes come only where nothing else is there.
    """
    settings = [setting for setting in study.settings if setting.probe is None] or study.settings
    bodies = {setting.key.size for setting in settings}
    sides = [dataset for dataset, _ in {(setting.key.dataset, setting.train_px) for setting in settings}]
    ranked = []
    for _, members in alike(settings, "recipe"):
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
    if not math.isfinite(fraction):
        return f"{dataset}, {setting.train_fraction} of the images"  # as the rows have it, which is no number
    if setting.images:
        return f"{dataset}, {plural(round(setting.images * fraction), 'image')}"
    return dataset if fraction == 1 else f"{dataset}, {100 * fraction:g} % of the images"


def apart(setting: Setting, first: Setting) -> list[str]:
    """The entries of a setting's recipe in which it is not as the first, in words."""
    if setting.recipe is None or first.recipe is None:
        return [setting.key.recipe or "recipe as kept"]
    entries = differing([first.recipe, setting.recipe], {*COLUMNS, "train_images"})
    return [entry_words(key, setting.recipe.get(key)) for key in entries]


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


def left_out(shown: Sequence[Column], names: Sequence[str], where: str = "on the page") -> str:
    """How many variants of the leading setting are not among the names, in words."""
    more = [v for v, s in shown[0].found.items() if s.top1.value is not None and not s.is_baseline and v not in names]
    verb = "is" if len(more) == 1 else "are"
    return f"{plural(len(more), 'more variant')} of this setting {verb} {where}. " if more else ""


def factors(shown: Sequence[Column]) -> list[ablation.Factor]:
    """The table's variants in its settings, but for those of another recipe, as a figure's groups."""
    names, made = listed(shown), []
    for column in (one for one in shown if one.first):
        baseline = column.found[column.setting.baseline].seeds
        arms = [ablation.Arm(v, s, baseline) for v, s in column.found.items() if s.difference and v in names]
        arms.sort(key=lambda arm: -(arm.summary.difference.estimate.center if arm.summary.difference else 0.0))
        if arms:
            recipe = column.setting.key.recipe  # where others have the same images, the group says which it is
            made.append(ablation.Factor(f"{column.setting.key.dataset}, {recipe}" if recipe else column.words, arms))
    return made
