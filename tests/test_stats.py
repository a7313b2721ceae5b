"""harness.stats against scipy, numbers worked out by hand and seeded simulations."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness import stats

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


def test_more_seeds_is_the_first_total_that_settles():
    difference, sd, n, confidence = 0.5, 0.9, 4, 0.99
    more = stats.more_seeds(difference, sd, n, confidence)

    def half(total):
        return scipy_stats.t.ppf(0.995, total - 1) * sd / math.sqrt(total)

    assert half(n + more) < difference <= half(n + more - 1)


def test_more_seeds_where_nothing_can_be_said_or_nothing_is_left_to_do():
    assert stats.more_seeds(1.0, 0.5, 2, 0.95) is None
    assert stats.more_seeds(0.0, 0.5, 5, 0.95) is None
    assert stats.more_seeds(1.0, 0.0, 5, 0.95) is None
    assert stats.more_seeds(1.0, None, 5, 0.95) is None
    assert stats.more_seeds(100.0, 0.5, 5, 0.95) == 0
    assert stats.more_seeds(1e-6, 0.5, 5, 0.95) == math.inf


def test_more_seeds_settle_it_where_the_numbers_stay_as_they_are():
    values = [0.9, -0.4, 1.1, 0.2]
    more = stats.paired_difference(by_seed(values), by_seed([0.0] * 4)).more_seeds
    total = len(values) + more
    shape = np.resize(values, total) - np.resize(values, total).mean()
    same = shape / shape.std(ddof=1) * np.std(values, ddof=1) + np.mean(values)
    assert stats.paired_difference(by_seed(same), by_seed([0.0] * total)).resolved
    assert not stats.paired_difference(by_seed(values), by_seed([0.0] * 4)).resolved


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
