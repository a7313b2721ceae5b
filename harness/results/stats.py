"""How sure a figure is: t intervals over seeds, bootstrap intervals over rounds, what is resolved.

Seeds are few, so their intervals come from Student's t and do not exist below 3 seeds (at 2 seeds the t factor is 12.7;
a percentile bootstrap over 5 seeds covers 83 %, not 95 %). Timing rounds are many and skewed, so their median is
bootstrapped. Test images are in crossed.py. Several variants share a baseline: their intervals are simultaneous
(Bonferroni), and their verdicts are in family.py. Nothing here knows about rows, pages or units: values go in as they
are, and come out in the same unit.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy import optimize, special, stats

FEWEST_SEEDS = 3  # below, no interval is formed
POWER = 0.8  # that a number of seeds is planned for
UNBOUNDED = (-math.inf, math.inf)
MOST_SEEDS = 1000  # a question that needs more than this is answered "more than 1000", math.inf here
Seed = TypeVar("Seed", bound=Hashable)
HAIR = 1e-4  # percentage points: a share of n images kept in float32 may lie so far below what it stands for
BETTER, WORSE, EQUAL, UNDETERMINED = "better", "worse", "equal", "undetermined"
RESAMPLES = 2000  # of the bootstrap: the ends of a 95 % percentile interval rest on 50 resamples each


@dataclass(frozen=True)
class Estimate:
    """A centre with its two-sided interval, in the unit of the values; no interval is `low = high = None`."""

    center: float
    low: float | None
    high: float | None
    n: int
    confidence: float

    def excludes(self, value: float) -> bool:
        """Whether there is an interval and it leaves `value` out."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


@dataclass(frozen=True)
class Difference:
    """A mean difference, to the baseline seed by seed, or between two samples.

    sd: that of the paired differences (n - 1), None for a single pair and for two samples. seeds_for_power: how many
    seeds a difference of delta wants in all, one of this size where there is no delta. p: two-sided, of this test
    alone, None where there is no interval. df: its degrees of freedom. In a family (family.py) also p of "no
    difference" and of "not equal" adjusted for all of it, the verdict, and whether the arm kept its own variance.
    """

    estimate: Estimate
    sd: float | None
    seeds_for_power: int | float | None
    p: float | None = None
    adjusted: float | None = None
    adjusted_equal: float | None = None
    verdict: str = ""
    own: bool = False
    df: float | None = None

    @property
    def resolved(self) -> bool:
        """Whether it is told from 0: by the family's verdict; outside a family, by an interval that leaves 0 out."""
        return self.verdict in (BETTER, WORSE) if self.verdict else self.estimate.excludes(0.0)

    @property
    def equal(self) -> bool:
        """Whether it is told to lie within delta."""
        return self.verdict == EQUAL

    @property
    def reversed(self) -> Difference:
        """The same of the other order: the baseline minus the variant."""
        one = self.estimate
        low, high = (None if one.high is None else -one.high), (None if one.low is None else -one.low)
        turned = {BETTER: WORSE, WORSE: BETTER}.get(self.verdict, self.verdict)
        return replace(self, estimate=replace(one, center=-one.center, low=low, high=high), verdict=turned)


@dataclass(frozen=True)
class Improvement:
    """How often the variant is better: `pairs` between the two runs of a seed, `any_runs` between any two runs."""

    pairs: Estimate
    any_runs: float


def spread(values: np.ndarray) -> float | None:
    """Sample standard deviation; None for fewer than 2 values or beyond floats.

    What rounding leaves of equal values counts as 0.
    """
    if values.size < 2:
        return None
    with np.errstate(over="ignore"):  # values beyond 1e154 have no spread that a float holds
        sd = float(values.std(ddof=1))
    if not math.isfinite(sd):
        return None
    return 0.0 if sd <= 1e-12 * max(1.0, float(np.abs(values).max())) else sd


def mean_interval(
    values: Sequence[float], confidence: float = 0.95, within: tuple[float, float] = UNBOUNDED
) -> Estimate:
    """Mean and two-sided t interval over seeds.

    No interval below 3 values, nor where all values are equal: an interval of width 0 would claim certainty that a
    handful of seeds cannot give. within: what a mean can be; the interval is cut there. A cut drops only what cannot be
    true, so it covers as often as before, and all other intervals stay as they are; a logit scale would move every
    interval, and has none where a seed is at 0 or 100 %. Raises ValueError for no values at all.
    """
    array = np.asarray(values, dtype=float)
    if array.size == 0:
        raise ValueError("a mean needs at least one value")
    mean, sd = float(array.mean()), spread(array)
    if array.size < FEWEST_SEEDS or not sd:
        return Estimate(mean, None, None, array.size, confidence)
    half = float(special.stdtrit(array.size - 1, (1 + confidence) / 2)) * sd / math.sqrt(array.size)
    return Estimate(mean, max(mean - half, within[0]), min(mean + half, within[1]), array.size, confidence)


def simultaneous_confidence(compared: int, confidence: float = 0.95) -> float:
    """Bonferroni: the confidence 1 - (1 - confidence) / m at which m intervals hold all together with `confidence`."""
    return 1 - (1 - confidence) / max(1, compared)


def paired_difference(
    variant: Mapping[Seed, float], baseline: Mapping[Seed, float], compared: int = 1
) -> Difference | None:
    """Mean of variant minus baseline over the seeds both have, None where they share none.

    The t interval is on the differences, seed by seed, so what a seed does to both cancels. It is simultaneous over the
    `compared` variants: its confidence is 1 - 0.05 / compared (Bonferroni), so that all of them hold together with 95
    %.
    """
    seeds = [seed for seed in variant if seed in baseline]
    if not seeds:
        return None
    values = np.array([variant[seed] - baseline[seed] for seed in seeds], dtype=float)
    estimate = mean_interval(values.tolist(), simultaneous_confidence(compared))
    sd = spread(values)
    p = None
    if estimate.low is not None and sd:
        p = float(2 * special.stdtr(values.size - 1, -abs(estimate.center) * math.sqrt(values.size) / sd))
    wanted = seeds_for_power(estimate.center, sd, values.size, estimate.confidence)
    return Difference(estimate, sd, wanted, p, df=values.size - 1.0)


def welch_difference(one: Sequence[float], two: Sequence[float], compared: int = 1) -> Difference | None:
    """Mean of `two` minus mean of `one`, samples that share no seeds and need not be equally spread.

    Welch's t interval, simultaneous over the `compared`; none where either sample is smaller than 3 or neither has a
    spread. None where a sample is empty.
    """
    if not one or not two:
        return None
    center, level, n = float(np.mean(two) - np.mean(one)), simultaneous_confidence(compared), min(len(one), len(two))
    spreads = [spread(np.asarray(values, dtype=float)) for values in (one, two)]
    if n < FEWEST_SEEDS or None in spreads or not any(spreads):
        return Difference(Estimate(center, None, None, n, level), None, None)
    # scipy's ttest_ind warns where one of the two has no spread, so it is the tests' oracle and not called here
    parts = [(sd or 0.0) ** 2 / len(values) for sd, values in zip(spreads, (one, two), strict=True)]
    error = math.sqrt(sum(parts))
    df = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (one, two), strict=True))
    half = float(special.stdtrit(df, (1 + level) / 2)) * error
    estimate = Estimate(center, center - half, center + half, n, level)
    return Difference(estimate, None, None, float(2 * special.stdtr(df, -abs(center) / error)), df=df)


def probability_of_improvement(variant: Mapping[Seed, float], baseline: Mapping[Seed, float]) -> Improvement | None:
    """P(variant > baseline), a tie being half a win; None where they share no seed.

    `any_runs` is rliable's (arXiv 2108.13264): over all pairs of a run here and a run there, U / (n m) of Mann and
    Whitney. `pairs` is over the seeds both have, with the exact interval of Clopper and Pearson, which a few seeds do
    not make narrower than they can; a tie counts against the variant at its low end and for it at its high end.
    """
    seeds = [seed for seed in variant if seed in baseline]
    if not seeds:
        return None
    won = sum(variant[seed] > baseline[seed] for seed in seeds)
    tied = sum(variant[seed] == baseline[seed] for seed in seeds)
    low, high = (stats.binomtest(k, len(seeds)).proportion_ci(0.95, "exact") for k in (won, won + tied))
    pairs = Estimate((won + tied / 2) / len(seeds), float(low.low), float(high.high), len(seeds), 0.95)
    runs, others = list(variant.values()), list(baseline.values())
    u = float(stats.mannwhitneyu(runs, others, method="asymptotic").statistic)  # the statistic alone: no p is read
    return Improvement(pairs, u / (len(runs) * len(others)))


def seeds_for_power(difference: float, sd: float | None, n: int, confidence: float) -> int | float | None:
    """The fewest seeds, those at hand included, that resolve a true difference of this size in `POWER` of studies.

    By the noncentral t of the paired test at the interval's own level: `confidence` is simultaneous where that is. It
    counts what is resolved on the right side of 0. The size and the spread are what was seen, so it is a plan for a
    difference as large as this one, no promise that it is. None below 3 seeds, at a difference of 0 or without spread,
    where nothing can be said; math.inf above `MOST_SEEDS`.
    """
    if n < FEWEST_SEEDS or not sd or difference == 0:
        return None
    if power(difference, sd, MOST_SEEDS, confidence) < POWER:
        return math.inf
    totals = range(FEWEST_SEEDS, MOST_SEEDS + 1)
    return totals[bisect_left(totals, POWER, key=lambda total: power(difference, sd, total, confidence))]


def power(difference: float, sd: float, seeds: int, confidence: float) -> float:
    """How often so many paired seeds resolve a true difference on its side of 0, at the interval's `confidence`."""
    return power_of(abs(difference) / sd * math.sqrt(seeds), seeds - 1, confidence)


def power_of(shift: float, df: float, confidence: float) -> float:
    """The same of a true difference that is `shift` standard errors large."""
    missed = float(special.nctdtr(df, shift, special.stdtrit(df, (1 + confidence) / 2)))
    return 1.0 if math.isnan(missed) else 1.0 - missed  # it is NaN where the shift is many times the limit


def detectable(difference: Difference) -> float | None:
    """The true difference that a study like this one resolves in `POWER` of cases; None where it has no interval."""
    one = difference.estimate
    if one.low is None or one.high is None or difference.df is None:
        return None
    limit = float(special.stdtrit(difference.df, (1 + one.confidence) / 2))
    shift = optimize.brentq(lambda shift: power_of(shift, difference.df, one.confidence) - POWER, 0.0, 4 * limit)
    return float(shift) * (one.high - one.low) / 2 / limit


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Median over timing rounds and its percentile bootstrap interval, from a fixed generator: a page stays the same.

    No interval below 3 rounds. Raises ValueError for no samples at all.
    """
    array = np.asarray(samples, dtype=float)
    if array.size == 0:
        raise ValueError("a median needs at least one sample")
    median = float(np.median(array))
    if array.size < FEWEST_SEEDS:
        return Estimate(median, None, None, array.size, confidence)
    found = stats.bootstrap(
        (array,), np.median, confidence_level=confidence, n_resamples=RESAMPLES, method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return Estimate(median, float(found.low), float(found.high), array.size, confidence)


def aa_floor(aa: Estimate) -> float | None:
    """The largest |ratio - 1| that the baseline shows against itself: over the ends of the A/A interval.

    None where the A/A ratio has no interval: then the run cannot tell noise from a difference.
    """
    if aa.low is None or aa.high is None:
        return None
    return max(abs(aa.low - 1), abs(aa.high - 1))


def ratio_resolved(ratio: Estimate, floor: float | None) -> bool:
    """Whether a time ratio differs from 1: its interval leaves 1 out and the difference is above the A/A floor."""
    return floor is not None and ratio.excludes(1.0) and abs(ratio.center - 1) > floor


def ratio_change(one: Estimate, two: Estimate) -> Estimate:
    """`two` over `one`, ratios above 0 that were found apart; their intervals are joined in quadrature, in logarithms.

    No interval where either has none.
    """
    center = two.center / one.center
    ends = (one.low, one.high, two.low, two.high)
    if one.low is None or one.high is None or two.low is None or two.high is None or min(e or 0.0 for e in ends) <= 0:
        return Estimate(center, None, None, min(one.n, two.n), one.confidence)
    low = math.hypot(math.log(two.center / two.low), math.log(one.high / one.center))
    high = math.hypot(math.log(two.high / two.center), math.log(one.center / one.low))
    return Estimate(center, center * math.exp(-low), center * math.exp(high), min(one.n, two.n), one.confidence)


def pareto_front(accuracy: Sequence[float], cost: Sequence[float]) -> list[int]:
    """Indices of the points that no other point beats (accuracy at least as high, cost at most as high, one strictly).

    By growing cost; equal points are all kept.
    """
    points = list(zip(accuracy, cost, strict=True))
    front = [
        index
        for index, (gain, price) in enumerate(points)
        if not any(g >= gain and p <= price and (g > gain or p < price) for g, p in points)
    ]
    return sorted(front, key=lambda index: (points[index][1], points[index][0]))


def first_at_least(by_epoch: Mapping[int, float], target: float) -> int | None:
    """The first epoch at which a percentage is at `target` or above, whatever follows; None where it never is."""
    return min((epoch for epoch, value in by_epoch.items() if value >= target - HAIR), default=None)


def round_targets(best: float, step: float = 5.0, most: int = 2) -> list[float]:
    """The largest multiples of `step` above 0 that a percentage of `best` reaches, at most `most`, by growing size."""
    steps = math.floor((best + HAIR) / step)
    return [step * number for number in range(max(1, steps - most + 1), steps + 1)]
