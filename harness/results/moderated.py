"""Moderated variances: a few seeds tell a variance badly, many arms beside each other tell it better.

limma's empirical Bayes (Smyth, Statistical Applications in Genetics and Molecular Biology 3, 2004; fitFDist and
squeezeVar): the arms' variances are draws of a scaled inverse chi-square, whose size and degrees of freedom come from
the moments of their logarithms. Two departures, as differences to one baseline are not independent and arms are few:

- arms that share noise share what they tell: the mean squared correlation of the arms (1 of each with itself) divides
  the degrees of freedom that all of them have together, and the scatter that chance makes of their logarithms;
- an arm whose variance does not belong to the others keeps its own t, and so do all where the variances have little in
  common. With 20 times the spread of the others, a moderated t would call an arm different several times too often.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

FEWEST_ARMS = 5  # below, arms say too little about the variance of another
FOREIGN = 0.05  # shared by the arms: the tail from which on the largest is no part of the others' distribution
OWN = 0.3  # the tail from which on an arm keeps its own variance, though it helps to find the others'
LEAST = 2.0  # degrees of freedom of what arms have in common: with fewer, their variances have no mean to shrink to
HUGE = 1e10  # degrees of freedom that are as good as infinitely many


class Moderated(NamedTuple):
    """Variances and degrees of freedom to judge each arm by; `own`: which arms keep their own."""

    variance: np.ndarray
    df: np.ndarray
    own: np.ndarray


class Prior(NamedTuple):
    """What arms have in common: a variance, its degrees of freedom, and those of all arms together."""

    variance: np.ndarray
    df: np.ndarray
    pooled: np.ndarray


def moderated(variance: np.ndarray, df: np.ndarray, shared: np.ndarray) -> Moderated:
    """variance [..., arms] above 0, with df [arms]; shared [..., arms, arms]: squared correlations."""
    inside = np.ones(variance.shape, dtype=bool)
    while (foreign := _foreign(variance, df, shared, inside)).any():
        inside &= ~foreign
    prior = fit(variance, df, shared, inside)
    few = (inside.sum(axis=-1, keepdims=True) < FEWEST_ARMS) | (prior.df < LEAST)
    own = ~inside | (_tail(variance, df, prior) < OWN) | few
    shrunk = (prior.df * prior.variance + df * variance) / (prior.df + df)
    together = np.minimum(prior.df + df, np.maximum(prior.pooled, df))
    return Moderated(np.where(own, variance, shrunk), np.where(own, df, together), own)


def fit(variance: np.ndarray, df: np.ndarray, shared: np.ndarray, inside: np.ndarray) -> Prior:
    """The distribution of the variances of the arms `inside`, [..., 1] each."""
    count = inside.sum(axis=-1, keepdims=True)
    alike = (shared * inside[..., :, None] * inside[..., None, :]).sum(axis=(-2, -1))[..., None]
    others = np.maximum(count - 1, 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return (values * inside).sum(axis=-1, keepdims=True) / count

    logs = np.log(variance) - special.digamma(df / 2) + np.log(df / 2)
    chance = mean(special.polygamma(1, df / 2)) * (1 - (alike - count) / (count * others))
    scatter = mean((logs - mean(logs)) ** 2) * count / others - chance
    half = trigamma_inverse(np.maximum(scatter, 2 / HUGE))
    return Prior(np.exp(mean(logs) + special.digamma(half) - np.log(half)), 2 * half, mean(df) * count**2 / alike)


def trigamma_inverse(y: np.ndarray) -> np.ndarray:
    """The x above 0 whose trigamma is y, by Newton's steps on 1 / trigamma, which is convex (Smyth's appendix)."""
    x = 0.5 + 1 / y
    for _ in range(20):
        value = special.polygamma(1, x)
        x = x + value * (1 - value / y) / special.polygamma(2, x)
    return x


def shared_noise(values: np.ndarray) -> np.ndarray:
    """The squared correlations [..., arms, arms] of values [..., seeds, arms]; no two arms of none share any."""
    residual = values - values.mean(axis=-2, keepdims=True)
    size = np.sqrt((residual**2).sum(axis=-2, keepdims=True))
    unit = residual / np.where(size > 0, size, 1.0)
    return np.asarray(np.maximum((np.swapaxes(unit, -1, -2) @ unit) ** 2, np.eye(values.shape[-1])))


def _foreign(variance: np.ndarray, df: np.ndarray, shared: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The arm with the largest variance where, by the distribution of the others, it is none of them."""
    count = inside.sum(axis=-1, keepdims=True)
    largest = np.where(inside, variance, -1.0).argmax(axis=-1)[..., None] == np.arange(variance.shape[-1])
    others = fit(variance, df, shared, inside & ~largest)
    return largest & (_tail(variance, df, others) < FOREIGN / count) & (count > FEWEST_ARMS)


def _tail(variance: np.ndarray, df: np.ndarray, prior: Prior) -> np.ndarray:
    """How often an arm of this distribution has a variance as large."""
    return np.asarray(special.fdtrc(df, prior.df, variance / prior.variance))
