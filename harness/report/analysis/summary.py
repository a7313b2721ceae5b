"""What a setting's rows say about each variant: the numbers behind verdict, table and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from harness.report.analysis import timing
from harness.report.analysis.condition import chosen
from harness.report.analysis.quantity import Quantity, last, mean, no_interval
from harness.report.study import images
from harness.report.study.rows import by_number
from harness.report.study.rules import beside
from harness.report.study.study import Setting
from harness.results.stats import (
    FEWEST_SEEDS,
    Difference,
    Estimate,
    Improvement,
    holm,
    paired_difference,
    probability_of_improvement,
)

UNMEASURED = "not measured"

# A failure explains the missing numbers of its own group; one of another metric (a cell that never began) explains all.
GROUPS = {
    "accuracy": ("top1", "top5", "val_top1", "loss", "train_s"),
    "size": ("params", "gmac"),
    "inference": ("images_per_s", "ratio", "aa_ratio", "peak_mib", "mfu", "parity", "ceiling_gmac_per_s"),
    "training": ("train_images_per_s", "train_ratio", "train_aa_ratio", "train_peak_mib", "train_mfu", "train_parity",
                 "train_ceiling_gmac_per_s"),
    "latency": ("latency_ms", "latency_ratio", "latency_aa_ratio"),
    "finetuning": ("finetuned_top1",),
    "shift": ("shift_px_consistency", "shift_patch_consistency"),
    "maps": ("attention_distance",),
}  # fmt: skip
AFTER_TRAINING = ("finetuning", "shift", "maps")


@dataclass(frozen=True)
class Summary:
    """A variant's numbers in one setting; accuracy in %, differences in percentage points.

    p: of the paired t test, adjusted by Holm over the variants that have one. over_images: the difference with an
    interval over seeds and test images both, None where the answers were not kept.
    """

    variant: str
    family: str
    is_baseline: bool
    params: Quantity
    gmac: Quantity
    inference: timing.Speed
    training: timing.Speed
    latency: timing.Latency
    top1: Quantity
    seeds: dict[str, float]  # top-1 by seed at the training resolution, %
    failed_seeds: list[str]
    images: int | None  # of the test split, None where the rows do not say
    difference: Difference | None
    unpaired: str  # why there is no difference, or no interval on it
    remark: str = ""  # what the rows say of the pairing
    p: float | None = None
    improvement: Improvement | None = None
    over_images: Estimate | None = None

    @property
    def stale(self) -> bool:
        return any(quantity.stale for quantity in (self.params, self.gmac, self.top1))


def summaries(setting: Setting) -> list[Summary]:
    """One per variant, the baseline first."""
    accuracy = {variant: _accuracy(setting, variant) for variant in setting.variants}
    by_seed = {variant: _by_seed(rows) for variant, rows in accuracy.items()}
    baseline = by_seed.get(setting.baseline, {})
    compared = comparisons(setting, by_seed)
    differences = {v: paired_difference(by_seed[v], baseline, compared) for v in setting.challengers}
    adjusted = adjusted_p(differences)
    right = {variant: images.right(setting, rows) for variant, rows in accuracy.items()} if setting.correct else {}
    inference, training, alone = (chosen(setting, prefix) for prefix in ("", "train_", "latency_"))
    found = []
    for variant in setting.variants:
        rows, seeds = accuracy[variant], by_seed[variant]
        is_baseline = variant == setting.baseline
        difference = differences.get(variant)
        why = {group: failure(setting, variant, group) for group in GROUPS}
        found.append(
            Summary(
                variant=variant,
                family=setting.families.get(variant, ""),
                is_baseline=is_baseline,
                params=last(setting.named("params", variant), why["size"]),
                gmac=last(setting.named("gmac", variant), why["size"]),
                inference=timing.speed(setting, variant, "", inference, why["inference"]),
                training=timing.speed(setting, variant, "train_", training, why["training"]),
                latency=timing.latency(setting, variant, alone, why["latency"]),
                top1=_top1(rows, seeds, why["accuracy"]),
                seeds=seeds,
                failed_seeds=sorted(set(rows[rows["value"].isna()]["seed"]) - set(seeds) - {""}, key=by_number),
                images=int(rows["n"].max()) if rows["n"].notna().any() else None,
                difference=difference,
                unpaired=why["accuracy"]
                if is_baseline
                else _unpaired(setting, difference, seeds, baseline, why["accuracy"]),
                remark=next((said for said in map(beside, rows[rows["value"].notna()]["note"]) if said), ""),
                p=adjusted.get(variant),
                improvement=None if is_baseline else probability_of_improvement(seeds, baseline),
                over_images=images.over_images(right.get(variant, {}), right.get(setting.baseline, {}), difference),
            )
        )
    return found


def comparisons(setting: Setting, by_seed: dict[str, dict[str, float]]) -> int:
    """How many variants get an interval on their difference: the m of the simultaneous confidence."""
    baseline = by_seed.get(setting.baseline, {})
    pairs = [len(baseline.keys() & by_seed[variant].keys()) for variant in setting.challengers]
    return max(1, sum(count >= FEWEST_SEEDS for count in pairs))


def adjusted_p(differences: Mapping[str, Difference | None]) -> dict[str, float]:
    """By variant, the p of its paired t test, adjusted by Holm over all that have one."""
    raw = {variant: one.p for variant, one in differences.items() if one is not None and one.p is not None}
    return dict(zip(raw, holm(list(raw.values())), strict=True))


def failure(setting: Setting, variant: str, group: str) -> str:
    """Why the numbers of a group may be missing: the newest sentence that a failed or refused measurement left.

    What needs a trained model is missing where the training failed, too.
    """
    rows = setting.rows[setting.rows["variant"] == variant]
    failed = rows[rows["value"].isna()]
    grouped = [metric for metrics in GROUPS.values() for metric in metrics]
    for name in (group, *(["accuracy"] if group in AFTER_TRAINING else [])):
        about = failed[failed["metric"].isin(GROUPS[name]) | ~failed["metric"].isin(grouped)]
        if len(about):
            return str(about["note"].iloc[-1])
    return str(failed["note"].iloc[-1]) if len(failed) and rows["value"].isna().all() else UNMEASURED


def _accuracy(setting: Setting, variant: str) -> pd.DataFrame:
    rows = setting.named("top1", variant)
    if not setting.train_px:
        return rows
    return rows[rows["test_px"].isin([setting.train_px, ""])]


def _by_seed(rows: pd.DataFrame) -> dict[str, float]:
    """Top-1 by seed, %; of two rows about one seed the newer counts."""
    good = rows[rows["value"].notna()]
    found = dict(zip(good["seed"], good["value"].astype(float), strict=True))
    return {seed: found[seed] for seed in sorted(found, key=by_number)}


def _top1(rows: pd.DataFrame, seeds: dict[str, float], reason: str) -> Quantity:
    if not seeds:
        return last(rows, reason)
    return mean(list(seeds.values()), reason, bool(rows["stale"].any()))


def _unpaired(
    setting: Setting, difference: Difference | None, seeds: dict[str, float], baseline: dict[str, float], reason: str
) -> str:
    if difference is not None:
        return no_interval(difference.estimate.n, difference.estimate.low)
    if not baseline:
        return f"no difference: there is no top-1 of the baseline {setting.baseline} in this setting"
    if not seeds:
        return reason
    return f"no difference: it shares no seed with the baseline {setting.baseline}"
