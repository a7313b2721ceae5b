"""How sure a place on the Pareto front is: how often a variant is on it when the seeds are drawn anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.report.analysis.summary import Summary
from harness.report.study.rows import by_number
from harness.results.stats import FEWEST_SEEDS, RESAMPLES

SURE = 0.95  # of the resamples in which a variant is off the front before others are said to dominate it


def on_front(found: Sequence[Summary], gains: Mapping[str, float]) -> dict[str, float]:
    """By variant of `gains` (what more of is better) the share of resamples in which none is better in both.

    All variants have the same drawn seeds, so that they stay paired; {} where they share fewer than 3. At few seeds
    such shares are rough: no interval is made of them.
    """
    placed = [s for s in found if s.variant in gains and s.seeds]
    seeds = sorted(set.intersection(*(set(s.seeds) for s in placed)), key=by_number) if placed else []
    if len(placed) < 2 or len(seeds) < FEWEST_SEEDS:
        return {}
    top1 = np.array([[s.seeds[seed] for seed in seeds] for s in placed])
    drawn = np.random.default_rng(0).integers(len(seeds), size=(RESAMPLES, len(seeds)))
    means = top1[:, drawn].mean(axis=-1)
    gain = np.array([gains[s.variant] for s in placed])[:, None]
    shares = {}
    for place, one in enumerate(placed):
        over = (means >= means[place]) & (gain >= gain[place]) & ((means > means[place]) | (gain > gain[place]))
        shares[one.variant] = float(1 - over.any(axis=0).mean())
    return shares
