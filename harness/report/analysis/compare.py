"""Two studies side by side, variant by variant: what changed from A to B, and what of it is beyond noise.

Accuracy: the difference B - A. Where recipes and seeds agree it is paired seed by seed, else Welch's; its interval is
simultaneous over the variants that have one. Time: each run's ratio to its own baseline, timed in its own interleaved
rounds, since images/s of two runs drift with the machine; it changed where the interval of the change leaves 1 out and
the change is above what the two runs' A/A floors add up to. Parameters and GMACs are exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.analysis.summary import Summary, summaries
from harness.report.analysis.timing import CONDITION, Condition, Speed, chosen
from harness.report.study.matched import Match, newest
from harness.report.study.source import Source
from harness.results.stats import (
    FEWEST_SEEDS,
    Difference,
    Estimate,
    paired_difference,
    ratio_change,
    ratio_resolved,
    welch_difference,
)

PAIRED, WELCH = "paired by seed", "Welch"
MORE, LESS, OPEN, SAME, MISSING = "more accurate", "less accurate", "not resolved", "the same", "no accuracy"
SLOWER, FASTER = "slower", "faster"
ONLY_A, ONLY_B = "only in A", "only in B"
BASELINES = "the baselines differ"
KINDS = {"": "inference", "train_": "training"}


@dataclass(frozen=True)
class Time:
    """A time ratio in A and in B, and the change B / A; `reason` says why it is not judged."""

    a: Speed | None
    b: Speed | None
    change: Estimate | None
    resolved: bool
    reason: str = ""

    @property
    def word(self) -> str:
        """Slower or faster where the change is resolved; else ""."""
        if self.change is None or not self.resolved:
            return ""
        return SLOWER if self.change.center > 1 else FASTER


@dataclass(frozen=True)
class Compared:
    """A variant in A and in B; None where it is not there. `how` is PAIRED or WELCH where there is a difference."""

    variant: str
    family: str
    a: Summary | None
    b: Summary | None
    top1: Difference | None
    how: str
    times: dict[str, Time]

    @property
    def same(self) -> bool:
        """Whether every seed has the same top-1 in both."""
        return self.a is not None and self.b is not None and bool(self.a.seeds) and self.a.seeds == self.b.seeds

    @property
    def outcome(self) -> str:
        """One of the words above."""
        if self.a is None or self.b is None:
            return ONLY_B if self.a is None else ONLY_A
        if self.top1 is None:
            return MISSING
        if self.same:
            return SAME
        if not self.top1.resolved:
            return OPEN
        return MORE if self.top1.estimate.center > 0 else LESS


@dataclass(frozen=True)
class Comparison:
    """A setting in both studies; `paired`: whether the recipes agree, so that what a seed does to both may cancel."""

    match: Match
    paired: bool
    variants: list[Compared]
    conditions: dict[str, tuple[Condition | None, Condition | None]]

    @property
    def baseline(self) -> str:
        return self.match.a.baseline

    @property
    def simultaneous(self) -> Difference | None:
        """A difference that has an interval."""
        return next((c.top1 for c in self.variants if c.top1 is not None and c.top1.estimate.low is not None), None)


def compare(a: Source, b: Source, match: Match) -> Comparison:
    """All variants of a setting, those of A first, in the order of the pages."""
    mine, theirs = ({one.variant: one for one in summaries(setting)} for setting in (match.a, match.b))
    known = match.a.recipe is not None and match.b.recipe is not None
    paired = known and not match.recipes
    pairs = [(mine.get(name), theirs.get(name)) for name in dict.fromkeys([*mine, *theirs])]
    models = {
        (match.a.same[one.variant], match.b.same[two.variant])
        for one, two in pairs
        if one is not None and two is not None and min(len(one.seeds), len(two.seeds)) >= FEWEST_SEEDS
    }
    compared = max(1, len(models))
    conditions = {prefix: (chosen(match.a, prefix), chosen(match.b, prefix)) for prefix in KINDS}
    unlike = _unlike(a, b)
    found = []
    for one, two in pairs:
        there = one or two
        assert there is not None
        top1, how = _difference(one, two, paired, compared)
        times = {prefix: _time(one, two, prefix, conditions[prefix], unlike) for prefix in KINDS}
        found.append(Compared(there.variant, there.family, one, two, top1, how, times))
    return Comparison(match, paired, found, conditions)


def _difference(one: Summary | None, two: Summary | None, paired: bool, compared: int) -> tuple[Difference | None, str]:
    """B - A of top-1, paired where the recipes and all seeds agree; None where either has none."""
    if one is None or two is None or not one.seeds or not two.seeds:
        return None, ""
    if paired and one.seeds.keys() == two.seeds.keys():
        return paired_difference(two.seeds, one.seeds, compared), PAIRED
    return welch_difference(list(one.seeds.values()), list(two.seeds.values()), compared), WELCH


def _unlike(a: Source, b: Source) -> str:
    """Why no time of the two studies can be compared; "" where it can."""
    if a.study.baseline != b.study.baseline:
        return BASELINES
    machine = newest(a, "machine")
    return "" if machine and machine == newest(b, "machine") else "the machines differ"


def _time(
    one: Summary | None, two: Summary | None, prefix: str, conditions: Sequence[Condition | None], unlike: str
) -> Time:
    """The time ratios and their change, or why it is not judged."""
    a, b = ((s.training if prefix else s.inference) if s is not None else None for s in (one, two))
    here, there = conditions
    if a is None or b is None or not a.ratio.value or not b.ratio.value or here is None or there is None:
        return Time(a, b, None, False)
    if unlike == BASELINES:
        return Time(a, b, None, False, unlike)
    change = ratio_change(
        *(Estimate(ratio.value or math.nan, ratio.low, ratio.high, ratio.n, 0.95) for ratio in (a.ratio, b.ratio))
    )
    if here.key[: CONDITION.index("cell")] != there.key[: CONDITION.index("cell")]:
        return Time(a, b, change, False, f"timed on {here.words()} in A, on {there.words()} in B")
    if unlike:
        return Time(a, b, change, False, unlike)
    if here.floor is None or there.floor is None:
        return Time(a, b, change, False, "a run has no A/A floor")
    return Time(a, b, change, ratio_resolved(change, here.floor + there.floor))
