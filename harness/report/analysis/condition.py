"""A measuring condition of speed: where and in which rounds variants were timed, and the A/A floor of those rounds.

Variants are compared under one condition only (device, precision, batch size, resolution) and within one run, whose
rounds they shared: where there is a choice, of the newest source, at the training resolution, with most variants.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from harness.report.analysis import quantity
from harness.report.analysis.quantity import Quantity
from harness.report.study.rows import side
from harness.report.study.study import CONDITION, Setting
from harness.report.text.formatting import significant
from harness.results.stats import Estimate, aa_floor, ratio_resolved

TIME = {"": "images_per_s", "train_": "train_images_per_s", "latency_": "latency_ms"}  # by the prefix of the metrics


@dataclass(frozen=True)
class Condition:
    """Where and how speed was measured, and what the baseline differs from itself there: the A/A floor.

    `remarks` are sentences on the rounds: a batch that was halved, the matmul ceiling.
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


def chosen(setting: Setting, prefix: str) -> Condition | None:
    """What inference (""), training ("train_") or latency ("latency_") is compared under; None where none was timed."""
    rows = timed(setting, prefix)
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
    rows = timed(setting, prefix)
    rows = rows[(rows["device"] == device) & (rows["precision"] == precision) & (rows["cell"] == cell)]
    keys = dict.fromkeys(rows[list(CONDITION)].itertuples(index=False, name=None))
    found = [_condition(setting, prefix, tuple(key)) for key in keys]
    return sorted((one for one in found if side(one.px) >= 0), key=lambda one: (side(one.px), one.key))


def timed(setting: Setting, prefix: str) -> pd.DataFrame:
    """The rows that hold a time of this kind, those of runs against another baseline left out."""
    rows = setting.rows[setting.rows["metric"].isin([TIME[prefix], prefix + "ratio"])]
    return rows[rows["value"].notna() & ~rows["cell"].isin(elsewhere_based(setting))]


def _condition(setting: Setting, prefix: str, key: tuple[str, ...]) -> Condition:
    """A condition with the floor and the remarks of its rounds."""
    aa = quantity.ratio(under(setting.named(prefix + "aa_ratio"), key), "the A/A ratio was not measured")
    notes = under(setting.named(TIME[prefix]), key)["note"]
    remarks = [f"{note[:1].upper()}{note[1:]}." for note in dict.fromkeys(notes) if note]
    ceiling = under(setting.named(prefix + "ceiling_gmac_per_s"), key)
    ceiling = ceiling[ceiling["value"].notna()]
    if len(ceiling):
        top = ceiling.iloc[-1]
        remarks.append(f"MFU is the share of what {top['note'] or 'a matmul'} reached beside them, "
                       f"{significant(float(top['value']))} GMAC/s.")  # fmt: skip
    return Condition(key, floor(aa), aa, remarks)


def elsewhere_based(setting: Setting) -> set[str]:
    """The runs whose ratios are to another baseline: it is their A/A copy's variant that says so."""
    copies = setting.rows[setting.rows["metric"].str.endswith("aa_ratio")]
    return set(copies.loc[copies["variant"] != setting.baseline, "cell"])


def under(rows: pd.DataFrame, key: tuple[str, ...]) -> pd.DataFrame:
    """The rows measured under a condition."""
    inside = np.ones(len(rows), dtype=bool)
    for column, part in zip(CONDITION, key, strict=True):
        inside &= rows[column].to_numpy() == part
    return rows if inside.all() else rows[inside]


def failed(rows: pd.DataFrame, key: tuple[str, ...]) -> pd.DataFrame:
    """The null rows that may be about a condition: a failed measurement may know less of where it ran than others."""
    if rows["value"].notna().all():
        return rows.iloc[:0]
    rows = rows[rows["value"].isna()]
    inside = pd.Series(True, index=rows.index)
    for column in ("device", "precision", "test_px"):
        inside &= rows[column].isin(["", key[CONDITION.index(column)]])
    return rows[inside]


def floor(aa: Quantity) -> float | None:
    """The A/A floor as a share of 1; None where the A/A ratio has no interval."""
    return None if aa.value is None else aa_floor(Estimate(aa.value, aa.low, aa.high, aa.n, 0.95))


def resolved(ratio: Quantity, condition: Condition | None) -> bool:
    """Whether a time ratio is told from 1 under the condition."""
    if ratio.value is None or condition is None:
        return False
    return ratio_resolved(Estimate(ratio.value, ratio.low, ratio.high, ratio.n, 0.95), condition.floor)
