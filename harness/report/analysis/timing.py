"""Speed under one measuring condition: images/s, time ratio, peak memory, MFU and latency, and what no ratio resolves.

Variants are compared under one condition only (device, precision, batch size, resolution) and within one run, whose
rounds they shared: where there is a choice, of the newest source, at the training resolution, with most variants. A
timed work is named by the prefix of its metrics: "" is inference, "train_" training, "latency_" a single image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from harness.report.analysis import quantity
from harness.report.analysis.quantity import Quantity
from harness.report.study.rows import side
from harness.report.study.study import CONDITION, Setting
from harness.report.text.formatting import listing, significant
from harness.results.metrics import WORKS, of_group
from harness.results.stats import aa_floor, ratio_resolved

TIME = {prefix: of_group(group)[0].name for prefix, group in WORKS.items()}
AA = [f"{prefix}aa_ratio" for prefix in WORKS]


@dataclass(frozen=True)
class Condition:
    """Where and how speed was measured, and what the baseline differs from itself there: the A/A floor.

    floor: a share of 1, None where the A/A ratio has no interval. remarks: sentences on the rounds, such as a batch
    that was halved, or the matmul ceiling.
    """

    key: tuple[str, ...]
    floor: float | None
    aa: Quantity
    remarks: list[str] = field(default_factory=list)

    @property
    def px(self) -> str:
        return self.key[CONDITION.index("test_px")]

    @property
    def batch(self) -> str:
        return self.key[CONDITION.index("batch_size")]

    def words(self) -> str:
        device, precision, batch, px, _ = self.key
        parts = (device, precision, f"batch {batch}" if batch else "", f"{px} px" if px else "")
        return ", ".join(part for part in parts if part)


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


@dataclass(frozen=True)
class Times:
    """Milliseconds an image by variant, then resolution, of `batch` images at a time on `where`."""

    by_variant: Mapping[str, Mapping[str, Quantity]]
    batch: str
    where: str


@dataclass(frozen=True)
class Elsewhere:
    """A speed that the main table leaves out: another condition, or a slower backend of the same variant."""

    variant: str
    backend: str
    where: str
    images_per_s: float | None
    ratio: float | None
    peak_mib: float | None


def chosen(setting: Setting, prefix: str) -> Condition | None:
    """What variants are compared under; None where none was timed."""
    rows = _timed(setting, prefix)
    if rows.empty:
        return None
    measured = rows.drop_duplicates(["variant", *CONDITION])
    counts = Counter(measured[list(CONDITION)].itertuples(index=False, name=None))
    newest = {key: order for order, key in enumerate(rows[list(CONDITION)].itertuples(index=False, name=None))}
    fresh = set(rows.loc[~rows["stale"], "cell"])
    px = CONDITION.index("test_px")
    key = max(counts, key=lambda key: (key[-1] in fresh, key[px] == setting.train_px, counts[key], newest[key]))
    return _condition(setting, prefix, key)


def by_resolution(setting: Setting, prefix: str) -> list[Condition]:
    """The conditions of the same run, device and precision, by growing resolution; those without one are left out."""
    best = chosen(setting, prefix)
    if best is None:
        return []
    device, precision, _, _, cell = best.key
    rows = _timed(setting, prefix)
    rows = rows[(rows["device"] == device) & (rows["precision"] == precision) & (rows["cell"] == cell)]
    keys = dict.fromkeys(rows[list(CONDITION)].itertuples(index=False, name=None))
    found = [_condition(setting, prefix, tuple(key)) for key in keys]
    return sorted((one for one in found if side(one.px) >= 0), key=lambda one: (side(one.px), one.key))


def speed(setting: Setting, variant: str, prefix: str, condition: Condition | None, reason: str) -> Speed:
    """The variant's speed under `condition`, on the fastest of its backends; the baseline's ratio is 1."""
    backend = fastest(setting, variant, prefix, condition)

    def rows(metric: str) -> pd.DataFrame:
        found = _under(setting, variant, prefix + metric, condition)
        return found[found["value"].isna() | found["backend"].isin([backend, ""])] if backend else found

    ratio, images = (quantity.timed(rows(metric), reason) for metric in ("ratio", "images_per_s"))
    if variant == setting.baseline and ratio.value is None and images.value is not None:
        ratio = Quantity(1.0, reason="the baseline itself")
    peak, mfu = quantity.last(rows("peak_mib"), reason), quantity.timed(rows("mfu"), reason)
    return Speed(images, ratio, peak, mfu, _resolved(ratio, condition), backend)


def fastest(setting: Setting, variant: str, prefix: str, condition: Condition | None) -> str:
    """The backend of the variant that served most images a second under the condition; "" where none did."""
    mine = _under(setting, variant, prefix + "images_per_s", condition)
    mine = mine[mine["value"].notna()]
    return str(mine.loc[mine["value"].idxmax(), "backend"]) if len(mine) else ""


def latency(setting: Setting, variant: str, condition: Condition | None, reason: str) -> Latency:
    """The variant's latency under `condition`."""
    ms, ratio = (
        quantity.timed(_under(setting, variant, metric, condition), reason)
        for metric in ("latency_ms", "latency_ratio")
    )
    return Latency(ms, ratio, _resolved(ratio, condition))


def image_times(setting: Setting) -> Times | None:
    """What an image costs in time at each resolution; None where fewer than two resolutions were timed in one run.

    The latency of a single image where that was timed at several resolutions, else an image's share of a batch.
    """
    every = ((prefix, by_resolution(setting, prefix)) for prefix in ("latency_", ""))
    several = next((pair for pair in every if len({side(one.px) for one in pair[1]}) > 1), None)
    if several is None:
        return None
    prefix, conditions = several
    found: dict[str, dict[str, Quantity]] = {}
    for variant in setting.variants:
        each = {one.px: _ms(setting, variant, prefix, one) for one in conditions}
        timed = {px: ms for px, ms in each.items() if ms.value is not None}
        if timed:
            found[variant] = timed
    batches = list(dict.fromkeys(one.batch for one in conditions if one.batch))
    return Times(found, " and ".join(batches), ", ".join(part for part in conditions[0].key[:2] if part))


def _ms(setting: Setting, variant: str, prefix: str, condition: Condition) -> Quantity:
    if prefix:
        return latency(setting, variant, condition, "").ms
    rate = speed(setting, variant, "", condition, "").images_per_s
    if not rate.value:
        return Quantity(reason=rate.reason)
    low, high = (1e3 / end if end else None for end in (rate.high, rate.low))
    return Quantity(1e3 / rate.value, low, high, rate.n, rate.reason, rate.stale)


def elsewhere(setting: Setting, prefix: str) -> list[Elsewhere]:
    """All throughput timed in this setting that neither the main table nor the figures by resolution show."""
    main = chosen(setting, prefix)
    if main is None:
        return []
    shown = {one.key: one for one in [main, *by_resolution(setting, prefix)]}
    metrics = {prefix + name: name for name in ("images_per_s", "ratio", "peak_mib")}
    rows = setting.rows[setting.rows["metric"].isin(metrics) & setting.rows["value"].notna()]
    rows = rows[~(rows["cell"].isin(_elsewhere_based(setting)) & (rows["metric"] == prefix + "ratio"))]
    found = []
    for (variant, backend, *key), group in rows.groupby(["variant", "backend", *CONDITION], sort=True):
        here = shown.get(tuple(key))
        if here is not None and backend in ("", fastest(setting, str(variant), prefix, here)):
            continue
        values = dict.fromkeys(metrics.values()) | {
            metrics[metric]: float(value) for metric, value in zip(group["metric"], group["value"], strict=True)
        }
        where = f"{WORKS[prefix]}: {Condition(tuple(key), None, Quantity()).words()}"
        by = " and ".join(kernels(group))
        found.append(Elsewhere(variant, f"{backend} ({by})" if by else backend, where, **values))
    return found


def _timed(setting: Setting, prefix: str) -> pd.DataFrame:
    """The rows that hold a time of this kind, those of runs against another baseline left out."""
    rows = setting.rows[setting.rows["metric"].isin([TIME[prefix], prefix + "ratio"])]
    return rows[rows["value"].notna() & ~rows["cell"].isin(_elsewhere_based(setting))]


def _elsewhere_based(setting: Setting) -> set[str]:
    """The runs whose ratios are to another baseline: it is their A/A copy's variant that says so."""
    copies = setting.rows[setting.rows["metric"].isin(AA)]
    return set(copies.loc[copies["variant"] != setting.baseline, "cell"])


def _condition(setting: Setting, prefix: str, key: tuple[str, ...]) -> Condition:
    """A condition with the floor and the remarks of its rounds."""

    def under(metric: str) -> pd.DataFrame:
        rows = setting.named(metric)
        return rows[np.logical_and.reduce([rows[column] == part for column, part in zip(CONDITION, key, strict=True)])]

    aa = quantity.timed(under(prefix + "aa_ratio"), "the A/A ratio was not measured")
    remarks = [f"{note[:1].upper()}{note[1:]}." for note in dict.fromkeys(under(TIME[prefix])["note"]) if note]
    if by := kernels(under(TIME[prefix])):
        remarks.append(f"Kernels behind sdpa: {'; '.join(f'{name} for {listing(v)}' for name, v in by.items())}.")
    ceiling = under(prefix + "ceiling_gmac_per_s")
    ceiling = ceiling[ceiling["value"].notna()]
    if len(ceiling):
        top = ceiling.iloc[-1]
        remarks.append(f"MFU is the share of what {top['note'] or 'a matmul'} reached beside them, "
                       f"{significant(float(top['value']))} GMAC/s.")  # fmt: skip
    return Condition(key, None if aa.estimate is None else aa_floor(aa.estimate), aa, remarks)


def kernels(rows: pd.DataFrame) -> dict[str, list[str]]:
    """By kernel of torch's scaled_dot_product_attention, such as flash or math, the variants that it served."""
    found: dict[str, list[str]] = {}
    for variant, params in zip(rows["variant"], rows["params"], strict=True):
        if "kernel" in params and variant not in found.setdefault(params["kernel"], []):
            found[params["kernel"]].append(variant)
    return found


def _under(setting: Setting, variant: str, metric: str, condition: Condition | None) -> pd.DataFrame:
    """The rows of a metric under the condition, after the failures that may be about it.

    A failed measurement may know less of where it ran than others.
    """
    found = setting.named(metric, variant)
    if condition is None:
        return found
    null = found[found["value"].isna()]
    for column in ("device", "precision", "test_px") if len(null) else ():
        null = null[null[column].isin(["", condition.key[CONDITION.index(column)]])]
    measured = setting.under(metric, variant, condition.key)
    return measured if null.empty else pd.concat([null, measured])


def _resolved(ratio: Quantity, condition: Condition | None) -> bool:
    """Whether a time ratio is told from 1 under the condition."""
    if ratio.estimate is None or condition is None:
        return False
    return ratio_resolved(ratio.estimate, condition.floor)
