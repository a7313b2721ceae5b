"""The page of two studies: what they are, what is not alike, and setting by setting what changed beyond noise."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from harness.report.analysis.compare import (
    FASTER,
    KINDS,
    LESS,
    MISSING,
    MORE,
    OPEN,
    PAIRED,
    SAME,
    SLOWER,
    Compared,
    Comparison,
    compare,
)
from harness.report.figures.style.palette import Look, looks
from harness.report.pages.appendix import MOST_LISTED, Facts
from harness.report.pages.template import fill
from harness.report.study.matched import cautions, matches
from harness.report.study.source import Source
from harness.report.tables import compare as compare_table
from harness.report.tables.main import Table
from harness.report.text.bars import Bar, axis, bar, rank
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
from harness.report.text.verdict import Verdict
from harness.results.stats import Estimate

FACTS = ("Asked for", "Study", "Commits", "Source, the newest", "Measured", "Rows", "Baseline")
SAID = {
    MORE: "more accurate in B", LESS: "less accurate in B", OPEN: "not resolved", SAME: "the same in every seed",
    MISSING: "without an accuracy on both sides",
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """All that is shown of a setting that is in both."""

    id: str
    name: str
    headline: str
    changes: list[Verdict]
    bars: str
    accuracy: Table
    level: str
    speeds: list[tuple[str, str, Table, list[str]]]  # id, title, table, the conditions
    look: dict[str, Look]


def page(a: Source, b: Source) -> str:
    """The HTML. Raises ValueError where the two have no setting in common."""
    found, alone = matches(a, b)
    if not found:
        raise ValueError(f"A ({a.asked}) and B ({b.asked}) have no setting in common (dataset, size, training px, "
                         f"share of the training images). {' '.join(alone)} Compare two that share one")  # fmt: skip
    comparisons = [compare(a, b, match) for match in found]
    variants = list(dict.fromkeys(one.variant for comparison in comparisons for one in comparison.variants))
    look = looks(variants, a.study.baseline)
    return fill(
        "compare.html",
        a=a,
        b=b,
        facts_of=Facts(["A", "B"], list(zip(FACTS, map(list, zip(_facts(a), _facts(b), strict=True)), strict=True))),
        cautions=cautions(a, b, found),
        alone=alone,
        settings=[_setting(one, f"setting-{number}", look) for number, one in enumerate(comparisons, start=1)],
        damaged=[*a.study.damaged, *b.study.damaged][:MOST_LISTED],
    )


def _facts(source: Source) -> list[str]:
    study, newest = source.study, source.study.rows["source_hash"].iloc[-1]
    told = [source.asked, listing(study.names), listing(source.commits), newest, source.when, str(len(study.rows))]
    return [*(one or DASH for one in told), study.baseline]


def _setting(found: Comparison, id: str, look: dict[str, Look]) -> Setting:
    ends = axis(one.top1.estimate for one in found.variants if one.top1 is not None and not one.same)
    changes = [
        Verdict(one.variant, one.outcome, _sentences(one, found), _bar(one, ends), stale=False)
        for one in sorted(found.variants, key=lambda one: rank(one.variant == found.baseline, one.top1))
    ]
    speeds = []
    for prefix, kind in KINDS.items():
        table = compare_table.speed(found, prefix)
        if table is not None:
            where = [f"{letter}: {c.words()}, A/A floor {_floor(c.floor)}." for letter, c in
                     zip("AB", found.conditions[prefix], strict=True) if c is not None]  # fmt: skip
            speeds.append((f"{id}-{kind}", f"Speed of {kind}", table, where))
    level = found.simultaneous
    return Setting(
        id=id,
        name=found.match.name,
        headline=headline(found),
        changes=changes,
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
    counts = Counter(one.outcome for one in both)
    said = listing([f"{counts[outcome]} {words}" for outcome, words in SAID.items() if counts[outcome]])
    text = f"Of {plural(len(both), 'variant')} in both: {said}."
    for prefix, kind in KINDS.items():
        changes = Counter(one.times[prefix].word for one in both)
        parts = [f"{changes[word]} {word}" for word in (SLOWER, FASTER) if changes[word]]
        if parts:
            text += f" At {kind}, {listing(parts)} in B, relative to {found.baseline}."
    return text


def _sentences(one: Compared, found: Comparison) -> str:
    return " ".join(filter(None, [_accuracy(one), _times(one, found), _counts(one)]))


def _accuracy(one: Compared) -> str:
    if one.a is None or one.b is None:
        return f"Only in {'B' if one.a is None else 'A'}."
    if one.top1 is None:
        lost = [f"No top-1 in {letter}: {s.top1.reason.strip().rstrip('.')}."
                for letter, s in (("A", one.a), ("B", one.b)) if s.top1.value is None]  # fmt: skip
        return " ".join(lost)
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
    """What of its time over the baseline's changed, and what is not resolved or not judged."""
    changed: list[str] = []
    rest: list[str] = []
    why = ""
    for prefix, kind in KINDS.items():
        time = one.times[prefix]
        if one.variant == found.baseline or time.change is None:
            continue
        if not time.resolved:
            rest.append(kind)
            why = time.reason
            continue
        known = [grouped(speed.ratio.value or 0.0, 2) for speed in (time.a, time.b) if speed is not None]
        changed.append(f"Time at {kind} over {found.baseline}'s: {known[0]} in A, {known[1]} in B, {time.word}.")
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


def _bar(one: Compared, ends: tuple[float, float]) -> Bar | None:
    if one.top1 is None:
        return None
    return bar(Estimate(0.0, None, None, 0, 0.95) if one.same else one.top1.estimate, ends)


def _bars(found: Comparison) -> str:
    level = found.simultaneous
    if level is None:
        return "Open circles: mean of B minus mean of A in points of top-1, no interval; the line is 0."
    return (
        f"Bars: B minus A in points of top-1 with the simultaneous 95 % interval (each at "
        f"{confidence(level.estimate.confidence)}, Bonferroni); the vertical line is 0, left of it B is less accurate."
    )
