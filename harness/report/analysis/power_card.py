"""The power card: whether a setting could tell its variants apart, before anyone reads how they did.

Attention headroom: what attention is worth at all, plain attention minus the mean of all patches (`uniform`). Position
headroom: what a bias is worth where nothing else says where a patch is, the best variant without a position embedding
minus plain attention there; the best by the validation split, the difference by the test split. Plain attention is
`sa`, whatever the baseline is. A setting ranks biases where the lower limits of both are 3 times the smallest
difference that it detects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from harness.backbone.sizes import SIZES
from harness.report.analysis.learning import learnings
from harness.report.analysis.summary import Found, Summary
from harness.report.study.primary import CONTROLS, main_variants
from harness.report.study.recipes import COLUMNS, differing
from harness.report.study.study import Setting
from harness.report.text.formatting import interval, listing, percent, percentage, plural, points
from harness.results.stats import POWER, Difference, Estimate, detectable, mean_interval

PLAIN, UNIFORM = "sa", "uniform"  # plain attention; the variant that takes the mean of all patches
TIMES = 3  # the smallest detectable difference goes so often into a headroom that tells biases apart
LAST = 0.1  # the part of a training whose gain says whether it had converged
UNMEASURED = "not measured"


@dataclass(frozen=True)
class Card:
    """Of one setting: numbers by name, and why it does not rank biases, "" where it does.

    known: whether what decides that was measured.
    """

    name: str
    lines: list[tuple[str, str]]
    failed: str
    known: bool = True

    @property
    def lead(self) -> str:
        """What a page says first where the setting fails."""
        return "This setting cannot rank biases" if self.known else "It is not known whether this setting ranks biases"


def cards(settings: Sequence[Setting], found: Found) -> list[Card]:
    """One for each setting in which something is decided; a probe asks what can be learned, and ranks nothing."""
    return [card(one, settings, found) for one in settings if one.primary and one.probe is None]


def card(setting: Setting, settings: Sequence[Setting], found: Found) -> Card:
    """The five numbers of a setting."""
    mine = {s.variant: s for s in found[setting.key]}
    tested = [
        s.difference for s in mine.values() if s.primary and s.difference and s.difference.estimate.low is not None
    ]
    attention = headroom(mine.get(PLAIN), mine.get(UNIFORM))
    best, position = position_headroom(setting, settings, found)
    found_by = [least for one in tested if (least := detectable(one)) is not None]
    smallest = median(found_by) if found_by else None
    lines = [
        ("Attention headroom", said(attention, remedy(mine)) + plain_layers(setting, attention)),
        ("Position headroom", said(position) + (f", {best}" if best else "")),
        ("Convergence", convergence(setting)),
        ("Distance to the ceiling", ceiling(found[setting.key])),
        ("Power", power(tested, setting.rule.compared, smallest)),
    ]
    failed = failure({"attention headroom": attention, "position headroom": position}, smallest, remedy(mine))
    return Card(setting.name, lines, failed, known=smallest is not None and attention is not None)


def power(tested: Sequence[Difference], compared: int, smallest: float | None) -> str:
    """Seeds, comparisons, the spread of differences, and what they detect: medians over the contrasts."""
    if smallest is None:
        return "no contrast has an interval"
    seeds = sorted({one.estimate.n for one in tested})
    several = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else plural(seeds[0], "seed")
    return (
        f"{several}, {plural(compared, 'comparison')}, median sd of paired differences "
        f"{percent(median(one.sd or 0.0 for one in tested))}: {percent(smallest)} points is the smallest difference "
        f"detected in {percentage(POWER)} of studies"
    )


def remedy(found: Mapping[str, Summary]) -> str:
    """What an attention headroom that was not measured lacks."""
    missing = [v for v in (PLAIN, UNIFORM) if v not in found or not found[v].seeds]
    return f"add {listing(missing)}" if missing else f"train {PLAIN} and {UNIFORM} with the same seeds"


def failure(headrooms: Mapping[str, Estimate | None], smallest: float | None, remedy: str) -> str:
    """The number that fails, in words; "" where none does. A position headroom may be missing, the other may not."""
    if smallest is None:
        return "no contrast has an interval."
    if headrooms["attention headroom"] is None:
        return f"its attention headroom is not measured; {remedy}."
    for name, one in headrooms.items():
        low = None if one is None else one.low
        if one is not None and (low is None or low < TIMES * smallest):
            least = "has no interval" if low is None else f"is {points(low)} points at its lower limit"
            most = percent(TIMES * smallest)
            return f"its {name} {least}, and {TIMES} times the smallest detectable difference is {most}."
    return ""


def headroom(more: Summary | None, less: Summary | None) -> Estimate | None:
    """The mean paired difference of two variants in points, with its 95 % interval; None where they share no seed."""
    if more is None or less is None:
        return None
    paired = [more.seeds[seed] - less.seeds[seed] for seed in more.seeds if seed in less.seeds]
    return mean_interval(paired) if paired else None


def position_headroom(setting: Setting, settings: Sequence[Setting], found: Found) -> tuple[str, Estimate | None]:
    """The best variant without a position embedding, and what it has over plain attention there."""
    for other in settings:
        if other.recipe is None or setting.recipe is None or other.recipe.get("pos_embed") != "none":
            continue
        images = other.key._replace(recipe="") == setting.key._replace(recipe="")
        if images and set(differing([other.recipe, setting.recipe], COLUMNS)) <= {"pos_embed", "pos_std"}:
            mine = {s.variant: s for s in found[other.key]}
            ends = {one.variant: fmean(by[max(by)] for by in one.top1.values()) for one in learnings(other)}
            biases = [
                v for v in (other.baseline, *main_variants(other)) if other.families[v] != CONTROLS and v != PLAIN
            ]
            ranked = [v for v in biases if v in ends and mine[v].seeds]
            if ranked and PLAIN in mine:
                best = max(ranked, key=lambda v: ends[v])
                return best, headroom(mine[best], mine[PLAIN])
    return "", None


def plain_layers(setting: Setting, measured: Estimate | None) -> str:
    """That plain attention in other layers is no part of an attention headroom."""
    recipe = setting.recipe or {}
    size, spatial = SIZES.get(str(recipe.get("size"))), recipe.get("spatial_layers")
    if measured is None or size is None or not isinstance(spatial, int) or spatial >= size.depth:
        return ""
    return f"; {size.depth - spatial} of {size.depth} layers are plain attention, and it says nothing about these"


def convergence(setting: Setting) -> str:
    """What the last tenth of the training gained on the validation split: the mean over arms, and the most."""
    gains = []
    for one in learnings(setting):
        ends = [(by_epoch[max(by_epoch)], before(by_epoch)) for by_epoch in one.top1.values()]
        known = [end - start for end, start in ends if start is not None]
        if known:
            gains.append(fmean(known))
    if not gains:
        return UNMEASURED
    mean, most = points(fmean(gains)), points(max(gains))
    return f"the last tenth of training gains {mean} points of validation top-1 (at most {most})"


def before(by_epoch: Mapping[int, float]) -> float | None:
    """The last value before the last tenth of the epochs began; None where none was validated."""
    early = [epoch for epoch in by_epoch if epoch <= (1 - LAST) * max(by_epoch)]
    return by_epoch[max(early)] if early else None


def ceiling(found: Sequence[Summary]) -> str:
    """What the best mean leaves to 100 %."""
    means = [s.top1.value for s in found if s.top1.value is not None]
    return f"{percent(100 - max(means))} points" if means else UNMEASURED


def said(one: Estimate | None, remedy: str = "") -> str:
    """ "+1.44 points [+0.87, +2.01]", or that it was not measured."""
    if one is None:
        return "; ".join(filter(None, [UNMEASURED, remedy]))
    return " ".join(filter(None, [f"{points(one.center)} points", interval(one.low, one.high, points)]))
