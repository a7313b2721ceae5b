"""Throughput, time ratio and peak memory of a variant under one measuring condition, with the A/A floor of that run.

Variants are compared under one condition only (device, precision, batch size, resolution) and within one run, whose
rounds they shared: where there is a choice, of the newest source, at the training resolution, with most variants.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from harness.report import quantity
from harness.report.quantity import Quantity
from harness.report.study import Setting
from harness.stats import Estimate, aa_floor, ratio_resolved

CONDITION = ("device", "precision", "batch_size", "test_px", "cell")


@dataclass(frozen=True)
class Condition:
    """Where and how speed was measured, and what the baseline differs from itself there: the A/A floor."""

    key: tuple[str, ...]
    floor: float | None
    aa: Quantity

    def words(self) -> str:
        device, precision, batch, px, _ = self.key
        parts = (device, precision, f"batch {batch}" if batch else "", f"{px} px" if px else "")
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Speed:
    """Inference or training: images/s, time relative to the baseline, peak memory of a batch in MiB."""

    images_per_s: Quantity
    ratio: Quantity
    peak_mib: Quantity
    resolved: bool
    backend: str


def conditions(setting: Setting, prefix: str) -> Condition | None:
    """The condition that inference ("") or training ("train_") is compared under; None where nothing was timed."""
    rows = setting.rows[setting.rows["metric"].isin([prefix + "images_per_s", prefix + "ratio"])]
    rows = rows[rows["value"].notna() & ~rows["cell"].isin(elsewhere_based(setting))]
    if rows.empty:
        return None
    measured = rows.drop_duplicates(["variant", *CONDITION])
    counts = Counter(measured[list(CONDITION)].itertuples(index=False, name=None))
    newest = {key: order for order, key in enumerate(rows[list(CONDITION)].itertuples(index=False, name=None))}
    fresh = set(rows.loc[~rows["stale"], "cell"])
    px = CONDITION.index("test_px")
    key = max(counts, key=lambda key: (key[-1] in fresh, key[px] == setting.train_px, counts[key], newest[key]))
    aa = quantity.ratio(under(setting.named(prefix + "aa_ratio"), key), "the A/A ratio was not measured")
    return Condition(key, floor(aa), aa)


def elsewhere_based(setting: Setting) -> set[str]:
    """The runs whose ratios are to another baseline: it is their A/A copy's variant that says so."""
    copies = setting.rows[setting.rows["metric"].str.endswith("aa_ratio")]
    return set(copies.loc[copies["variant"] != setting.baseline, "cell"])


def under(rows: pd.DataFrame, key: tuple[str, ...]) -> pd.DataFrame:
    """The rows measured under a condition."""
    inside = pd.Series(True, index=rows.index)
    for column, part in zip(CONDITION, key, strict=True):
        inside &= rows[column] == part
    return rows[inside]


def floor(aa: Quantity) -> float | None:
    """The A/A floor as a share of 1; None where the A/A ratio has no interval."""
    return None if aa.value is None else aa_floor(Estimate(aa.value, aa.low, aa.high, aa.n, 0.95))


def speed(setting: Setting, variant: str, prefix: str, condition: Condition | None, reason: str) -> Speed:
    """The variant's speed under `condition`, on the fastest of its backends; the baseline's ratio is 1."""

    def rows(metric: str) -> pd.DataFrame:
        found = setting.named(prefix + metric, variant)
        if condition is None:
            return found
        # A failed measurement may know less about where it ran than a finished one.
        return pd.concat([found[found["value"].isna()], under(found[found["value"].notna()], condition.key)])

    timed = rows("images_per_s")
    timed = timed[timed["value"].notna()]
    backend = str(timed.loc[timed["value"].idxmax(), "backend"]) if len(timed) else ""

    def chosen(metric: str) -> pd.DataFrame:
        found = rows(metric)
        return found[found["value"].isna() | found["backend"].isin([backend, ""])] if backend else found

    ratio = quantity.ratio(chosen("ratio"), reason)
    if variant == setting.baseline and ratio.value is None and len(timed):
        ratio = Quantity(1.0, reason="the baseline itself")
    estimate = None if ratio.value is None else Estimate(ratio.value, ratio.low, ratio.high, ratio.n, 0.95)
    return Speed(
        images_per_s=quantity.throughput(chosen("images_per_s"), reason),
        ratio=ratio,
        peak_mib=quantity.last(chosen("peak_mib"), reason),
        resolved=estimate is not None and ratio_resolved(estimate, condition.floor if condition else None),
        backend=backend,
    )


@dataclass(frozen=True)
class Elsewhere:
    """A speed that the main table leaves out: another condition, or a slower backend of the same variant."""

    variant: str
    backend: str
    where: str
    images_per_s: float | None
    ratio: float | None
    peak_mib: float | None


def elsewhere(setting: Setting, prefix: str, condition: Condition | None) -> list[Elsewhere]:
    """Everything timed in this setting that the main table does not show."""
    if condition is None:
        return []
    metrics = {prefix + name: name for name in ("images_per_s", "ratio", "peak_mib")}
    rows = setting.rows[setting.rows["metric"].isin(metrics) & setting.rows["value"].notna()]
    shown = {variant: speed(setting, variant, prefix, condition, "").backend for variant in setting.variants}
    rows = rows[~(rows["cell"].isin(elsewhere_based(setting)) & rows["metric"].str.endswith("ratio"))]
    found = []
    for (variant, backend, *key), group in rows.groupby(["variant", "backend", *CONDITION], sort=True):
        if tuple(key) == condition.key and backend in ("", shown[variant]):
            continue
        values = {metrics[metric]: float(value) for metric, value in zip(group["metric"], group["value"], strict=True)}
        where = ("training: " if prefix else "inference: ") + Condition(tuple(key), None, Quantity()).words()
        found.append(
            Elsewhere(variant, backend, where, values.get("images_per_s"), values.get("ratio"), values.get("peak_mib"))
        )
    return found
