"""Which test images a variant had right, image by image: the difference to the baseline over other images, too.

Kept beside the rows as CELL.correct.npy, bool [resolutions, n], the training resolution first. An image that lies at
several places, one after another, is one image: the mean over its places. What does not agree with its row is not used.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from harness.report.study.study import Setting
from harness.results.crossed import over_seeds_and_images
from harness.results.stats import HAIR, Difference, Estimate

Right = Mapping[str, np.ndarray]  # by seed, [images]: 1 where right, 0 where wrong, a share over places


def right(setting: Setting, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """How right the cells of these top-1 rows had each image of the test split at the training resolution, by seed."""
    found = {}
    for seed, cell, value, params in zip(rows["seed"], rows["cell"], rows["value"], rows["params"], strict=True):
        file = setting.correct.get(cell)
        if file is None or not seed:
            continue
        try:
            shown = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            continue
        if shown.ndim != 2 or shown.dtype != bool or not shown.size or abs(100 * shown[0].mean() - value) > HAIR:
            continue
        places = params.get("places", 1)
        if isinstance(places, int) and places > 0 and shown.shape[1] % places == 0:
            found[str(seed)] = shown[0].reshape(-1, places).mean(axis=1)
    return found


def over_images(variant: Right, baseline: Right, difference: Difference | None) -> Estimate | None:
    """The paired difference in percentage points with its interval over seeds and images; n: the images.

    At the difference's own confidence. None where the images of a paired seed were not kept, or there is no interval.
    """
    seeds = [seed for seed in variant if seed in baseline and variant[seed].shape == baseline[seed].shape]
    if difference is None or difference.estimate.low is None or len(seeds) != difference.estimate.n:
        return None
    if len({variant[seed].size for seed in seeds}) > 1:
        return None
    pairs = [100.0 * (variant[seed] - baseline[seed]) for seed in seeds]
    found = over_seeds_and_images(np.stack(pairs), difference.estimate.confidence)
    return None if found.low is None else found
