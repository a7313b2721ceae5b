"""What a page decides on: one primary family of contrasts; all else on it is exploratory.

The primary family has the main variants' contrasts with the baseline in top-1 at the training resolution, with the
largest share of the images. Which variants are main is recorded in the recipe at a study's first start (`--primary`);
where it is not, all are but control arms and the arms of ablations of another than the baseline.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.report.study.rows import by_number
from harness.results.family import Rule
from harness.results.stats import FEWEST_SEEDS

if TYPE_CHECKING:
    from harness.report.study.study import Setting

ALPHA = 0.05
DELTA = 0.5  # points: what counts as equal where a recipe does not say
MANY = 4  # contrasts: a recipe beside a larger one is an ablation's arm where it has fewer
CONTROLS = "controls"  # the family of the widened baselines
BRACKETS = re.compile(r"\[[^\[\]]*\]")


def main_variants(setting: Setting) -> list[str]:
    """The variants with a top-1 whose contrasts may be primary."""
    trained = [v for v in setting.challengers if setting.top1[v]]
    named = (setting.recipe or {}).get("primary")
    if isinstance(named, list) and named:
        return [v for v in trained if v in named]
    return without_arms(trained, {v: setting.families[v] for v in setting.challengers})


def without_arms(variants: Sequence[str], families: Mapping[str, str]) -> list[str]:
    """Those that are no control, and no setting of another that is among `families`, too.

    families: by variant, without the baseline, whose own settings are compared with it.
    """
    others = [v for v in variants if families[v] != CONTROLS]
    return [v for v in others if (plain := BRACKETS.sub("", v)) == v or plain not in families]


def is_main(setting: Setting, page: Sequence[Setting]) -> bool:
    """Whether the largest share of the images and a recipe that is no ablation's arm trained it."""
    shares = [
        other for other in page if other.key._replace(train_fraction="") == setting.key._replace(train_fraction="")
    ]
    if by_number(setting.train_fraction or "1") < max(by_number(other.train_fraction or "1") for other in shares):
        return False
    beside = [len(main_variants(one)) for one in page if one.key._replace(recipe="") == setting.key._replace(recipe="")]
    mine = len(main_variants(setting))
    return mine >= min(MANY, max(beside))


def rule(setting: Setting, page: Sequence[Setting]) -> Rule:
    """Of the primary contrasts of a setting: one family over the page, its 5 % divided by the looks at the rows."""
    many = 0
    for one in page:
        arms = {v: one.top1[v] for v in [one.baseline, *one.primary] if v in one.top1}
        many += contrasts(arms, one.baseline, one.same)
    return Rule(max(1, many), ALPHA / max(1, *(len(looks(one)) for one in page)), delta(setting))


def exploratory_rule(by_seed: Mapping[str, Mapping[str, float]], setting: Setting, delta: float | None = None) -> Rule:
    """Of contrasts that are a family of their own."""
    return Rule(max(1, contrasts(by_seed, setting.baseline, setting.same)), ALPHA, delta)


def delta(setting: Setting) -> float:
    """Points: smaller differences of accuracy count as none."""
    said = (setting.recipe or {}).get("delta")
    return float(said) if isinstance(said, int | float) and 0 < said < math.inf else DELTA


def looks(setting: Setting) -> list[Mapping[str, Any]]:
    """The plans of seeds that the recipe records, each with its date; [] where it records none."""
    said = (setting.recipe or {}).get("looks")
    return [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []


def contrasts(by_seed: Mapping[str, Mapping[str, float]], baseline: str, same: Mapping[str, str]) -> int:
    """How many contrasts with the baseline have an interval; variants that are one model are one.

    same: by variant the one whose trainings are the same model (`Setting.same`), the variant itself where it is not
    named. They are one contrast only where these values are the same, too.
    """
    base = by_seed.get(baseline, {})
    distinct = {
        (same.get(variant, variant), frozenset(seeds.items()))
        for variant, seeds in by_seed.items()
        if len(base.keys() & seeds.keys()) >= FEWEST_SEEDS
    }
    return len(distinct - {(baseline, frozenset(base.items()))})
