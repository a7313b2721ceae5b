"""Whether what a variant gains depends on the recipe: its gain with one recipe minus that with another.

A gain is top-1 minus the baseline's, of the same seed and recipe. The gains of two recipes are paired by the seeds that
both have, three at least; where they have none in common they are two samples, compared by Welch's test. One recipe of
a page's part is the reference, the same for all variants: the one at its defaults. The changes of a part are one
family, whose intervals hold together, and exploratory. Each is judged by its own spread, since spreads differ from
recipe to recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from harness.report.analysis.ablation import told_apart
from harness.report.analysis.quantity import InPoints
from harness.report.analysis.summary import Found, Summary
from harness.report.study.primary import main_variants
from harness.report.study.recipes import COLUMNS, differing
from harness.report.study.study import Setting
from harness.report.text.formatting import confidence, listing, points, significant
from harness.results.family import Rule, contrasts
from harness.results.stats import FEWEST_SEEDS, Difference, detectable, welch_difference

LARGER, SMALLER, OPEN = "suggests a larger gain", "suggests a smaller gain", "undetermined"
BySeed = Mapping[str, float]


@dataclass(frozen=True)
class Change(InPoints):
    """A variant's gain with a recipe, and with the reference, in points.

    seeds: how many each has, of the reference and of the recipe, and whether they are the same; of those that are in
    one alone none counts where any are in both.
    """

    variant: str
    recipe: str
    gain: float
    reference: float
    difference: Difference
    counts: tuple[int, int]
    paired: bool

    @property
    def words(self) -> str:
        if not self.difference.resolved:
            return OPEN
        return LARGER if self.difference.estimate.center > 0 else SMALLER

    @property
    def seeds(self) -> str:
        """ "8" where both have the same, "8 and 5" where they have none in common."""
        return str(self.counts[0]) if self.paired else listing([str(count) for count in self.counts])

    @property
    def gains(self) -> tuple[str, str]:
        """With the reference, and with the recipe."""
        return points(self.reference), points(self.gain)


@dataclass(frozen=True)
class Changes:
    """The changes of settings that differ in their recipe alone, and the words about them.

    compared: the number of intervals that hold together, with those that are left out since all seeds are equal.
    baseline: its mean top-1 with each recipe, %, the reference first.
    """

    reference: str
    changes: list[Change]
    compared: int
    baseline: list[tuple[str, str]]
    notes: list[str]

    @property
    def level(self) -> str:
        """Each interval's, such that all hold together."""
        return confidence(self.changes[0].difference.estimate.confidence)

    @property
    def apart(self) -> int:
        return sum(one.words != OPEN for one in self.changes)

    @property
    def how(self) -> str:
        """On which seeds the gains of two recipes are compared, the end of a sentence."""
        if all(one.paired for one in self.changes):
            return ", on the seeds that both have"
        if not any(one.paired for one in self.changes):
            return ". The two have no seed in common, so Welch's test compares them"
        return (
            ", on the seeds that both have. Where there are two numbers of seeds, of the reference and of the recipe, "
            "they have none in common, and Welch's test compares the gains"
        )

    @property
    def visible(self) -> str:
        """The median change that such rows would show in 80 % of cases, points."""
        found = [known for one in self.changes if (known := detectable(one.difference)) is not None]
        return significant(median(found), 2) if found else ""


def changes(members: Sequence[Setting], found: Found) -> Changes | None:
    """Of settings that differ in their recipe alone; None where no variant can be compared between two recipes.

    One or two seeds in common are neither pairs enough nor two samples.
    """
    reference = reference_of(members)
    names = told_apart({number: one.key.recipe or "recipe as kept" for number, one in enumerate(members)})
    labels = {one.key: names[number] for number, one in enumerate(members)}
    known = gains(reference, found[reference.key])
    both = {}
    for setting in members:
        for variant, mine in gains(setting, found[setting.key]).items():
            theirs = known.get(variant, {})
            if shared := [seed for seed in mine if seed in theirs]:
                mine, theirs = ({seed: one[seed] for seed in shared} for one in (mine, theirs))
            if setting is not reference and min(len(mine), len(theirs)) >= FEWEST_SEEDS:
                both[variant, labels[setting.key]] = mine, theirs
    judged = [change(*name, *one, len(both)) for name, one in both.items()]
    kept = [one for one in judged if one.difference.estimate.low is not None]
    if not kept:
        return None
    ordered = [reference, *(one for one in members if one is not reference)]
    levels = [(labels[one.key], level) for one in ordered if (level := baseline_level(found[one.key]))]
    return Changes(labels[reference.key], kept, len(both), levels, notes(members))


def change(variant: str, recipe: str, mine: BySeed, theirs: BySeed, compared: int) -> Change:
    """One of the `compared`: from the gains with the reference, `theirs`, to those with a recipe, of the same seeds or
    of none in common."""
    paired = mine.keys() == theirs.keys()
    if paired:
        difference = contrasts({"": {seed: mine[seed] - theirs[seed] for seed in mine}}, Rule(compared)).get("")
    else:
        difference = welch_difference([*theirs.values()], [*mine.values()], compared)
    assert difference is not None, "neither is empty"
    counts = len(theirs), len(mine)
    return Change(variant, recipe, fmean(mine.values()), fmean(theirs.values()), difference, counts, paired)


def reference_of(members: Sequence[Setting]) -> Setting:
    """The recipe that names the fewest of the entries in which they differ, then the one with the most variants."""
    recipes = [one.recipe or {} for one in members]
    entries = differing(recipes, COLUMNS)

    def rank(setting: Setting) -> tuple[int, int, int]:
        named = sum((setting.recipe or {}).get(entry) is not None for entry in entries)
        return -named, len(main_variants(setting)), max(map(len, setting.top1.values()), default=0)

    return max(members, key=rank)


def gains(setting: Setting, found: Sequence[Summary]) -> dict[str, dict[str, float]]:
    """Points over the baseline by main variant, then seed; of variants that are one model the first."""
    base = setting.top1.get(setting.baseline, {})
    own: dict[str, dict[str, float]] = {}
    main = main_variants(setting)
    for summary in found:
        if summary.variant in main and not any(one in own or one == setting.baseline for one in summary.same_as):
            own[summary.variant] = {seed: value - base[seed] for seed, value in summary.seeds.items() if seed in base}
    return own


def baseline_level(found: Sequence[Summary]) -> str:
    """The baseline's mean top-1, %; "" where it has none."""
    values = [one.top1.value for one in found if one.is_baseline]
    return f"{values[0]:.1f}" if values and values[0] is not None else ""


def notes(members: Sequence[Setting]) -> list[str]:
    """What else differs with the recipe, or does not."""
    lessons = [str((one.recipe or {}).get("lessons") or "") for one in members]
    said = []
    if any(one.startswith("token labels") for one in lessons):
        said.append("With token labels the model has a head on its patches, too, which counts at the test.")
    if any(lessons):
        said.append("There is one teacher of each kind: other seeds are other students alone.")
    return said
