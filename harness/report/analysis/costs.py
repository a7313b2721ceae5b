"""What variants cost, size by size: parameters and GMACs at every resolution, and what could not be built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from harness.report.study.rows import natural


@dataclass(frozen=True)
class Costs:
    """The numbers of one size: value[variant, px, metric], and the sentence of what could not be built.

    patches: the side of a patch in pixels; empty where the rows do not say.
    """

    size: str
    pixels: list[int]
    variants: list[str]
    families: Mapping[str, str]
    value: Mapping[tuple[str, int, str], float]
    refused: Mapping[str, str]
    patches: Sequence[int] = ()

    def ratio(self, variant: str, px: int) -> float | None:
        """GMACs over those of sa."""
        mine, base = self.value.get((variant, px, "gmac")), self.value.get(("sa", px, "gmac"))
        return mine / base if mine is not None and base else None


def costs(rows: pd.DataFrame) -> list[Costs]:
    """Size by size, the smallest first."""
    found = []
    for size, mine in rows.groupby("size", sort=False):
        has = mine[mine["value"].notna()]
        columns = [has[name] for name in ("variant", "train_px", "metric", "value")]
        value = {(v, int(px), metric): float(x) for v, px, metric, x in zip(*columns, strict=True)}
        null = mine[mine["value"].isna()]
        families = dict(zip(mine["variant"], mine["family"], strict=True))
        order = sorted(families, key=lambda v: (v != "sa", families[v], natural(v)))
        refused = dict(zip(null["variant"], null["note"], strict=True))
        pixels = sorted({int(px) for px in mine["train_px"]})
        found.append(Costs(str(size), pixels, order, families, value, refused, patches(has)))
    return sorted(found, key=lambda one: one.value.get(("sa", one.pixels[0], "params"), 0.0))


def patches(rows: pd.DataFrame) -> list[int]:
    """The sides of the patches that the square images are cut into, in pixels."""
    cut = {(px, grid.partition("x")[0]) for px, grid in zip(rows["test_px"], rows["grid"], strict=True) if grid}
    return sorted({int(px) // int(number) for px, number in cut})
