"""The page of two studies: what they are, what is not alike, and setting by setting what changed beyond noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.analysis.compare import (
    KINDS,
    LESS,
    MISSING,
    MORE,
    OPEN,
    PAIRED,
    SAME,
    Compared,
    Comparison,
    compare,
)
from harness.report.figures.style.palette import Look, looks
from harness.report.pages.appendix import MOST_LISTED, Facts
from harness.report.pages.template import fill
from harness.report.study.matched import cautions, matches
from harness.report.study.source import Side
from harness.report.tables import compare as compare_table
from harness.report.tables.main import Table
from harness.report.text.bars import Bar
from harness.report.text.formatting import (
    DASH,
    confidence,
    grouped,
    listing,
    p_value,
    percent,
    plural,
    points,
    significant,
)


@dataclass(frozen=True)
class Change:
    """What a variant's change is, in words and as a bar."""

    variant: str
    outcome: str
    sentence: str
    bar: Bar | None


@dataclass(frozen=True)
class Setting:
    """All that is shown of a setting that is in both."""

    id: str
    name: str
    headline: str
    changes: list[Change]
    bars: str
    accuracy: Table
    level: str
    speeds: list[tuple[str, str, Table, list[str]]]  # id, title, table, the conditions
    look: dict[str, Look]


def page(a: Side, b: Side) -> str:
    """The HTML. Raises ValueError where no setting is in both."""
    found, alone = matches(a, b)
    if not found:
        raise ValueError(f"{a.asked} and {b.asked} have no setting in common (dataset, size, training px, share of the "
                         f"images): {' '.join(alone)}")  # fmt: skip
    comparisons = [compare(a, b, match) for match in found]
    variants = list(dict.fromkeys(one.variant for comparison in comparisons for one in comparison.variants))
    look = looks(variants, a.study.baseline)
    return fill(
        "compare.html",
        a=a,
        b=b,
        facts_of=_facts(a, b),
        cautions=cautions(a, b, found),
        alone=alone,
        settings=[_setting(one, number, look) for number, one in enumerate(comparisons, start=1)],
        damaged=[*a.damaged, *b.damaged][:MOST_LISTED],
    )


def _facts(a: Side, b: Side) -> Facts:
    """What A and B are, beside each other."""

    def told(side: Side) -> list[str]:
        return [side.asked, listing(side.study.names), listing(side.commits) or DASH,
                side.study.rows["source_hash"].iloc[-1] or DASH, side.when or DASH, str(len(side.study.rows)),
                side.study.baseline]  # fmt: skip

    words = ["Asked for", "Study", "Commits", "Source, the newest", "Measured", "Rows", "Baseline"]
    return Facts(["A", "B"], [(word, list(pair)) for word, pair in zip(words, zip(told(a), told(b), strict=True),
                                                                       strict=True)])  # fmt: skip


def _setting(found: Comparison, number: int, look: dict[str, Look]) -> Setting:
    axis = _axis(found.variants)
    speeds = []
    for prefix, kind in KINDS.items():
        table = compare_table.speed(found, prefix)
        if table is not None:
            where = [f"{letter}: {c.words()}, A/A floor {_floor(c.floor)}." for letter, c in
                     zip("AB", found.conditions[prefix], strict=True) if c is not None]  # fmt: skip
            speeds.append((f"setting-{number}-{kind}", f"Speed of {kind}", table, where))
    level = found.simultaneous
    return Setting(
        id=f"setting-{number}",
        name=found.match.name,
        headline=headline(found),
        changes=[_change(one, found, axis) for one in sorted(found.variants, key=lambda one: _rank(one, found))],
        bars=_bars(found),
        accuracy=compare_table.accuracy(found),
        level=confidence(level.estimate.confidence) if level is not None else "",
        speeds=speeds,
        look=look,
    )


def _floor(floor: float | None) -> str:
    return "unknown" if floor is None else f"{significant(100 * floor, 2)} %"


def headline(found: Comparison) -> str:
    """How many variants changed beyond noise, in accuracy and in time."""
    both = [one for one in found.variants if one.a is not None and one.b is not None]
    if not both:
        return "No variant is in both."
    counts = {word: sum(one.outcome == word for one in both) for word in (MORE, LESS, OPEN, SAME, MISSING)}
    said = {MORE: "more accurate in B", LESS: "less accurate in B", OPEN: "not resolved",
            SAME: "the same in every seed", MISSING: "without an accuracy on both sides"}  # fmt: skip
    text = f"Of {plural(len(both), 'variant')} in both: {listing([f'{n} {said[w]}' for w, n in counts.items() if n])}."
    for prefix, kind in KINDS.items():
        changes = [one.times[prefix].change for one in both if one.times[prefix].resolved]
        slower = sum(change is not None and change.center > 1 for change in changes)
        parts = [f"{n} {word}" for n, word in ((slower, "slower"), (len(changes) - slower, "faster")) if n]
        if parts:
            text += f" At {kind}, {listing(parts)} in B, relative to {found.baseline}."
    return text


def _rank(one: Compared, found: Comparison) -> tuple[bool, bool, float]:
    center = None if one.top1 is None else one.top1.estimate.center
    return one.variant != found.baseline, center is None, -(center or 0.0)


def _change(one: Compared, found: Comparison, axis: tuple[float, float]) -> Change:
    sentences = [_accuracy(one), _times(one, found), _counts(one)]
    return Change(one.variant, one.outcome, " ".join(filter(None, sentences)), _bar(one, axis))


def _accuracy(one: Compared) -> str:
    if one.a is None or one.b is None:
        return f"Only in {'B' if one.a is None else 'A'}."
    lost = [f"No top-1 in {letter}: {s.top1.reason.strip().rstrip('.')}."
            for letter, s in (("A", one.a), ("B", one.b)) if s.top1.value is None]  # fmt: skip
    if one.top1 is None:
        return " ".join(dict.fromkeys(lost))
    means = [f"{percent(s.top1.value or 0.0)} %" for s in (one.a, one.b)]
    if one.outcome == SAME:
        return f"Top-1 {means[0]} in both, the same in {'its' if len(one.a.seeds) == 1 else 'each'} seed."
    estimate, counts = one.top1.estimate, (len(one.a.seeds), len(one.b.seeds))
    seeds = plural(counts[0], "seed") if one.how == PAIRED else f"{counts[0]} and {plural(counts[1], 'seed')}"
    text = f"{points(estimate.center)} points from A to B ({one.how}, {seeds}"
    if estimate.low is not None and estimate.high is not None and one.top1.p is not None:
        text += f"; simultaneous 95 % interval {points(estimate.low)} to {points(estimate.high)}"
        text += f", {p_value(one.top1.p)} by itself"
    else:
        text += "; no interval"
    return f"{text}): {means[0]} in A, {means[1]} in B{'.' if one.top1.resolved else ', not resolved.'}"


def _times(one: Compared, found: Comparison) -> str:
    """What of its time over the baseline's changed, and what is not told from noise or not judged."""
    changed: list[str] = []
    rest: list[str] = []
    why = ""
    for prefix, kind in KINDS.items():
        time = one.times[prefix]
        if one.variant == found.baseline or time.change is None or time.a is None or time.b is None:
            continue
        if not time.resolved:
            rest.append(kind)
            why = time.reason
            continue
        known = [grouped(speed.ratio.value or 0.0, 2) for speed in (time.a, time.b)]
        word = "slower" if time.change.center > 1 else "faster"
        changed.append(f"Time at {kind} over {found.baseline}'s: {known[0]} in A, {known[1]} in B, {word}.")
    if rest:
        changed.append(f"A change of its time at {listing(rest)} is {f'not judged: {why}' if why else 'not resolved'}.")
    return " ".join(changed)


def _counts(one: Compared) -> str:
    """GMACs and parameters where they differ."""
    if one.a is None or one.b is None:
        return ""
    pairs = (("GMACs", one.a.gmac.value, one.b.gmac.value), ("Parameters", one.a.params.value, one.b.params.value))
    return " ".join(f"{what} {compare_table.in_full(x)} in A, {compare_table.in_full(y)} in B."
                    for what, x, y in pairs if x is not None and y is not None and x != y)  # fmt: skip


def _axis(variants: Sequence[Compared]) -> tuple[float, float]:
    formed = [one.top1.estimate for one in variants if one.top1 is not None and not one.same]
    ends = [0.0, *(end for e in formed for end in (e.low, e.center, e.high) if end is not None)]
    margin = 0.06 * (max(ends) - min(ends)) or 1.0
    return min(ends) - margin, max(ends) + margin


def _bar(one: Compared, axis: tuple[float, float]) -> Bar | None:
    if one.top1 is None:
        return None
    estimate, (low, high) = one.top1.estimate, axis
    ends = (0.0, 0.0, None, None) if one.same else (0.0, estimate.center, estimate.low, estimate.high)
    zero, center, left, right = (None if end is None else round(100 * (end - low) / (high - low), 2) for end in ends)
    return Bar(zero or 0.0, center or 0.0, left, right)


def _bars(found: Comparison) -> str:
    level = found.simultaneous
    if level is None:
        return "Open circles: mean of B minus mean of A in points of top-1, no interval; the line is 0."
    return (
        f"Bars: B minus A in points of top-1 with the simultaneous 95 % interval (each at "
        f"{confidence(level.estimate.confidence)}, Bonferroni); the vertical line is 0, left of it B is less accurate."
    )
