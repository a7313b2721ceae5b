"""Moderated variances: limma's estimates by another way, and what they promise, by simulation."""

import numpy as np
import pytest
from scipy import optimize, special

from harness.results import moderated as module
from harness.results.moderated import fit, moderated, shared_noise, trigamma_inverse


def limma(variance, df):
    """fitFDist's estimates for independent arms, its equation solved by bisection: d0 and s0 squared."""
    logs = np.log(variance) - special.digamma(df / 2) + np.log(df / 2)
    scatter = logs.var(ddof=1) - special.polygamma(1, df / 2).mean()
    d0 = 2 * optimize.brentq(lambda x: special.polygamma(1, x) - scatter, 1e-6, 1e6)
    return d0, np.exp(logs.mean() + special.digamma(d0 / 2) - np.log(d0 / 2))


def agrees_with_limma(fitting):
    random = np.random.default_rng(0)
    for arms, d0 in ((8, 3.0), (20, 6.0), (40, 12.0)):
        df = random.integers(2, 9, arms).astype(float)
        variance = 4 * d0 / random.chisquare(d0, arms) * random.chisquare(df) / df
        known = limma(variance, df)
        found = fitting(variance, df, np.eye(arms), np.ones(arms, dtype=bool))
        assert [found.df[0], found.variance[0]] == pytest.approx(known, rel=1e-6)
        assert found.pooled[0] == pytest.approx(df.sum())  # as limma caps it


def test_independent_arms_are_judged_as_limma_judges_them():
    agrees_with_limma(fit)
    with pytest.raises(AssertionError):  # the variances themselves in place of their logarithms' expectation
        agrees_with_limma(lambda v, df, *more: fit(v * np.exp(special.digamma(df / 2) - np.log(df / 2)), df, *more))


def test_the_inverse_of_trigamma():
    x = np.array([1e-3, 0.1, 1.0, 30.0, 1e6, 5e9])
    assert trigamma_inverse(special.polygamma(1, x)) == pytest.approx(x, rel=1e-6)


def test_arms_that_share_all_noise_tell_no_more_than_one():
    random = np.random.default_rng(1)
    values = np.repeat(random.standard_normal((5, 1)), 9, axis=1) * (1 + 0.01 * np.arange(9))
    shared = shared_noise(values)
    assert shared == pytest.approx(np.ones((9, 9)))
    found = moderated(values.var(axis=0, ddof=1), np.full(9, 4.0), shared)
    assert found.df == pytest.approx(np.full(9, 4.0))
    alone = moderated(values.var(axis=0, ddof=1), np.full(9, 4.0), np.eye(9))
    assert alone.df.max() > 30  # what limma would make of them


def test_an_arm_of_another_spread_keeps_its_own_variance():
    random = np.random.default_rng(2)
    variance = random.chisquare(4, 12) / 4
    variance[3] = 400.0
    found = moderated(variance, np.full(12, 4.0), np.eye(12))
    assert found.own[3]
    assert found.variance[3] == 400.0
    assert found.df[3] == 4.0
    assert not found.own.all()
    assert found.df[~found.own].min() > 4.0


def test_four_arms_keep_their_own():
    variance = np.array([1.0, 1.1, 0.9, 1.2])
    found = moderated(variance, np.full(4, 4.0), np.eye(4))
    assert found.own.all()
    assert (found.variance == variance).all()


def errs(arms, spread, n=5, studies=20_000):
    """How often the arm of another spread is called different at 0.4 %, its true difference being 0."""
    random = np.random.default_rng(3)
    sd = np.ones(arms)
    sd[0] = spread
    values = random.standard_normal((studies, n, arms)) * sd
    found = moderated(values.var(axis=1, ddof=1), np.full(arms, n - 1.0), shared_noise(values))
    t = np.abs(values.mean(axis=1)) / np.sqrt(found.variance / n)
    return (2 * special.stdtr(found.df, -t) < 0.004)[:, 0].mean()


def test_the_arm_of_another_spread_errs_at_its_nominal_rate(monkeypatch):
    assert errs(12, 20.0) < 0.006
    monkeypatch.setattr(module, "OWN", 0.0)
    monkeypatch.setattr(module, "FOREIGN", 0.0)
    monkeypatch.setattr(module, "LEAST", 0.0)
    assert errs(12, 20.0) > 0.009  # one prior for all
