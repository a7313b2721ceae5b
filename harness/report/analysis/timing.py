"""Throughput, time ratio, peak memory, MFU and latency of a variant under one measuring condition."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.report.analysis import quantity
from harness.report.analysis.condition import Condition, failed, resolved
from harness.report.analysis.quantity import Quantity
from harness.report.study.study import Setting


@dataclass(frozen=True)
class Speed:
    """Inference or training: images/s, time relative to the baseline, peak memory of a batch in MiB, MFU (a share)."""

    images_per_s: Quantity
    ratio: Quantity
    peak_mib: Quantity
    mfu: Quantity
    resolved: bool
    backend: str


@dataclass(frozen=True)
class Latency:
    """The time of a single image in ms, and relative to the baseline."""

    ms: Quantity
    ratio: Quantity
    resolved: bool


def speed(setting: Setting, variant: str, prefix: str, condition: Condition | None, reason: str) -> Speed:
    """The variant's speed under `condition`, on the fastest of its backends; the baseline's ratio is 1."""

    backend = fastest(setting, variant, prefix, condition)

    def chosen(metric: str) -> pd.DataFrame:
        found = _rows(setting, variant, prefix + metric, condition)
        return found[found["value"].isna() | found["backend"].isin([backend, ""])] if backend else found

    ratio = quantity.ratio(chosen("ratio"), reason)
    images = quantity.throughput(chosen("images_per_s"), reason)
    if variant == setting.baseline and ratio.value is None and images.value is not None:
        ratio = Quantity(1.0, reason="the baseline itself")
    return Speed(
        images_per_s=images,
        ratio=ratio,
        peak_mib=quantity.last(chosen("peak_mib"), reason),
        mfu=quantity.ratio(chosen("mfu"), reason),
        resolved=resolved(ratio, condition),
        backend=backend,
    )


def fastest(setting: Setting, variant: str, prefix: str, condition: Condition | None) -> str:
    """The backend of the variant that served most images a second under the condition; "" where none did."""
    mine = _rows(setting, variant, prefix + "images_per_s", condition)
    mine = mine[mine["value"].notna()]
    return str(mine.loc[mine["value"].idxmax(), "backend"]) if len(mine) else ""


def throughput(setting: Setting, variant: str, condition: Condition) -> Quantity:
    """Images/s of inference alone, on the fastest backend."""
    found = _rows(setting, variant, "images_per_s", condition)
    return quantity.throughput(found[found["backend"] == fastest(setting, variant, "", condition)], "")


def latency(setting: Setting, variant: str, condition: Condition | None, reason: str) -> Latency:
    """The variant's latency under `condition`."""

    ms, relative = (_rows(setting, variant, metric, condition) for metric in ("latency_ms", "latency_ratio"))
    ratio = quantity.ratio(relative, reason)
    return Latency(quantity.latency(ms, reason), ratio, resolved(ratio, condition))


def _rows(setting: Setting, variant: str, metric: str, condition: Condition | None) -> pd.DataFrame:
    """The rows of a metric under the condition, failures that may be about it first."""
    found = setting.named(metric, variant)
    if condition is None:
        return found
    null = failed(found, condition.key)
    measured = setting.under(metric, variant, condition.key)
    return measured if null.empty else pd.concat([null, measured])
