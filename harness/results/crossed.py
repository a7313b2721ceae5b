"""How sure a difference is for other seeds and other test images, too: each seed is tested on the same images."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from harness.results.stats import FEWEST_SEEDS, Estimate, mean_interval


def over_seeds_and_images(differences: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean of differences [seeds, images], with an interval that holds for other seeds and for other images, too.

    Seeds and images are crossed and both random, without replicates. The variance of the mean is that of the two-way
    table, (MS_seed + MS_image - MS_resid) / (S I): the noise of a seed on an image is in both mean squares, and counts
    once (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4). Degrees of freedom: Satterthwaite
    (Biometrics Bulletin 2, 1946), for a sum with a negative term Gaylor and Hopper (Technometrics 11, 1969). Where the
    estimate is below MS_resid / (S I), as the variance of the mean cannot be, that stands for it, with its degrees of
    freedom. At 3 seeds and the level of many comparisons Satterthwaite's t is too short, so the interval is never
    narrower than the one over seeds alone. No interval where the seeds have none; n: the images.
    """
    n_seeds, n_images = differences.shape
    by_seed, by_image = differences.mean(axis=1), differences.mean(axis=0)
    seeds = mean_interval(by_seed.tolist(), confidence)
    if seeds.low is None or seeds.high is None or n_images < FEWEST_SEEDS:
        return Estimate(seeds.center, None, None, n_images, confidence)
    residual = differences - by_seed[:, None] - by_image + seeds.center
    dfs = (n_seeds - 1, n_images - 1, (n_seeds - 1) * (n_images - 1))
    squares = (
        n_images * float(by_seed.var(ddof=1)),
        n_seeds * float(by_image.var(ddof=1)),
        float((residual**2).sum()) / dfs[2],
    )
    total = squares[0] + squares[1] - squares[2]
    df = total**2 / sum(square**2 / df for square, df in zip(squares, dfs, strict=True))
    if total < squares[2]:
        total, df = squares[2], dfs[2]
    crossed = float(special.stdtrit(df, (1 + confidence) / 2)) * math.sqrt(total / (n_seeds * n_images))
    half = max(crossed, seeds.high - seeds.center)
    return Estimate(seeds.center, seeds.center - half, seeds.center + half, n_images, confidence)
