"""The verdict: one generated sentence or two per variant, never stronger than the numbers they are made of.

A primary contrast has one of four verdicts (results/family.py): more accurate, less accurate, equal within delta,
undetermined. An exploratory one only suggests. A time ratio is resolved only where its interval leaves 1 out and it is
above the A/A floor. An interval over seeds is about these test images; where it is known which of them were right, the
verdict also says what other images would leave of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.report.analysis.pareto import SURE, on_front
from harness.report.analysis.summary import Summary
from harness.report.study.primary import delta
from harness.report.study.study import Setting
from harness.report.text.bars import Bar, axis, bar, rank
from harness.report.text.formatting import (
    confidence,
    grouped,
    interval,
    listing,
    p_value,
    percent,
    percentage,
    plural,
    points,
    significant,
    tick,
)
from harness.report.text.sentences import one_model
from harness.results import stats
from harness.results.stats import FEWEST_SEEDS, MOST_SEEDS, POWER

BETTER, WORSE, EQUAL, OPEN = "more accurate", "less accurate", "equal", "undetermined"
MISSING, REFERENCE = "no accuracy", "baseline"
SUGGESTS = "suggests "
OWN = " It is judged by its own spread, which does not belong to the others'."
OUTCOMES = {stats.BETTER: BETTER, stats.WORSE: WORSE, stats.EQUAL: EQUAL}


@dataclass(frozen=True)
class Verdict:
    variant: str
    outcome: str
    sentence: str
    bar: Bar | None
    stale: bool


def outcome(summary: Summary) -> str:
    """One of the words above; an exploratory contrast only suggests one of the first three."""
    if summary.is_baseline:
        return REFERENCE
    if summary.top1.value is None:
        return MISSING
    found = OUTCOMES.get(summary.difference.verdict, OPEN) if summary.difference is not None else OPEN
    return found if summary.primary or found == OPEN else SUGGESTS + found


def headline(setting: Setting, found: list[Summary]) -> str:
    """How many variants are resolved above and below the baseline, and the largest gain, in up to three sentences."""
    challengers = [summary for summary in found if not summary.is_baseline]
    if not challengers:
        return "There is no second variant in these rows, so nothing is compared."
    base = next((summary for summary in found if summary.is_baseline), None)
    if not trained(found):
        return f"Nothing was trained here: what {plural(len(challengers), 'variant')} cost beside {setting.baseline}."
    if base is None or base.top1.value is None:
        return (
            f"The baseline {setting.baseline} has no top-1 in these rows, so no difference can be formed; "
            "the figures below stand alone."
        )
    counts = Counter(outcome(summary).removeprefix(SUGGESTS) for summary in challengers if summary.primary)
    rest = [summary for summary in challengers if not summary.primary]
    same = f"{EQUAL} within {tick(delta(setting))} points"
    said = {
        BETTER: f"{BETTER} than {setting.baseline}",
        WORSE: WORSE,
        EQUAL: same,
        OPEN: OPEN,
        MISSING: "without an accuracy",
    }
    parts = [f"{counts[word]} {words}" for word, words in said.items() if counts[word]]
    words = (
        [f"Of {plural(counts.total(), 'variant')} compared with {setting.baseline}: {listing(parts)}."] if parts else []
    )
    words += best(challengers, setting.baseline)
    if rest:
        words.append(f"{plural(len(rest), 'comparison')} here {'is' if len(rest) == 1 else 'are'} exploratory: "
                     "intervals are shown, and nothing is decided.")  # fmt: skip
    return " ".join(words)


def best(challengers: Sequence[Summary], baseline: str) -> list[str]:
    """The primary variant with the largest gain of those that are decided to be better, in a sentence; else none."""
    better = [
        (s.difference.estimate, s.variant, s.inference.ratio.value)
        for s in challengers
        if s.primary and s.difference is not None and outcome(s) == BETTER
    ]
    if not better:
        return []
    one, variant, speed = max(better, key=lambda gain: gain[0].center)
    at = f", at {percent(speed)} times the time of {baseline}" if speed is not None else ""
    return [f"The largest gain is that of {variant}: {points(one.center)} points "
            f"{interval(one.low, one.high, points)}{at}."]  # fmt: skip


def trained(found: list[Summary]) -> bool:
    """Whether an accuracy was measured or tried."""
    return any(summary.top1.tried for summary in found)


def verdicts(found: list[Summary], baseline: str, equal: float) -> list[Verdict]:
    """The baseline, then the others by falling mean difference; those without one last. equal: delta, in points."""
    ends = axis(s.difference.estimate for s in found if s.difference is not None)
    fronts = _fronts(found)
    base = next((summary for summary in found if summary.is_baseline), None)
    listed = []
    for summary in sorted(found, key=lambda s: rank(s.is_baseline, s.difference)):
        accuracy = _accuracy(summary, baseline, equal) if trained(found) else ""
        sentences = [accuracy, _cost(summary, base), fronts.get(summary.variant, "")]
        text = " ".join(sentence for sentence in sentences if sentence)
        drawn = bar(summary.difference.estimate, ends) if summary.difference is not None else None
        listed.append(Verdict(summary.variant, outcome(summary), text, drawn, summary.stale))
    return listed


def _accuracy(summary: Summary, baseline: str, equal: float) -> str:
    """The difference with its interval, and the mean with its own."""
    top1, difference = summary.top1, summary.difference
    if top1.value is None:
        return f"No top-1 accuracy: {top1.reason.strip().rstrip('.')}."
    spread = (
        f", 95 % interval {percent(top1.low)} to {percent(top1.high)}" if top1.low is not None and top1.high else ""
    )
    mean = f"{percent(top1.value)} % top-1 (mean of {plural(len(summary.seeds), 'seed')}{spread or ', no interval'})."
    if summary.is_baseline:
        return mean
    if difference is None:
        return f"{mean} {summary.unpaired[:1].upper()}{summary.unpaired[1:]}."
    estimate = difference.estimate
    pairs = plural(estimate.n, "paired seed")
    text = f"{points(estimate.center)} points against {baseline}"
    if estimate.low is not None and estimate.high is not None:
        text += f" (simultaneous 95 % interval {points(estimate.low)} to {points(estimate.high)}, {_tests(summary)})"
        text += f": {_decided(summary, equal)}.{OWN if difference.own else ''}{_images(summary)}"
    elif estimate.n < FEWEST_SEEDS:
        few = f"{pairs} {'is' if estimate.n == 1 else 'are'} too few for an interval, which needs {FEWEST_SEEDS}"
        text += f": {OPEN}, {few}."
    else:
        text += f": {OPEN}, all {pairs} show the same difference, so no interval can be formed."
    return " ".join(filter(None, [text, one_model(summary.same_as, baseline), mean]))


def _decided(summary: Summary, equal: float) -> str:
    """The verdict, with how much counts as equal, or how many seeds would tell so much."""
    assert summary.difference is not None
    word, size = outcome(summary), f"{tick(equal)} points"
    if word == OPEN:
        return OPEN + _planned(summary.difference.seeds_for_power, size)
    return f"{word} within {size}" if word.endswith(EQUAL) else word


def _tests(summary: Summary) -> str:
    """How many of the paired seeds were better, and the p adjusted for the family."""
    assert summary.difference is not None
    n = summary.difference.estimate.n
    parts = [plural(n, "paired seed")]
    if summary.improvement is not None:
        won = summary.improvement.pairs.center * n
        parts = [f"better in {won:g} of {parts[0]}"]
    if summary.p is not None:
        parts.append(f"adjusted {p_value(summary.p)}")
    return ", ".join(parts)


def _images(summary: Summary) -> str:
    """What is left of a resolved difference where the test images are a sample, too; "" where that is not known."""
    wide, difference = summary.over_images, summary.difference
    if wide is None or wide.low is None or wide.high is None or difference is None or not difference.resolved:
        return ""
    text = f" Over other test images, too ({grouped(wide.n, 0)} here): {points(wide.low)} to {points(wide.high)}"
    return f"{text}." if wide.excludes(0.0) else f"{text}, which holds 0."


def _planned(seeds: int | float | None, size: str) -> str:
    """How many seeds a difference as large as delta wants, whatever was seen."""
    if seeds is None:
        return ""
    if math.isinf(seeds):
        return f"; more than {grouped(MOST_SEEDS, 0)} seeds are needed for {POWER:.0%} power for {size}".replace(
            "%", " %"
        )
    return f"; {seeds} seeds give {percentage(POWER)} power for {size}"


def _cost(summary: Summary, base: Summary | None) -> str:
    """Time relative to the baseline's, and that it is not resolved where it is not; without a time, what is counted."""
    if summary.is_baseline:
        return ""
    times = [
        (f"{what} {grouped(speed.ratio.value, 2)}", speed.resolved)
        for what, speed in (("inference", summary.inference), ("training", summary.training))
        if speed.ratio.value is not None
    ]
    settled, unsettled = (" and ".join(words for words, one in times if one == resolved) for resolved in (True, False))
    said = [f"Time relative to the baseline: {settled}."] if settled else []
    said += [f"Time not resolved from the baseline's: {unsettled} measured."] if unsettled else []
    return " ".join(said) or _counted(summary, base)


def _counted(summary: Summary, base: Summary | None) -> str:
    """GMACs and parameters relative to the baseline's: what a cost is where nothing was timed."""
    if base is None:
        return ""
    pairs = (("GMACs", summary.gmac, base.gmac), ("parameters", summary.params, base.params))
    known = [(what, mine.value, theirs.value) for what, mine, theirs in pairs]
    parts = [f"{what} {significant(mine / theirs)}" for what, mine, theirs in known if mine is not None and theirs]
    return f"Not timed; relative to the baseline: {' and '.join(parts)}." if parts else ""


def _fronts(found: list[Summary]) -> dict[str, str]:
    """Per variant, how often it is on the Pareto front where seeds are drawn anew, or who keeps it off.

    In accuracy and throughput; those that were not timed, in accuracy and GMACs among all that were counted.
    """
    timed = {s.variant: s.inference.images_per_s.value for s in found}
    counted = {s.variant: None if s.gmac.value is None else -s.gmac.value for s in found}
    said = _placed(found, timed, "throughput", "fast")
    return _placed(found, counted, "GMACs", "cheap") | said


def _placed(found: list[Summary], gains: Mapping[str, float | None], what: str, how: str) -> dict[str, str]:
    """The sentences of one front; `gains`: what more of is better, by variant; none where fewer than two have it."""
    known = {name: gain for name, gain in gains.items() if gain is not None}
    means = {s.variant: s.top1.value for s in found if s.top1.value is not None}
    said = {}
    for name, share in on_front(found, known).items():
        if share > 1 - SURE:
            said[name] = f"On the Pareto front of accuracy and {what} in {percentage(share)} of resamples of the seeds."
            continue
        over = [
            one
            for one in means
            if one != name and means[one] >= means[name] and known.get(one, -math.inf) >= known[name]
        ]
        over.sort(key=lambda one: -means[one])
        more = f" (and {len(over) - 3} more)" if len(over) > 3 else ""
        said[name] = (
            f"Dominated by {listing(over[:3])}{more}, at least as accurate and as {how}: off the Pareto front in "
            f"{percentage(1 - share)} of resamples of the seeds."
        )
    return said


def axis_words(found: list[Summary], baseline: str) -> str:
    """What the interval bars show, for the line under them."""
    formed = [s.difference.estimate for s in found if s.difference is not None]
    if not formed:
        return ""
    levels = sorted({confidence(one.confidence) for one in formed if one.low is not None})
    if all(estimate.low is None for estimate in formed):
        return f"Open circles: mean paired difference to {baseline} in points of top-1, no interval; the line is 0."
    return (
        f"Bars: mean paired difference to {baseline} in points of top-1 with its simultaneous 95 % interval (each at "
        f"{' or '.join(levels)}, Bonferroni); the vertical line is 0, and all bars share one scale. An open circle has "
        "no interval."
    )
