"""Top-1 by test resolution: of the weights as trained, and after fine-tuning at that resolution."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.report.study.rows import by_number, side
from harness.report.study.study import Setting
from harness.results.metrics import PERCENT
from harness.results.stats import Estimate, mean_interval


@dataclass(frozen=True)
class Point:
    """Top-1 over seeds at one test resolution, %; `position` is the side in pixels."""

    px: str
    position: float
    top1: Estimate
    seeds: dict[str, float]


@dataclass(frozen=True)
class Curve:
    """A variant's points by growing resolution: of the weights as trained, and `finetuned` at that resolution."""

    variant: str
    points: list[Point]
    finetuned: list[Point]


def curves(setting: Setting) -> list[Curve]:
    """A curve per variant that has a top-1 somewhere."""
    after = setting.named("finetuned_top1")
    after = after[after["epoch"] == finetune_epochs(setting)]
    found = []
    for variant in setting.variants:
        points = _by_resolution(setting.named("top1", variant))
        finetuned = _by_resolution(after[after["variant"] == variant])
        if points or finetuned:
            found.append(Curve(variant, points, finetuned))
    return found


def finetune_epochs(setting: Setting) -> str:
    """For how many epochs the newest fine-tuning ran; others are not mixed with it. "" where there is none."""
    rows = setting.named("finetuned_top1")
    rows = rows[rows["value"].notna()]
    return str(rows["epoch"].iloc[-1]) if len(rows) else ""


def _by_resolution(rows: pd.DataFrame) -> list[Point]:
    rows = rows[rows["value"].notna() & (rows["test_px"] != "")]
    points = []
    for px, here in rows.groupby("test_px", sort=False):
        seeds = dict(zip(here["seed"], here["value"].astype(float), strict=True))
        seeds = {seed: seeds[seed] for seed in sorted(seeds, key=by_number)}
        points.append(Point(str(px), side(str(px)), mean_interval(list(seeds.values()), within=PERCENT), seeds))
    return sorted((p for p in points if p.position >= 0), key=lambda point: (point.position, point.px))
