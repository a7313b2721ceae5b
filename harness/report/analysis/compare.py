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

from harness.report.analysis.quantity import Quantity
from harness.report.analysis.summary import Summary, summaries
from harness.report.analysis.timing import CONDITION, Condition, Speed, chosen
from harness.report.study.matched import Match
from harness.report.study.source import Side
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
ONLY_A, ONLY_B = "only in A", "only in B"
KINDS = {"": "inference", "train_": "training"}


@dataclass(frozen=True)
class Time:
    """A time ratio in A and in B, and the change B / A; `reason` says why it is not judged."""

    a: Speed | None
    b: Speed | None
    change: Estimate | None
    resolved: bool
    reason: str = ""


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


def compare(a: Side, b: Side, match: Match) -> Comparison:
    """All variants of a setting, those of A first, in the order of the pages."""
    mine, theirs = ({one.variant: one for one in summaries(setting)} for setting in (match.a, match.b))
    known = match.a.recipe is not None and match.b.recipe is not None
    paired = known and not match.recipes
    pairs = [(mine.get(name), theirs.get(name)) for name in dict.fromkeys([*mine, *theirs])]
    counted = max(1, sum(_few(one) >= FEWEST_SEEDS and _few(two) >= FEWEST_SEEDS for one, two in pairs))
    conditions = {prefix: (chosen(match.a, prefix), chosen(match.b, prefix)) for prefix in KINDS}
    alike = _same_machine(a, b), a.study.baseline == b.study.baseline
    found = []
    for one, two in pairs:
        top1, how = _difference(one, two, paired, counted)
        there = one or two
        assert there is not None
        times = {prefix: _time(one, two, prefix, conditions[prefix], *alike) for prefix in KINDS}
        found.append(Compared(there.variant, there.family, one, two, top1, how, times))
    return Comparison(match, paired, found, conditions)


def _few(summary: Summary | None) -> int:
    return 0 if summary is None else len(summary.seeds)


def _difference(one: Summary | None, two: Summary | None, paired: bool, compared: int) -> tuple[Difference | None, str]:
    """B - A of top-1, paired where the recipes and all seeds agree; None where either has none."""
    if one is None or two is None or not one.seeds or not two.seeds:
        return None, ""
    if paired and one.seeds.keys() == two.seeds.keys():
        return paired_difference(two.seeds, one.seeds, compared), PAIRED
    return welch_difference(list(one.seeds.values()), list(two.seeds.values()), compared), WELCH


def _time(
    one: Summary | None, two: Summary | None, prefix: str, conditions: Sequence[Condition | None],
    same_machine: bool, same_baseline: bool,
) -> Time:  # fmt: skip
    """The time ratios and their change, or why it is not judged."""
    a, b = ((s.training if prefix else s.inference) if s is not None else None for s in (one, two))
    ratios = [speed.ratio if speed is not None else Quantity() for speed in (a, b)]
    here, there = conditions
    if not ratios[0].value or not ratios[1].value or here is None or there is None:
        return Time(a, b, None, False)
    if not same_baseline:
        return Time(a, b, None, False, "the baselines differ")
    change = ratio_change(*(_estimate(ratio) for ratio in ratios))
    if here.key[: CONDITION.index("cell")] != there.key[: CONDITION.index("cell")]:
        return Time(a, b, change, False, f"timed on {here.words()} in A, on {there.words()} in B")
    if not same_machine:
        return Time(a, b, change, False, "the machines differ")
    if here.floor is None or there.floor is None:
        return Time(a, b, change, False, "a run has no A/A floor")
    return Time(a, b, change, ratio_resolved(change, here.floor + there.floor))


def _estimate(ratio: Quantity) -> Estimate:
    return Estimate(ratio.value if ratio.value is not None else math.nan, ratio.low, ratio.high, ratio.n, 0.95)


def _same_machine(a: Side, b: Side) -> bool:
    """Whether the newest rows of both name the same machine."""
    newest = [[cell for cell in side.study.rows["machine"] if isinstance(cell, dict)][-1:] for side in (a, b)]
    return bool(newest[0]) and newest[0] == newest[1]
