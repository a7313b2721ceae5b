"""What a reader who picks two variants of a setting is told: their own difference, in a sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import comb

from harness.report.analysis.summary import Summary
from harness.report.text.formatting import interval, plural, points
from harness.results.stats import Difference, paired_difference


def pairs(found: Sequence[Summary]) -> str:
    """JSON: the trained variants, and for each two of them, in both orders, a sentence; "" for fewer than three."""
    trained = [one for one in found if one.seeds]
    if len(trained) < 3:
        return ""
    every = comb(len(trained), 2)
    said = [["" if a is b else sentence(a, b, every) for b in trained] for a in trained]
    return json.dumps({"names": [one.variant for one in trained], "said": said}, ensure_ascii=False)


def sentence(a: Summary, b: Summary, every: int) -> str:
    """The difference of top-1, a minus b. Two of which one is the baseline have the verdict of the page; other pairs,
    of `every` in all, are exploratory."""
    if b.is_baseline and a.difference is not None:
        return f"{_words(a, b, a.difference)} {_verdict(a)}."
    if a.is_baseline and b.difference is not None:
        return f"{_words(a, b, b.difference.reversed)} {_verdict(b)}."
    found = paired_difference(a.seeds, b.seeds, every)
    if found is None:
        return f"{a.variant} and {b.variant} share no seed."
    return f"{_words(a, b, found)} Exploratory; the interval holds for all {every} pairs together."


def _words(a: Summary, b: Summary, found: Difference) -> str:
    one = found.estimate
    ends = interval(one.low, one.high, points)
    more = f" {ends}" if ends else ""
    return f"{a.variant} minus {b.variant}: {points(one.center)} points{more} over {plural(one.n, 'paired seed')}."


def _verdict(one: Summary) -> str:
    """The verdict on a variant against the baseline, as the page has it."""
    assert one.difference is not None
    if not one.primary:
        return "Exploratory"
    return f"The page's verdict on {one.variant}: {one.difference.verdict or 'undetermined'}"
