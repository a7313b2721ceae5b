"""What a setting's rows say about each variant: the numbers behind verdict, table and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.report.analysis import timing
from harness.report.analysis.quantity import UNMEASURED, Quantity, last, mean, no_interval
from harness.report.study import images
from harness.report.study.rows import by_number
from harness.report.study.study import Key, Setting
from harness.report.text.sentences import pairing
from harness.results.metrics import METRICS, WORKS, follows_training, of_group
from harness.results.stats import (
    FEWEST_SEEDS,
    Difference,
    Estimate,
    Improvement,
    holm,
    paired_difference,
    probability_of_improvement,
)


@dataclass(frozen=True)
class Summary:
    """A variant's numbers in one setting; accuracy in %, differences in percentage points.

    p: of the paired t test, adjusted by Holm over the variants that have one. over_images: the difference with an
    interval over seeds and test images both, None where the answers were not kept. places: of each test image. same_as:
    the others whose trainings are the same model, so that all are one comparison. more: the other metrics of size and
    accuracy that have a column, by name.
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
    same_as: tuple[str, ...] = ()
    more: Mapping[str, Quantity] = field(default_factory=dict)
    places: int = 1

    @property
    def stale(self) -> bool:
        return any(quantity.stale for quantity in (self.params, self.gmac, self.top1))


OWN = ("params", "gmac", "top1")  # metrics of size and accuracy that are fields of a Summary
Found = Mapping[Key, Sequence[Summary]]  # by the key of its setting
BySeed = Mapping[str, Mapping[str, float]]  # variant -> seed -> value


def summaries(setting: Setting) -> list[Summary]:
    """One per variant, the baseline first."""
    by_seed = {variant: setting.by_seed("top1", variant) for variant in setting.variants}
    differences = differences_of(by_seed, setting.baseline, setting.same)
    adjusted = adjusted_p(differences, setting.same)
    inference, training, alone = (timing.chosen(setting, prefix) for prefix in WORKS)
    right = {v: images.right(setting, setting.at("top1", v)) if setting.correct else {} for v in setting.variants}
    base, found = by_seed.get(setting.baseline, {}), []
    for variant, seeds in by_seed.items():
        rows = setting.at("top1", variant)
        why = {group: failure(setting, variant, group) for group in ("accuracy", "size", *WORKS.values())}
        is_baseline, difference = variant == setting.baseline, differences.get(variant)
        explained = is_baseline or (base and not seeds)
        found.append(
            Summary(
                variant=variant,
                family=setting.families[variant],
                is_baseline=is_baseline,
                params=last(setting.named("params", variant), why["size"]),
                gmac=last(setting.named("gmac", variant), why["size"]),
                inference=timing.speed(setting, variant, "", inference, why["inference"]),
                training=timing.speed(setting, variant, "train_", training, why["training"]),
                latency=timing.latency(setting, variant, alone, why["latency"]),
                top1=seed_mean(setting, "top1", variant, why["accuracy"]),
                seeds=seeds,
                failed_seeds=sorted(set(rows[rows["value"].isna()]["seed"]) - set(seeds) - {""}, key=by_number),
                images=int(rows["n"].max()) if rows["n"].notna().any() else None,
                difference=difference,
                unpaired=why["accuracy"] if explained else unpaired(setting, difference, base),
                remark=next(filter(None, map(pairing, rows[rows["value"].notna()]["params"])), ""),
                p=adjusted.get(variant),
                improvement=None if is_baseline else probability_of_improvement(seeds, base),
                over_images=images.over_images(right[variant], right.get(setting.baseline, {}), difference),
                places=max((params.get("places", 1) for params in rows["params"]), default=1),
                same_as=tuple(v for v in by_seed if v != variant and setting.same[v] == setting.same[variant]),
                more=more(setting, variant, why),
            )
        )
    return found


def more(setting: Setting, variant: str, why: Mapping[str, str]) -> dict[str, Quantity]:
    """What a heading in harness/results/metrics.py adds to the main table: the newest size, the mean of an accuracy."""
    headed = [metric for metric in METRICS.values() if metric.heading and metric.name not in OWN]
    sizes = {m.name: last(setting.named(m.name, variant), why["size"]) for m in headed if m.group == "size"}
    means = {m.name: seed_mean(setting, m.name, variant, why["accuracy"]) for m in headed if m.group == "accuracy"}
    return sizes | means


def seed_mean(setting: Setting, metric: str, variant: str, reason: str, part: str = "") -> Quantity:
    """The mean over seeds at the training resolution; without a seed, the newest note of such a row, or `reason`."""
    rows, seeds = setting.at(metric, variant, part=part), setting.by_seed(metric, variant, part=part)
    if not seeds:
        return last(rows, reason)
    return mean(list(seeds.values()), "", bool(rows["stale"].any()), METRICS[metric].within)


def differences_of(by_seed: BySeed, baseline: str, same: Mapping[str, str]) -> dict[str, Difference | None]:
    """By variant other than the baseline its paired difference to it, with intervals that hold all together."""
    many, base = comparisons(by_seed, baseline, same), by_seed.get(baseline, {})
    others = {variant: seeds for variant, seeds in by_seed.items() if variant != baseline}
    return {variant: paired_difference(seeds, base, many) for variant, seeds in others.items()}


def comparisons(by_seed: BySeed, baseline: str, same: Mapping[str, str]) -> int:
    """How many comparisons with the baseline have an interval, at least 1; variants that are one model are one.

    same: by variant the one whose trainings are the same model (`Setting.same`), the variant itself where it is not
    named. They are one comparison only where these values are the same, too.
    """
    base = by_seed.get(baseline, {})
    distinct = {
        (same.get(variant, variant), frozenset(seeds.items()))
        for variant, seeds in by_seed.items()
        if len(base.keys() & seeds.keys()) >= FEWEST_SEEDS
    }
    return max(1, len(distinct - {(baseline, frozenset(base.items()))}))


def adjusted_p(differences: Mapping[str, Difference | None], same: Mapping[str, str]) -> dict[str, float]:
    """By variant, the p of its paired t test, adjusted by Holm over all that have one; the same model counts once."""
    p = {variant: one.p for variant, one in differences.items() if one is not None and one.p is not None}
    raw = {(same.get(variant, variant), one): one for variant, one in p.items()}
    adjusted = dict(zip(raw, holm(list(raw.values())), strict=True))
    return {variant: adjusted[same.get(variant, variant), one] for variant, one in p.items()}


def failure(setting: Setting, variant: str, group: str) -> str:
    """Why the numbers of a group of metrics are missing: the newest sentence that a failed measurement of it left.

    What is measured on trained weights is missing where the training failed, too; and everything is where a variant
    that was refused, or could not be trained, has no number at all.
    """
    failed = setting.failures(variant)
    refused = [] if setting.has_values(variant) else ["size", "accuracy"]
    for name in (group, *(["accuracy"] if follows_training(group) else []), *refused):
        about = failed[failed["metric"].isin([metric.name for metric in of_group(name)])]
        if len(about):
            return str(about["note"].iloc[-1])
    return UNMEASURED


def unpaired(
    setting: Setting, difference: Difference | None, baseline: Mapping[str, float], what: str = "top-1"
) -> str:
    """Why a variant with numbers has no difference to the baseline, or no interval on it; "" where it has both."""
    if difference is not None:
        return no_interval(difference.estimate.n, difference.estimate.low)
    if not baseline:
        return f"no difference: there is no {what} of the baseline {setting.baseline} in this setting"
    return f"no difference: it shares no seed with the baseline {setting.baseline}"
