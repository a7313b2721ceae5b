"""The verdicts of a family: their error rates by simulation, by hand, and with rules that must not pass."""

import numpy as np
import pytest
from scipy import stats

from harness.results import moderated as module
from harness.results.family import Rule, adjust, contrasts, p_values, verdicts
from harness.results.moderated import FEWEST_ARMS, moderated, shared_noise
from harness.results.stats import BETTER, EQUAL, UNDETERMINED, WORSE

DELTA = 0.5
ALONE = "all at delta, with no noise of the baseline"
SIZES = [(arms, seeds) for arms in (4, 12, 30) for seeds in (3, 5, 8)]
SPREADS = (0.15, 0.35, 1.0)  # sds of an arm and of the baseline, points: equality is easy, in the balance, hopeless


def studies(scenario, arms, seeds, sd, count, random):
    """True differences, and values [studies, seeds, arms] of arms with one baseline."""
    true, sds = np.zeros(arms), np.full(arms, sd)
    if scenario == "half are large":
        true[arms // 2 :] = 10 * sd + DELTA
    if scenario in ("all at delta", ALONE):
        true[:] = DELTA
    if scenario == "one of 20 times the spread":
        sds[0] *= 20
    if scenario == "one collapsed":
        sds[0] = 40.0
    base = sd * random.standard_normal((count, seeds, 1)) * (scenario != ALONE)
    return true, true + sds * random.standard_normal((count, seeds, arms)) - base


def judged(values):
    """What family.py makes of each study: centers, and p of the two hypotheses."""
    _, seeds, arms = values.shape
    variance, df = values.var(axis=1, ddof=1), np.full(arms, seeds - 1.0)
    if arms >= FEWEST_ARMS:
        variance, df, _ = moderated(variance, df, shared_noise(values))
    center = values.mean(axis=1)
    return center, *p_values(center, np.sqrt(variance / seeds), df, DELTA)


def by_rule(center, differ, equal):
    return verdicts(center, differ, equal, adjust(differ, equal, center.shape[-1]))


def by_steps(center, differ, equal):
    """The smaller p of each contrast in Holm's step-down: the k-th smallest against 0.05 / (m - k + 1)."""
    smaller = np.minimum(differ, equal)
    order = np.argsort(smaller, axis=-1)
    steps = np.take_along_axis(smaller, order, -1) <= 0.05 / np.arange(center.shape[-1], 0, -1)
    known = np.zeros_like(steps)
    np.put_along_axis(known, order, np.logical_and.accumulate(steps, axis=-1), -1)
    return np.where(known, np.where(differ <= equal, np.where(center > 0, BETTER, WORSE), EQUAL), UNDETERMINED)


def error(scenario, arms, seeds, rule, spreads=SPREADS, count=4000):
    """The family-wise error of the worst spread: a wrong side, a side of none, or "equal" at delta and beyond."""
    found = []
    for sd in spreads:
        random = np.random.default_rng([arms, seeds, round(100 * sd)])
        true, values = studies(scenario, arms, seeds, sd, int(count / arms**0.5), random)
        words = rule(*judged(values))
        false = (words == BETTER) & (true <= 0) | (words == WORSE) & (true >= 0)
        found.append((false | (words == EQUAL) & (abs(true) >= DELTA)).any(axis=-1).mean())
    return max(found)


SCENARIOS = ("all equal", "half are large", "all at delta", ALONE, "one of 20 times the spread", "one collapsed")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_family_errs_in_no_more_than_one_study_of_twenty(scenario):
    rates = {size: error(scenario, *size, by_rule) for size in SIZES}
    print(scenario, {size: round(float(rate), 3) for size, rate in rates.items()})
    assert max(rates.values()) <= 0.055


def test_a_step_for_each_verdict_errs_too_often():
    assert error(ALONE, 12, 8, by_steps, spreads=(0.35,)) > 0.07


def test_no_correction_errs_too_often():
    def alone(center, differ, equal):
        return verdicts(center, differ, equal, np.stack([differ, equal]))

    assert error("all equal", 12, 5, alone) > 0.2


# sds of paired differences of the committed studies, points: seeds, then by arm
SHAPES = {
    "digits": (8, [0.5, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9, 0.9, 1.0, 1.0, 1.0, 1.0, 1.1, 1.1, 1.1, 1.2, 1.2, 1.2, 1.3, 1.3,
                   1.4, 1.5, 1.7, 1.7, 8.1]),
    "digits without position": (5, [2.7, 2.8, 2.9, 2.9, 3.0, 3.1, 3.2, 3.4, 3.7, 4.3, 4.6, 4.8, 4.9, 5.1, 5.2, 5.2, 5.4,
                                    5.5, 5.7, 6.1, 6.8, 7.7, 8.1, 12.5, 19.2]),
    "Fashion-MNIST, 540 images": (5, [0.01, 0.06, 0.08, 0.1, 0.14, 0.24, 0.29, 0.29, 0.37, 0.48, 0.5, 0.56]),
    "Fashion-MNIST, 5,400 images": (3, [0.01, 0.02, 0.07, 0.08, 0.2, 0.22, 0.26, 0.28, 0.32, 0.41]),
    "priors": (5, [0.6, 1.47, 1.53]),
}  # fmt: skip


def coverage(shape, count=3000):
    """How often an arm's own interval of 95 % holds 0, the mean over arms, and how often the simultaneous all do."""
    seeds, sds = SHAPES[shape]
    random, sd = np.random.default_rng(6), np.array(sds)
    common = 0.7 * min(sds)  # of the baseline
    values = np.sqrt(sd**2 - common**2) * random.standard_normal((count, seeds, len(sds)))
    values -= common * random.standard_normal((count, seeds, 1))
    variance, df = values.var(axis=1, ddof=1), np.full(len(sds), seeds - 1.0)
    if len(sds) >= FEWEST_ARMS:
        variance, df, _ = moderated(variance, df, shared_noise(values))
    t = np.abs(values.mean(axis=1)) / np.sqrt(variance / seeds)
    alone, together = (stats.t.ppf(1 - 0.025 / many, df) for many in (1, len(sds)))
    return (t <= alone).mean(), (t <= together).all(axis=-1).mean()


@pytest.mark.parametrize("shape", SHAPES)
def test_intervals_cover_on_data_like_each_committed_study(shape):
    alone, together = coverage(shape)
    print(shape, round(float(alone), 3), round(float(together), 3))
    assert 0.93 <= alone <= 0.97
    assert together >= 0.94


def test_arms_that_have_little_in_common_are_not_covered_by_one_distribution(monkeypatch):
    for name in ("OWN", "FOREIGN", "LEAST"):
        monkeypatch.setattr(module, name, 0.0)
    assert coverage("Fashion-MNIST, 5,400 images")[1] < 0.92


def test_the_adjusted_p_by_hand():
    differ, equal = np.array([0.001, 0.004, 0.9]), np.array([0.002, 0.8, 0.03])
    found = adjust(differ, equal, 3)
    # of the first both are rejected at 3 * 0.002; from there on m is 2
    assert found[0] == pytest.approx([0.003, 0.008, 1.6])
    assert found[1] == pytest.approx([0.006, 1.6, 0.06])
    assert verdicts(np.array([1.0, -1.0, 0.1]), differ, equal, found).tolist() == [BETTER, WORSE, UNDETERMINED]
    assert verdicts(np.array([1.0, -1.0, 0.1]), equal, differ, found[::-1]).tolist() == [EQUAL, EQUAL, UNDETERMINED]


def by_seed(*values):
    return dict(enumerate(values))


def is_scipys(judge):
    """A single contrast is paired t tests of scipy's: two-sided against 0, one-sided against both ends of delta."""
    random = np.random.default_rng(4)
    for shift in (0.0, 0.2, 3.0):
        values = shift + 0.3 * random.standard_normal(6)
        one = judge({"psa": by_seed(*values)}, Rule(1, delta=DELTA))["psa"]
        ends = (
            stats.ttest_1samp(values, -DELTA, alternative="greater"),
            stats.ttest_1samp(values, DELTA, alternative="less"),
        )
        assert one.p == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue)
        assert one.adjusted_equal == pytest.approx(max(end.pvalue for end in ends))
        interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert (one.estimate.low, one.estimate.high) == pytest.approx((interval.low, interval.high))


def test_a_single_contrast_is_scipys():
    is_scipys(contrasts)
    with pytest.raises(AssertionError):
        is_scipys(lambda found, rule: contrasts(found, Rule(2, delta=rule.delta)))


def test_four_verdicts():
    noise = np.array([0.1, -0.1, 0.05, -0.05, 0.0])
    arms = {"up": 2 + noise, "down": -2 + 1.2 * noise, "even": 0.3 * noise[::-1], "open": 0.2 + 30 * noise}
    found = contrasts({name: by_seed(*values) for name, values in arms.items()}, Rule(4, delta=DELTA))
    assert {name: one.verdict for name, one in found.items()} == {
        "up": BETTER, "down": WORSE, "even": EQUAL, "open": UNDETERMINED,
    }  # fmt: skip
    assert [one.resolved for one in found.values()] == [True, True, False, False]
    without = contrasts({"even": by_seed(*arms["even"])}, Rule(4))
    assert without["even"].verdict == UNDETERMINED
    assert without["even"].adjusted_equal is None


def test_what_has_no_interval_has_no_verdict():
    found = contrasts({"two": by_seed(1.0, 2.0), "same": by_seed(1.0, 1.0, 1.0), "none": {}}, Rule(2, delta=DELTA))
    assert found.keys() == {"two", "same"}
    assert all(one.verdict == "" and one.estimate.low is None and not one.resolved for one in found.values())


def test_arms_with_other_seeds_are_moderated_over_those_that_all_share():
    random = np.random.default_rng(5)
    arms = {name: by_seed(*random.standard_normal(8 if name % 2 else 5)) for name in range(10)}
    found = contrasts(arms, Rule(10, delta=DELTA))
    assert max(found[name].df for name in arms) > 7
    apart = contrasts({name: {(name, seed): v for seed, v in one.items()} for name, one in arms.items()}, Rule(10))
    assert [one.df for one in apart.values()] == [len(one) - 1 for one in arms.values()]
