"""What a reader who picks two variants of a setting is told: their own difference, in a sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from math import comb

from harness.report.analysis.summary import Summary
from harness.report.text.formatting import interval, plural, points
from harness.results.stats import paired_difference


def pairs(found: Sequence[Summary]) -> str:
    """JSON: the trained variants, and a sentence for each two of them, in their order; "" for fewer than three."""
    trained = [one for one in found if one.seeds]
    if len(trained) < 3:
        return ""
    every = comb(len(trained), 2)
    said = [sentence(a, b, every) for a, b in combinations(trained, 2)]
    return json.dumps({"names": [one.variant for one in trained], "said": said}, ensure_ascii=False)


def sentence(a: Summary, b: Summary, every: int) -> str:
    """The difference of top-1, a minus b, among so many pairs. It is exploratory, whichever two they are."""
    found = paired_difference(a.seeds, b.seeds, every)
    if found is None:
        return f"{a.variant} and {b.variant} share no seed."
    one = found.estimate
    ends = interval(one.low, one.high, points)
    more = f" {ends}" if ends else ""
    return (f"{a.variant} minus {b.variant}: {points(one.center)} points{more} over {plural(one.n, 'paired seed')}. "
            f"Exploratory; the interval holds for all {every} pairs together.")  # fmt: skip
