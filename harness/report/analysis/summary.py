"""What a setting's rows say about each variant: the numbers behind verdict, table and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.report.analysis import timing
from harness.report.analysis.quantity import UNMEASURED, Quantity, last, mean, no_interval
from harness.report.study import images
from harness.report.study.primary import delta, exploratory_rule
from harness.report.study.rows import by_number
from harness.report.study.study import Key, Setting
from harness.report.text.sentences import pairing
from harness.results.family import Rule, contrasts
from harness.results.metrics import METRICS, WORKS, follows_training, of_group
from harness.results.stats import (
    Difference,
    Estimate,
    Improvement,
    probability_of_improvement,
)


@dataclass(frozen=True)
class Summary:
    """A variant's numbers in one setting; accuracy in %, differences in percentage points.

    p: of no difference, adjusted for its family. primary: whether the page decides on it. over_images: the difference
    with an interval over seeds and test images both, None where the answers were not kept. places: of each test image.
    same_as: the others whose trainings are the same model, so that all are one comparison. more: the other metrics of
    size and accuracy that have a column, by name.
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
    primary: bool = False
    improvement: Improvement | None = None
    over_images: Estimate | None = None
    same_as: tuple[str, ...] = ()
    more: Mapping[str, Quantity] = field(default_factory=dict)
    places: int = 1

    @property
    def decided(self) -> bool:
        """Whether it is a primary contrast that is better or worse than the baseline."""
        return self.primary and self.difference is not None and self.difference.resolved

    @property
    def stale(self) -> bool:
        return any(quantity.stale for quantity in (self.params, self.gmac, self.top1))


OWN = ("params", "gmac", "top1")  # metrics of size and accuracy that are fields of a Summary
Found = Mapping[Key, Sequence[Summary]]  # by the key of its setting
BySeed = Mapping[str, Mapping[str, float]]  # variant -> seed -> value


def summaries(setting: Setting) -> list[Summary]:
    """One per variant, the baseline first."""
    by_seed, differences = setting.top1, main_differences(setting)
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
                p=None if difference is None else difference.adjusted,
                primary=variant in setting.primary,
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


def main_differences(setting: Setting) -> dict[str, Difference]:
    """By variant its difference in top-1; the page's primary ones are one family, the others here are another."""
    found: dict[str, Difference] = {}
    for primary in (True, False):
        by_seed = {
            v: seeds for v, seeds in setting.top1.items() if v == setting.baseline or (v in setting.primary) == primary
        }
        rule = setting.rule if primary else exploratory_rule(by_seed, setting, delta(setting))
        found |= differences_of(by_seed, setting, rule)
    return found


def differences_of(by_seed: BySeed, setting: Setting, rule: Rule | None = None) -> dict[str, Difference]:
    """By variant its paired difference to the baseline, for those that share a seed with it.

    Variants that are one model, and have the same values here, are one contrast. Without a rule these are a family of
    their own, in which nothing counts as equal.
    """
    base = by_seed.get(setting.baseline, {})
    keys = {
        v: (setting.same.get(v, v), frozenset(seeds.items())) for v, seeds in by_seed.items() if v != setting.baseline
    }
    values = {
        key: {s: x - base[s] for s, x in sorted(key[1], key=lambda one: by_number(one[0])) if s in base}
        for key in keys.values()
    }
    found = contrasts(values, rule or exploratory_rule(by_seed, setting))
    return {variant: found[key] for variant, key in keys.items() if key in found}


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
