"""The verdicts of a family of contrasts with one baseline: better, worse, equal within delta, undetermined.

Each contrast has two null hypotheses: no difference (a paired t test, two-sided), and a difference of delta or more
(two one-sided tests, TOST). At most one of the two is true, so m contrasts hold at most m true hypotheses of 2 m, and
each p is compared with alpha / m (Shaffer, JASA 81, 1986). A contrast of which both are rejected holds none: m falls
by one. It does not fall with each verdict, as in Holm's step-down of the smaller p of each contrast: those that are
left are then the extreme ones, and a family of 12 contrasts, each as far apart as delta, errs in 12 % of studies.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import special

from harness.results.moderated import FEWEST_ARMS, moderated, shared_noise
from harness.results.stats import (
    BETTER,
    EQUAL,
    FEWEST_SEEDS,
    UNDETERMINED,
    WORSE,
    Difference,
    Estimate,
    seeds_for_power,
    spread,
)

Name = TypeVar("Name", bound=Hashable)
Seed = TypeVar("Seed", bound=Hashable)


@dataclass(frozen=True)
class Rule:
    """How a family is judged: its number of contrasts, its error rate, and what counts as equal, None for nothing."""

    compared: int = 1
    alpha: float = 0.05
    delta: float | None = None

    @property
    def confidence(self) -> float:
        """Of each interval, so that all hold together."""
        return 1 - self.alpha / max(1, self.compared)


def contrasts(differences: Mapping[Name, Mapping[Seed, float]], rule: Rule) -> dict[Name, Difference]:
    """By name the difference, variant minus baseline by seed: its interval, p values and verdict.

    Intervals and tests use moderated variances where enough arms share their seeds. No interval and no verdict below 3
    seeds, nor where all are equal.
    """
    values = {name: np.array(list(one.values()), dtype=float) for name, one in differences.items() if one}
    sds = {name: spread(one) for name, one in values.items()}
    tested = [name for name, one in values.items() if one.size >= FEWEST_SEEDS and sds[name]]
    found = {
        name: Difference(Estimate(float(one.mean()), None, None, one.size, rule.confidence), sds[name], None)
        for name, one in values.items()
    }
    if not tested:
        return found
    variance, df, own = _variances([differences[name] for name in tested])
    center = np.array([values[name].mean() for name in tested])
    error = np.sqrt(variance / [values[name].size for name in tested])
    differ, equal = p_values(center, error, df, rule.delta)
    adjusted = np.minimum(adjust(differ, equal, rule.compared), 1.0)
    words = verdicts(center, differ, equal, adjusted, rule.alpha)
    half = special.stdtrit(df, (1 + rule.confidence) / 2) * error
    for k, name in enumerate(tested):
        mean, n = float(center[k]), values[name].size
        found[name] = Difference(
            Estimate(mean, mean - float(half[k]), mean + float(half[k]), n, rule.confidence),
            sds[name],
            seeds_for_power(rule.delta or mean, math.sqrt(variance[k]), n, rule.confidence),
            float(differ[k]),
            float(adjusted[0, k]),
            float(adjusted[1, k]) if rule.delta else None,
            str(words[k]),
            bool(own[k]) and not own.all(),
            float(df[k]),
        )
    return found


def _variances(differences: list[Mapping[Seed, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variances, degrees of freedom, and whether they are the arm's own: moderated over the seeds that all share."""
    variance = np.array([np.var(list(one.values()), ddof=1) for one in differences])
    df = np.array([len(one) - 1.0 for one in differences])
    seeds = [seed for seed in differences[0] if all(seed in one for one in differences)]
    if len(differences) < FEWEST_ARMS or len(seeds) < FEWEST_SEEDS:
        return variance, df, np.ones(len(differences), dtype=bool)
    return moderated(variance, df, shared_noise(np.array([[one[seed] for one in differences] for seed in seeds])))


def p_values(
    center: np.ndarray, error: np.ndarray, df: np.ndarray, delta: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """p of no difference and, where there is a delta, of a difference as large as it; else 1."""
    differ = 2 * special.stdtr(df, -np.abs(center) / error)
    equal = np.ones_like(differ) if delta is None else special.stdtr(df, (np.abs(center) - delta) / error)
    return differ, equal


def adjust(differ: np.ndarray, equal: np.ndarray, compared: int) -> np.ndarray:
    """[2, ..., contrasts]: the family's error rate at which each of the two hypotheses would be rejected.

    m falls by one for each contrast of which both are: `bars` are the error rates at which it has fallen so far.
    """
    counts = np.maximum(compared - np.arange(differ.shape[-1] + 1), 1)
    both = np.sort(np.maximum(differ, equal), axis=-1)
    bars = np.concatenate([np.zeros_like(both[..., :1]), np.maximum.accumulate(both * counts[:-1], axis=-1)], axis=-1)
    return np.stack([np.maximum(p[..., None] * counts, bars[..., None, :]).min(axis=-1) for p in (differ, equal)])


def verdicts(
    center: np.ndarray, differ: np.ndarray, equal: np.ndarray, adjusted: np.ndarray, alpha: float = 0.05
) -> np.ndarray:
    """A word for each contrast; where both hypotheses are rejected, that of the smaller p."""
    side = np.where(center > 0, BETTER, WORSE)
    known = (adjusted <= alpha).any(axis=0)
    return np.where(known, np.where(differ <= equal, side, EQUAL), UNDETERMINED)
