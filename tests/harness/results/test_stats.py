"""harness.results.stats against scipy, numbers worked out by hand and seeded simulations."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.results import stats

SA = [91.2, 93.4, 90.1, 94.8, 92.0]
OTHER = [92.1, 94.1, 91.3, 95.9, 92.6]


def by_seed(values):
    return dict(enumerate(values))


def test_mean_interval_is_scipys_one_sample_t_interval():
    got = stats.mean_interval(SA)
    expected = scipy_stats.ttest_1samp(SA, 0).confidence_interval(0.95)
    assert (got.low, got.high) == pytest.approx(tuple(expected), rel=1e-12)
    assert (got.center, got.n, got.confidence) == (pytest.approx(np.mean(SA)), 5, 0.95)


def test_mean_interval_by_hand():
    # 1, 2, 3: mean 2, sd 1 with n - 1 (0.816 with n), standard error 0.57735, t(0.975, 2) = 4.302653
    got = stats.mean_interval([1.0, 2.0, 3.0])
    assert got.low == pytest.approx(2 - 4.302653 * 0.577350, abs=1e-5)
    assert got.high == pytest.approx(2 + 4.302653 * 0.577350, abs=1e-5)


@pytest.mark.parametrize("values", [[90.0], [90.0, 91.0], [90.0, 90.0, 90.0]])
def test_no_interval_below_three_seeds_or_without_spread(values):
    got = stats.mean_interval(values)
    assert got.low is None
    assert got.high is None
    assert got.center == pytest.approx(np.mean(values))
    assert not got.excludes(0)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="at least one value"):
        stats.mean_interval([])
    with pytest.raises(ValueError, match="at least one sample"):
        stats.median_interval([])


def test_t_interval_covers():
    # A normal quantile in place of the t quantile covers 87.8 % at 5 seeds.
    draws = np.random.default_rng(0).normal(90, 1.5, size=(4000, 5))
    hits = sum(not stats.mean_interval(seeds.tolist()).excludes(90) for seeds in draws)
    assert 0.93 < hits / len(draws) < 0.97


def test_paired_difference_is_scipys_paired_t_test():
    got = stats.paired_difference(by_seed(OTHER), by_seed(SA))
    expected = scipy_stats.ttest_rel(OTHER, SA).confidence_interval(0.95)
    assert (got.estimate.low, got.estimate.high) == pytest.approx(tuple(expected), rel=1e-12)
    assert got.resolved


def test_pairing_cancels_what_a_seed_does_to_both():
    # The unpaired interval of the same numbers holds 0 by far: pairing is what resolves this difference.
    unpaired = scipy_stats.ttest_ind(OTHER, SA).confidence_interval(0.95)
    assert unpaired.low < 0 < unpaired.high
    assert stats.paired_difference(by_seed(OTHER), by_seed(SA)).resolved


def test_pairs_are_made_by_seed_and_not_by_position():
    shuffled = {4: OTHER[4], 2: OTHER[2], 0: OTHER[0], 1: OTHER[1], 3: OTHER[3]}
    got = stats.paired_difference(shuffled, by_seed(SA))
    assert got.estimate.low == pytest.approx(stats.paired_difference(by_seed(OTHER), by_seed(SA)).estimate.low)


def test_only_common_seeds_count():
    got = stats.paired_difference({0: 91.0, 1: 92.0, 9: 50.0}, {0: 90.0, 1: 90.0, 8: 10.0})
    assert (got.estimate.center, got.estimate.n, got.estimate.low) == (pytest.approx(1.5), 2, None)
    assert not got.resolved
    assert stats.paired_difference({0: 1.0}, {1: 1.0}) is None


def test_simultaneous_interval_is_bonferronis():
    one = stats.paired_difference(by_seed(OTHER), by_seed(SA), compared=1).estimate
    ten = stats.paired_difference(by_seed(OTHER), by_seed(SA), compared=10).estimate
    assert ten.confidence == pytest.approx(0.995)
    assert (ten.high - ten.low) / (one.high - one.low) == pytest.approx(
        scipy_stats.t.ppf(0.9975, 4) / scipy_stats.t.ppf(0.975, 4)
    )


def test_simultaneous_intervals_hold_together():
    # 6 variants without any effect share a baseline: all six intervals hold 0 in at least 95 % of studies, while
    # uncorrected ones do so in about 80 %.
    generator, together, alone = np.random.default_rng(1), 0, 0
    for _ in range(250):
        baseline = by_seed(generator.normal(size=5))
        variants = [by_seed(generator.normal(size=5)) for _ in range(6)]
        together += not any(stats.paired_difference(v, baseline, 6).resolved for v in variants)
        alone += not any(stats.paired_difference(v, baseline, 1).resolved for v in variants)
    assert together / 250 > 0.93
    assert alone / 250 < 0.90


# difference, sd, comparisons: sd of digits and of Fashion-MNIST with 540 images, and one that few seeds settle
PLANNED = [(0.5, 1.04, 35), (0.3, 0.26, 12), (2.0, 0.8, 1), (1.0, 1.0, 28)]


@pytest.mark.parametrize(("difference", "sd", "compared"), PLANNED)
def test_the_seeds_that_are_planned_resolve_it_in_80_percent_of_studies(difference, sd, compared):
    level = stats.simultaneous_confidence(compared)
    total = stats.seeds_for_power(difference, sd, 3, level)
    generator, shares = np.random.default_rng(7), {}
    for seeds in (total, total - 1):
        draws = generator.normal(difference, sd, size=(20_000, seeds))
        half = scipy_stats.t.ppf((1 + level) / 2, seeds - 1) * draws.std(axis=1, ddof=1) / math.sqrt(seeds)
        shares[seeds] = float((draws.mean(axis=1) - half > 0).mean())
        assert stats.power(difference, sd, seeds, level) == pytest.approx(shares[seeds], abs=0.01)
    assert shares[total] > 0.79
    assert shares[total - 1] < 0.81
    assert stats.power(difference, sd, total - 1, level) < 0.8 <= stats.power(difference, sd, total, level)


def test_what_only_reaches_the_interval_with_the_numbers_as_they_are_is_even_odds():
    # The planted error: seeds until the half width falls below the difference. A study of so many is a coin's throw.
    difference, sd, level = 0.5, 1.04, stats.simultaneous_confidence(35)
    even = next(n for n in range(3, 1000) if scipy_stats.t.ppf((1 + level) / 2, n - 1) * sd / math.sqrt(n) < difference)
    assert 0.4 < stats.power(difference, sd, even, level) < 0.6
    assert stats.seeds_for_power(difference, sd, 5, level) > even + 10


def test_the_planned_seeds_are_those_of_the_noncentral_t():
    assert stats.seeds_for_power(0.5, 1.04, 8, stats.simultaneous_confidence(35)) == 76  # worked out with other code
    for difference, sd, compared in PLANNED:
        level = stats.simultaneous_confidence(compared)
        shift = difference / sd * math.sqrt(9)
        expected = scipy_stats.nct.sf(scipy_stats.t.ppf((1 + level) / 2, 8), 8, shift)
        assert stats.power(-difference, sd, 9, level) == pytest.approx(float(expected), abs=1e-9)
    assert stats.power(1000.0, 1.0, 37, 0.9999) == 1.0


def test_no_seeds_are_planned_where_nothing_can_be_said():
    assert stats.seeds_for_power(1.0, 0.5, 2, 0.95) is None
    assert stats.seeds_for_power(0.0, 0.5, 5, 0.95) is None
    assert stats.seeds_for_power(1.0, 0.0, 5, 0.95) is None
    assert stats.seeds_for_power(1.0, None, 5, 0.95) is None
    assert stats.seeds_for_power(100.0, 0.5, 5, 0.95) == 3
    assert stats.seeds_for_power(1e-6, 0.5, 5, 0.95) == math.inf


def test_an_open_difference_is_planned_with_its_own_level_and_more_seeds_than_it_has():
    values = [0.9, -0.4, 1.1, 0.2]
    for compared in (1, 28):
        got = stats.paired_difference(by_seed(values), by_seed([0.0] * 4), compared)
        level = stats.simultaneous_confidence(compared)
        assert not got.resolved
        assert got.seeds_for_power == stats.seeds_for_power(np.mean(values), np.std(values, ddof=1), 4, level) > 4


def test_an_interval_of_a_share_never_passes_its_ends():
    high, low = [99.0, 99.5, 100.0], [0.0, 0.2, 1.5]
    assert stats.mean_interval(high).high > 100, "the planted error: the t interval alone"
    assert stats.mean_interval(low).low < 0
    got = [stats.mean_interval(values, within=(0.0, 100.0)) for values in (high, low)]
    assert (got[0].high, got[1].low) == (100.0, 0.0)
    assert (got[0].low, got[1].high) == (stats.mean_interval(high).low, stats.mean_interval(low).high)
    assert stats.mean_interval(SA, within=(0.0, 100.0)) == stats.mean_interval(SA)


def test_a_cut_interval_covers_as_often_as_the_whole_one():
    draws = np.clip(np.random.default_rng(8).normal(99.0, 1.0, size=(2000, 5)), None, 100.0)
    true = float(np.clip(np.random.default_rng(9).normal(99.0, 1.0, size=400_000), None, 100.0).mean())
    cut, whole = (
        [not stats.mean_interval(seeds.tolist(), within=within).excludes(true) for seeds in draws]
        for within in ((0.0, 100.0), stats.UNBOUNDED)
    )
    assert cut == whole


def test_median_interval_holds_the_median_and_is_the_same_every_time():
    rounds = np.random.default_rng(3).lognormal(0.05, 0.03, size=31).tolist()
    one, two = stats.median_interval(rounds), stats.median_interval(rounds)
    assert one == two
    assert one.low < np.median(rounds) == one.center < one.high
    assert one.low in rounds  # 31 rounds: a resample's median is one of them, a mean would not be


def test_median_interval_covers_and_ignores_an_outlier():
    generator, hits = np.random.default_rng(4), 0
    for _ in range(150):
        hits += not stats.median_interval(generator.lognormal(0, 0.05, size=25).tolist()).excludes(1.0)
    assert 0.89 < hits / 150 <= 1.0
    rounds = [1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.01, 0.99, 1.0, 40.0]
    assert stats.median_interval(rounds).high < 1.1  # the interval of a mean would reach beyond 5


def test_no_median_interval_below_three_rounds():
    assert stats.median_interval([1.0, 1.2]).low is None


def estimate(center, low, high):
    return stats.Estimate(center, low, high, 15, 0.95)


def test_aa_floor_is_the_far_end_of_the_interval():
    assert stats.aa_floor(estimate(0.999, 0.97, 1.01)) == pytest.approx(0.03)  # the near end would say 0.01
    assert stats.aa_floor(estimate(1.0, None, None)) is None


@pytest.mark.parametrize(
    ("ratio", "floor", "resolved"),
    [
        (estimate(1.10, 1.08, 1.12), 0.02, True),
        (estimate(0.80, 0.78, 0.82), 0.02, True),  # faster counts too
        (estimate(1.01, 1.005, 1.015), 0.02, False),  # below the floor
        (estimate(0.99, 0.985, 0.995), 0.02, False),
        (estimate(1.10, 0.98, 1.20), 0.02, False),  # holds 1
        (estimate(1.10, 1.08, 1.12), None, False),  # no floor, no claim
        (estimate(1.10, None, None), 0.02, False),
    ],
)
def test_a_ratio_is_resolved_against_the_floor(ratio, floor, resolved):
    assert stats.ratio_resolved(ratio, floor) is resolved


def test_pareto_front_by_hand():
    accuracy, cost = [90, 92, 91, 95, 95, 80], [1, 2, 3, 4, 5, 1]
    assert stats.pareto_front(accuracy, cost) == [0, 1, 3]  # 4 costs more than 3 for the same; 5 is beaten by 0
    assert stats.pareto_front([1, 1], [2, 2]) == [0, 1]  # equal points do not beat each other
    assert stats.pareto_front([], []) == []


def test_pareto_front_agrees_with_its_definition():
    generator = np.random.default_rng(5)
    points = generator.integers(0, 6, size=(60, 2))
    front = set(stats.pareto_front(points[:, 0].tolist(), points[:, 1].tolist()))
    for index, (gain, price) in enumerate(points):
        better = ((points[:, 0] >= gain) & (points[:, 1] <= price)).sum() - (points == (gain, price)).all(axis=1).sum()
        assert (better == 0) == (index in front)


FIRST = {
    "at the target": ({1: 80.0, 2: 90.0, 3: 95.0}, 90.0, 2),
    "between two": ({1: 80.0, 2: 90.0, 3: 95.0}, 85.0, 2),
    "falls below again": ({5: 91.0, 6: 89.0, 7: 92.0}, 90.0, 5),
    "not in order": ({3: 95.0, 1: 80.0, 2: 94.0}, 90.0, 2),
    "never": ({1: 80.0, 2: 90.0}, 90.01, None),
    "a share in float32": ({1: 94.99999880790710, 2: 99.0}, 95.0, 1),  # 342 of 360 images
    "nothing": ({}, 90.0, None),
}


def meets_the_known_first_epochs(first):
    return all(first(by_epoch, target) == expected for by_epoch, target, expected in FIRST.values())


FIRST_MUTANTS = {
    "above only": lambda e, t: min((k for k, v in e.items() if v > t + 1e-3), default=None),
    "no hair": lambda e, t: min((k for k, v in e.items() if v >= t), default=None),
    "the epoch after": lambda e, t: min((k + 1 for k, v in e.items() if v >= t - 1e-4), default=None),
    "the last": lambda e, t: max((k for k, v in e.items() if v >= t - 1e-4), default=None),
    "in the order given": lambda e, t: next((k for k, v in e.items() if v >= t - 1e-4), None),
}


def test_the_first_epoch_at_or_above_a_target():
    assert meets_the_known_first_epochs(stats.first_at_least)
    assert [name for name, mutant in FIRST_MUTANTS.items() if meets_the_known_first_epochs(mutant)] == []


@pytest.mark.parametrize(
    ("best", "expected"),
    [(97.1, [90, 95]), (95.0, [90, 95]), (94.99999, [90, 95]), (94.9, [85, 90]), (100, [95, 100]), (7, [5]), (4.9, [])],
)
def test_targets_are_the_two_largest_multiples_of_five(best, expected):
    assert stats.round_targets(best) == expected


# ---- two samples, p values, probability of improvement, images


def test_the_p_value_is_scipys_paired_t_test():
    got = stats.paired_difference(by_seed(OTHER), by_seed(SA))
    assert got.p == pytest.approx(scipy_stats.ttest_rel(OTHER, SA).pvalue, rel=1e-12)
    assert stats.paired_difference(by_seed([1.0, 2.0]), by_seed([2.0, 1.0])).p is None  # two seeds give no interval


def test_the_p_value_and_the_interval_agree_on_what_is_resolved():
    generator = np.random.default_rng(8)
    for _ in range(200):
        got = stats.paired_difference(by_seed(generator.normal(0.8, 1, 4)), by_seed(np.zeros(4)))
        assert (got.p < 0.05) == got.resolved


def test_welchs_difference_is_scipys():
    longer = [*OTHER, 99.0]
    got = stats.welch_difference(SA, longer, compared=3)
    test = scipy_stats.ttest_ind(longer, SA, equal_var=False)
    expected = test.confidence_interval(1 - 0.05 / 3)
    assert (got.estimate.low, got.estimate.high) == pytest.approx(tuple(expected), rel=1e-9)
    assert (got.p, got.df) == pytest.approx((test.pvalue, test.df), rel=1e-9)
    pooled = scipy_stats.ttest_ind(longer, SA).confidence_interval(1 - 0.05 / 3)
    assert got.estimate.low != pytest.approx(pooled.low, rel=1e-3)  # Student's equal variances are another interval


def test_a_difference_can_be_turned_round():
    by_seed, base = dict(enumerate(OTHER)), dict(enumerate(SA))
    one, other = stats.paired_difference(by_seed, base), stats.paired_difference(base, by_seed)
    assert replace(one.reversed, seeds_for_power=None) == replace(other, seeds_for_power=None)
    assert replace(one, verdict="better").reversed.verdict == "worse"
    assert replace(one, verdict="equal").reversed.verdict == "equal"
    short = stats.paired_difference({0: 1.0, 1: 3.0}, {0: 0.0, 1: 0.0}).reversed.estimate
    assert (short.center, short.low, short.high) == (-2.0, None, None)


@pytest.mark.filterwarnings("error")
def test_welchs_difference_where_there_is_little_to_go_by():
    assert stats.welch_difference([], [1.0]) is None
    assert stats.welch_difference([1.0, 2.0], [1.0, 2.0, 3.0]).estimate.low is None
    assert stats.welch_difference([1.0] * 3, [2.0] * 3).estimate.low is None
    one_sided = stats.welch_difference([1.0] * 3, [2.0, 2.1, 2.2])
    alone = scipy_stats.ttest_1samp([2.0, 2.1, 2.2], 1.0)  # without spread there, it is a test against a constant
    assert one_sided.p == pytest.approx(alone.pvalue, rel=1e-9)


def test_welchs_difference_keeps_its_promise_where_spreads_differ():
    # No difference at all, three seeds that vary and nine that hardly do: one variance for both is wrong far too often.
    generator, welch, pooled = np.random.default_rng(15), 0, 0
    for _ in range(400):
        one, two = generator.normal(90, 2, 3), generator.normal(90, 0.4, 9)
        welch += stats.welch_difference(one.tolist(), two.tolist()).resolved
        pooled += scipy_stats.ttest_ind(two, one).pvalue < 0.05
    assert welch / 400 < 0.09 < 0.15 < pooled / 400


@cache
@pytest.mark.parametrize(
    ("sd", "seeds", "compared", "known"), [(1.04, 8, 35, 2.3), (5.2, 5, 28, 21.0), (0.26, 5, 12, 0.87)]
)
def test_the_detectable_difference_is_the_one_with_80_percent_power(sd, seeds, compared, known):
    level = stats.simultaneous_confidence(compared)
    half = scipy_stats.t.ppf((1 + level) / 2, seeds - 1) * sd / math.sqrt(seeds)
    one = stats.Difference(stats.Estimate(0.1, 0.1 - half, 0.1 + half, seeds, level), sd, None, df=seeds - 1)
    found = stats.detectable(one)
    assert found == pytest.approx(known, rel=0.04), "worked out with other code"
    assert stats.power(found, sd, seeds, level) == pytest.approx(0.8)
    assert stats.power(0.9 * found, sd, seeds, level) < 0.79, "the planted error"
    assert stats.detectable(stats.Difference(stats.Estimate(0.1, None, None, 2, level), sd, None)) is None


def knows_the_probability_of_improvement(improvement):
    """Against a count over all pairs of runs, and statsmodels' Clopper-Pearson interval over the paired ones."""
    from statsmodels.stats.proportion import proportion_confint

    generator = np.random.default_rng(11)
    for size in (1, 2, 3, 5, 8):
        mine, theirs = (by_seed(generator.integers(0, 5, size).tolist()) for _ in range(2))
        theirs |= {99: 2.0}  # a seed that the variant lacks counts among all runs alone
        got = improvement(mine, theirs)
        pairs = [(a > b) + 0.5 * (a == b) for a in mine.values() for b in theirs.values()]
        won = sum(mine[seed] > theirs[seed] for seed in mine)
        tied = sum(mine[seed] == theirs[seed] for seed in mine)
        low = proportion_confint(won, size, method="beta")[0]
        high = proportion_confint(won + tied, size, method="beta")[1]
        right = np.isclose([got.any_runs, got.pairs.center], [np.mean(pairs), (won + tied / 2) / size]).all()
        if not (right and np.allclose([got.pairs.low, got.pairs.high], [low, high])):
            return False
    return True


def mutant(**changes):
    """An improvement with planted errors."""

    def improvement(mine, theirs):
        got = stats.probability_of_improvement(mine, theirs)
        if "swapped" in changes:
            return stats.Improvement(got.pairs, 1 - got.any_runs)
        if "ties" in changes:
            won = np.mean([a > b for a in mine.values() for b in theirs.values()])
            return stats.Improvement(got.pairs, won)
        if "paired" in changes:
            return stats.Improvement(got.pairs, got.pairs.center)
        wald = scipy_stats.norm.interval(0.95, got.pairs.center, 0.5 / math.sqrt(got.pairs.n))
        return stats.Improvement(stats.Estimate(got.pairs.center, *wald, got.pairs.n, 0.95), got.any_runs)

    return improvement


def test_the_probability_of_improvement_is_rliables_and_its_interval_exact():
    assert knows_the_probability_of_improvement(stats.probability_of_improvement)
    for error in ("swapped", "ties", "paired", "wald"):
        assert not knows_the_probability_of_improvement(mutant(**{error: True})), error
    assert stats.probability_of_improvement({0: 1.0}, {1: 1.0}) is None
    five = stats.probability_of_improvement(by_seed(OTHER), by_seed(SA)).pairs
    assert (five.center, five.low, five.high) == (1.0, pytest.approx(0.025**0.2), 1.0)  # five of five: 48 % and up


def test_a_normal_quantile_in_place_of_the_t_quantile_does_not_cover():
    def normal(values):
        half = scipy_stats.norm.ppf(0.975) * np.std(values, ddof=1) / math.sqrt(len(values))
        return stats.Estimate(0.0, np.mean(values) - half, np.mean(values) + half, len(values), 0.95)

    draws = np.random.default_rng(0).normal(90, 1.5, size=(1000, 5))
    assert sum(not normal(seeds).excludes(90) for seeds in draws) / len(draws) < 0.90
