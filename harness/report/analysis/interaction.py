"""Whether what a variant gains depends on the recipe: differences of its paired differences to the baseline, by seed.

A gain in one recipe beside a gain in another is a contrast of four means, each pair of them with the same seed. All of
those of a page's part are one family of intervals that hold together, and exploratory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.analysis.ablation import Arm, Factor, Recipes
from harness.report.text.formatting import interval, points
from harness.results.family import Rule, contrasts
from harness.results.stats import BETTER, FEWEST_SEEDS, WORSE, Difference

WORDS = {BETTER: "gains more", WORSE: "gains less"}
OPEN = "undetermined"


@dataclass(frozen=True)
class Change:
    """What the gain of a variant is with `label`, minus what it is with `usual`, in points."""

    variant: str
    label: str
    usual: str
    difference: Difference

    @property
    def words(self) -> str:
        return WORDS.get(self.difference.verdict, OPEN)

    @property
    def points(self) -> str:
        return points(self.difference.estimate.center)

    @property
    def ends(self) -> str:
        return interval(self.difference.estimate.low, self.difference.estimate.high, points)


@dataclass(frozen=True)
class Order:
    """With one value of a factor: the variants from the most accurate on, each with its mean gain, points."""

    label: str
    gains: list[tuple[str, float]]

    @property
    def words(self) -> str:
        return ", ".join(f"{variant} {points(gain)}" for variant, gain in self.gains)


@dataclass(frozen=True)
class Changes:
    """Of settings that differ in their recipe alone. `family` is the number of intervals that hold together."""

    changes: list[Change]
    orders: list[Order]

    @property
    def family(self) -> int:
        return len(self.changes)

    @property
    def decided(self) -> int:
        return sum(one.words != OPEN for one in self.changes)


def changes(recipes: Recipes) -> Changes | None:
    """Each arm beside the usual one of its factor; None where no two arms share enough seeds."""
    pairs = {}
    for factor in recipes.factors:
        usual = usual_of(factor)
        for arm in factor.arms:
            shared = [seed for seed in arm.differences if seed in usual.differences]
            if arm is not usual and len(shared) >= FEWEST_SEEDS:
                name = (arm.summary.variant, arm.label, usual.label)
                pairs[name] = {seed: arm.differences[seed] - usual.differences[seed] for seed in shared}
    found = contrasts(pairs, Rule(len(pairs)))
    kept = [Change(*name, difference) for name, difference in found.items() if difference.estimate.low is not None]
    return Changes(kept, orders(recipes)) if kept else None


def usual_of(factor: Factor) -> Arm:
    """The arm that the others are compared with: the one that the recipe does not name, else that of most seeds."""
    return max(factor.arms, key=lambda arm: (arm.usual, len(arm.differences)))


def orders(recipes: Recipes) -> list[Order]:
    """By value of a factor that at least two variants have, the usual one first."""
    by_label: dict[str, list[tuple[str, float]]] = {}
    for factor in sorted_first(recipes.factors):
        usual = usual_of(factor)
        for arm in [usual, *(one for one in factor.arms if one is not usual)]:
            if arm.summary.difference is not None:
                gain = (arm.summary.variant, arm.summary.difference.estimate.center)
                by_label.setdefault(arm.label, [(recipes.baseline, 0.0)]).append(gain)
    return [Order(label, sorted(gains, key=lambda one: -one[1])) for label, gains in by_label.items() if len(gains) > 2]


def sorted_first(factors: Sequence[Factor]) -> list[Factor]:
    """Those with the most arms first, so that all values are met in one order."""
    return sorted(factors, key=lambda factor: -len(factor.arms))
