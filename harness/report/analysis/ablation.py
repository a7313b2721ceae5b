"""Ablations: what one factor of a variant does, as paired differences to the baseline, a dot and an interval each.

A factor is a setting of a variant (`sp_sa[hidden=16]` beside `sp_sa`), or an entry in which recipes differ (how many
layers are spatial). The numbers are the settings' own: paired seed by seed, simultaneous over the
variants of a setting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.report.analysis.summary import Found, Summary
from harness.report.study.primary import BRACKETS
from harness.report.study.recipes import COLUMNS, as_json, called, differing, value_words
from harness.report.study.rows import by_number, natural
from harness.report.study.study import Setting, alike

DIGEST = re.compile(r" \([0-9a-f]{10}\)$")


@dataclass(frozen=True)
class Arm:
    """One value of a factor: how it is called, and the variant's numbers with it."""

    label: str
    summary: Summary
    baseline: Mapping[str, float]  # the baseline's top-1 by seed, %

    @property
    def differences(self) -> dict[str, float]:
        """Variant minus baseline by seed, points."""
        seeds = self.summary.seeds
        return {seed: seeds[seed] - self.baseline[seed] for seed in seeds if seed in self.baseline}


@dataclass(frozen=True)
class Factor:
    """What varies, in words, and its arms in order."""

    name: str
    arms: list[Arm]


@dataclass(frozen=True)
class Recipes:
    """Settings that differ in their recipe alone: what they have in common, in words, and their factors."""

    name: str
    members: list[Setting]
    factors: list[Factor]


def of_settings(found: Sequence[Summary]) -> list[Factor]:
    """The factors within one setting of the study: variants that are one but for their brackets."""
    by_name: dict[str, list[Summary]] = {}
    for summary in found:
        if summary.difference is not None:
            by_name.setdefault(BRACKETS.sub("", summary.variant), []).append(summary)
    baseline = baseline_seeds(found)
    factors = []
    for name, members in by_name.items():
        varied = {summary.variant: _settings(summary.variant) for summary in members}
        for keys in dict.fromkeys(keys for keys in varied.values() if keys):
            these = sorted((s for s in members if varied[s.variant] in ("", keys)), key=lambda s: natural(s.variant))
            if len(these) > 1:
                factors.append(Factor(f"{name}: {keys}", [Arm(s.variant, s, baseline) for s in these]))
    return factors


def of_recipes(settings: Sequence[Setting], found: Found) -> list[Recipes]:
    """The factors across settings; `found` by the key of its setting. A probe asks what can be learned, and has none.

    An entry of the recipe is a factor, its arms those that agree in all others. Arms that no factor has are in one
    more, called by all that differs; one that would be alone there stands beside all the others.
    """
    together = []
    for name, members in alike([one for one in settings if one.probe is None], "recipe"):
        factors = []
        for variant in dict.fromkeys(v for setting in members for v in setting.variants):
            factors += _of_variant(variant, members, found)
        if factors:
            together.append(Recipes(name, members, factors))
    return together


def _of_variant(variant: str, members: Sequence[Setting], found: Found) -> list[Factor]:
    """The factors of one variant across settings that differ in their recipe alone."""
    arms, recipes = [], []
    for setting in members:
        for summary in found[setting.key]:
            if summary.variant == variant and summary.difference is not None:
                arms.append(Arm(setting.key.recipe or "recipe as kept", summary, baseline_seeds(found[setting.key])))
                recipes.append(setting.recipe)
    entries = differing([recipe for recipe in recipes if recipe is not None], COLUMNS)
    factors, placed = [], set()
    for entry in entries:
        by_rest: dict[str, list[int]] = {}
        for number, recipe in enumerate(recipes):
            if recipe is not None:
                rest = as_json([recipe.get(key) for key in entries if key != entry])
                by_rest.setdefault(rest, []).append(number)
        for these in by_rest.values():
            if len(these) > 1:
                words = told_apart({k: value_words((recipes[k] or {}).get(entry), entry) for k in these})
                ordered = sorted(these, key=lambda number: by_number(words[number]))
                factors.append(
                    Factor(f"{variant}: {called(entry)}", [replace(arms[k], label=words[k]) for k in ordered])
                )
                placed.update(these)
    others = [arm for number, arm in enumerate(arms) if number not in placed]
    if others and len(arms) > 1:
        factors.append(Factor(variant, others if len(others) > 1 else arms))
    return factors


def told_apart(words: Mapping[int, str]) -> dict[int, str]:
    """The words without a digest at their end, where they differ without it, too."""
    short = {number: DIGEST.sub("", one) for number, one in words.items()}
    return short if len(set(short.values())) == len(set(words.values())) else dict(words)


def baseline_seeds(found: Sequence[Summary]) -> Mapping[str, float]:
    """The baseline's top-1 by seed, %."""
    return next((summary.seeds for summary in found if summary.is_baseline), {})


def _settings(variant: str) -> str:
    """The names of the settings in a spec: "hidden", "hidden, scope"; "" where it has none."""
    words = [word for brackets in BRACKETS.findall(variant) for word in _split(brackets[1:-1])]
    return ", ".join(dict.fromkeys(word.partition("=")[0].strip() for word in words if "=" in word))


def _split(inside: str) -> list[str]:
    """The settings of one pair of brackets; a comma in a tuple does not part them."""
    return re.split(r",(?![^()]*\))", inside)
