"""The images and maps of relevance that the cells of a setting left beside their rows (CELL.saliency.npz), by variant.

A file that cannot be read is left out, and so is one whose images are not those of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.report.study.rows import by_number
from harness.report.study.study import Setting
from harness.results.map_files import UNREADABLE

MOST = 10  # variants
Arrays = Mapping[str, np.ndarray]


def arrays(setting: Setting) -> dict[str, Arrays]:
    """By variant what its first whole seed left, all on the same images; what does not fit the others is left out."""
    found: dict[str, Arrays] = {}
    rows = setting.named("deletion")
    rows = rows[rows["value"].notna()]
    for variant in setting.variants:
        mine = rows[rows["variant"] == variant]
        order = sorted(zip(mine["seed"], mine["cell"], strict=True), key=lambda pair: by_number(pair[0]))
        one = next((held for _, cell in order if (held := read(setting.maps.get(cell))) is not None), None)
        if one is not None and len(found) < MOST:
            first = next(iter(found.values()), one)
            if np.array_equal(first["images"], one["images"]):
                found[variant] = one
    return found


def read(file: Path | None) -> Arrays | None:
    """The arrays of a cell; None where they are missing or damaged."""
    if file is None:
        return None
    try:
        with np.load(file, allow_pickle=False) as held:
            one = {name: held[name] for name in ("images", "relevance", "chosen", "labels")}
    except UNREADABLE:
        return None
    images, maps = one["images"], one["relevance"]
    fits = images.ndim == 4 and maps.ndim == 3 and images.dtype == np.uint8 and 0 < len(images) == len(maps)
    fits = fits and images.shape[1] in (1, 3) and maps.size > 0 and bool(np.isfinite(maps).all())
    return one if fits and len(one["chosen"]) == len(one["labels"]) == len(images) else None
