"""SP-ViT's own findings, tested with the study's rows: reproduced, contradicted, or undetermined, with intervals.

The findings are those of the paper's ablations on ImageNet-100, as its published review states them (SP-ViT, BMVC 2022,
arXiv 2206.07662). Each is a paired difference of two arms, seed by seed. One of the primary contrasts of a page has the
verdict that it has there, with all corrections, and only these are reproduced or contradicted; that a difference is
below a bound is read from the contrast's simultaneous interval. The rest is exploratory:
their intervals are simultaneous over the findings that the rows can test, and they suggest. A study elsewhere can say
whether a finding holds there, and not whether it holds on ImageNet-100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harness.backbone.sizes import SIZES
from harness.report.analysis.quantity import InPoints
from harness.report.analysis.summary import Found, Summary
from harness.report.analysis.transfer import curves
from harness.report.study.recipes import COLUMNS, differing
from harness.report.study.study import Setting, alike
from harness.report.text.formatting import confidence, significant
from harness.results import stats
from harness.results.stats import FEWEST_SEEDS, Difference, detectable, paired_difference

REPRODUCED, CONTRADICTED, SAME, OPEN = "reproduced", "contradicted", "equal", "undetermined"
SUGGESTED, SUGGESTED_NOT = "suggested", "the contrary suggested"
DECIDED = {stats.BETTER: REPRODUCED, stats.WORSE: CONTRADICTED, stats.EQUAL: SAME}
GAIN = 0.4  # points: what the paper gained from a hidden width of 16 to one of 32
BySeed = Mapping[str, float]


@dataclass(frozen=True)
class Claim:
    """A finding, and the two variants whose difference tests it.

    `at_most`: the finding is that the difference is less than so many points; else that it is above 0.
    """

    words: str
    one: str
    other: str
    at_most: float | None = None


@dataclass(frozen=True)
class Tested(InPoints):
    """A finding and what the rows say of it: the difference in points, and the verdict."""

    words: str
    arms: str
    difference: Difference
    verdict: str

    @property
    def seen(self) -> str:
        """The smallest true difference that such rows tell from 0 in 80 % of studies, points."""
        least = detectable(self.difference)
        return "" if least is None else significant(least, 2)


@dataclass(frozen=True)
class Claims:
    """What settings that differ in their recipe alone say of the findings; `level` is each interval's."""

    name: str
    level: str
    tested: list[Tested]


WITHIN = (
    Claim("SP-SA is more accurate than plain attention", "sp_sa", "sa"),
    Claim("SP-SA is more accurate than 1-D relative position embeddings", "sp_sa", "rpe_1d"),
    Claim("SP-SA is more accurate than 2-D relative position embeddings", "sp_sa", "rpe_2d"),
    Claim("SP-SA is more accurate than PSA", "sp_sa", "psa"),
    Claim("an MLP of the offset is more accurate than a linear map", "sp_sa", "sp_sa[form=linear]"),
    Claim("a hidden width of 32 is more accurate than one of 16", "sp_sa", "sp_sa[hidden=16]"),
    Claim("a hidden width of 64 gains nothing over 32", "sp_sa[hidden=64]", "sp_sa", at_most=GAIN),
    Claim("a prior for each head is more accurate than one for each layer", "sp_sa", "sp_sa[scope=layer]"),
    Claim("a prior for each head is more accurate than one for the network", "sp_sa", "sp_sa[scope=network]"),
    Claim("one prior for the network is more accurate than one for each layer", "sp_sa[scope=network]",
          "sp_sa[scope=layer]"),
)  # fmt: skip
LATE = "a class token that joins late is more accurate than one from the input on"
LAYERS = "plain attention in the last two layers is more accurate than in the last alone"
FINETUNED = "fine-tuning at {} px gains more than it does for plain attention"


def claims(settings: Sequence[Setting], found: Found) -> list[Claims]:
    """By what settings have in common beside their recipe, probes left out; `found` by the key of its setting."""
    together = []
    for name, unsorted in alike([one for one in settings if one.probe is None], "recipe"):
        members = sorted(unsorted, key=lambda setting: -len(setting.variants))
        own = [(one.key.recipe, [*within(found[one.key]), *finetuned(one)]) for one in members]
        enough = named([(recipe, [*filter(interval_known, pairs)]) for recipe, pairs in own])
        enough += filter(interval_known, across(members, found))
        many = sum(pair.decided is None for pair in enough)
        tested = [one for pair in enough if (one := judge(pair, many)) is not None]
        if len(tested) > 1:
            levels = sorted({confidence(one.difference.estimate.confidence) for one in tested})
            together.append(Claims(name, " or ".join(levels), tested))
    return together


def interval_known(pair: Pair) -> bool:
    """Whether enough seeds have both arms."""
    return len(pair.one.keys() & pair.other.keys()) >= FEWEST_SEEDS


def named(found: Sequence[tuple[str, list[Pair]]]) -> list[Pair]:
    """The pairs of all recipes, finding by finding; where several recipes test one, each says which it is."""
    every = [pair.words for _, pairs in found for pair in pairs]
    made = [
        pair._replace(arms=f"{pair.arms}, {recipe}") if recipe and every.count(pair.words) > 1 else pair
        for recipe, pairs in found
        for pair in pairs
    ]
    order = [claim.words for claim in WITHIN] + every
    return sorted(made, key=lambda pair: order.index(pair.words))


class Pair(NamedTuple):
    """A finding, its arms in words, top-1 by seed of the two; the primary contrast that it is, None for no such."""

    words: str
    arms: str
    one: BySeed
    other: BySeed
    at_most: float | None = None
    decided: Difference | None = None


def within(found: Sequence[Summary]) -> list[Pair]:
    """The findings that compare two variants of a setting."""
    known = {summary.variant: summary for summary in found if summary.seeds}
    pairs = []
    for claim in WITHIN:
        if claim.one in known and claim.other in known:
            one, other = known[claim.one], known[claim.other]
            arms = f"{claim.one} minus {claim.other}"
            pairs.append(Pair(claim.words, arms, one.seeds, other.seeds, claim.at_most, contrast(one, other)))
    return pairs


def contrast(one: Summary, other: Summary) -> Difference | None:
    """The primary contrast that one minus the other is; None where it is none."""
    if one.primary and other.is_baseline:
        return one.difference
    if other.primary and one.is_baseline and other.difference is not None:
        return other.difference.reversed
    return None


def across(members: Sequence[Setting], found: Found) -> list[Pair]:
    """The findings that compare sp_sa in two recipes which differ in one entry alone."""
    arms = []
    for setting in members:
        seeds = next((s.seeds for s in found[setting.key] if s.variant == "sp_sa"), {})
        if seeds and setting.recipe:
            arms.append((setting.recipe, seeds))
    pairs: list[Pair] = []
    for one, seeds in arms:
        for other, theirs in arms:
            entries = differing([one, other], COLUMNS)
            layers = SIZES[one["size"]].depth if one.get("size") in SIZES else 0
            if entries == ["class_token"] and (one.get("class_token"), other.get("class_token")) == ("late", "input"):
                pairs.append(Pair(LATE, "late minus input", seeds, theirs))
            counts = (one.get("spatial_layers"), other.get("spatial_layers"))
            if entries == ["spatial_layers"] and counts == (layers - 2, layers - 1):
                pairs.append(Pair(LAYERS, f"{counts[0]} minus {counts[1]} spatial layers", seeds, theirs))
    return pairs


def finetuned(setting: Setting) -> list[Pair]:
    """Whether fine-tuning at another resolution gains more for sp_sa than for plain attention."""
    gains: dict[str, dict[str, BySeed]] = {}
    for curve in curves(setting):
        if curve.variant in ("sp_sa", "sa"):
            plain = {point.px: point.seeds for point in curve.points}.get(setting.train_px, {})
            for point in curve.finetuned:
                gain = {seed: point.seeds[seed] - plain[seed] for seed in point.seeds if seed in plain}
                gains.setdefault(point.px, {})[curve.variant] = gain
    return [
        Pair(FINETUNED.format(px), "gain of sp_sa minus gain of sa", both["sp_sa"], both["sa"])
        for px, both in gains.items()
        if len(both) > 1
    ]


def judge(pair: Pair, compared: int) -> Tested | None:
    """What the rows say of a finding; None where the seeds give no interval. compared: the exploratory findings."""
    difference = pair.decided or paired_difference(pair.one, pair.other, compared)
    if difference is None or difference.estimate.low is None or difference.estimate.high is None:
        return None
    low, high, words = difference.estimate.low, difference.estimate.high, pair.words
    so, not_so = (SUGGESTED, SUGGESTED_NOT) if pair.decided is None else (REPRODUCED, CONTRADICTED)
    if pair.at_most is not None:
        verdict = so if high < pair.at_most else not_so if low > pair.at_most else OPEN
        words = f"{words} (less than {pair.at_most:g} points)"
    elif pair.decided is not None:
        verdict = DECIDED.get(difference.verdict, OPEN)
    else:
        verdict = so if low > 0 else not_so if high < 0 else OPEN
    return Tested(words, pair.arms, difference, verdict)


def count(found: Sequence[Tested]) -> str:
    """ "2 reproduced, 0 contradicted, 1 suggested, 9 undetermined": the first two always, the others where any is."""
    every = (REPRODUCED, CONTRADICTED, SAME, SUGGESTED, SUGGESTED_NOT, OPEN)
    numbers = {verdict: sum(one.verdict == verdict for one in found) for verdict in every}
    return ", ".join(f"{n} {verdict}" for verdict, n in numbers.items() if n or verdict in every[:2])
