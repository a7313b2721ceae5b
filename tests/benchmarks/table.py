"""The table of ratios that ends a benchmark run, condition by condition, the target beside each ratio."""

from collections.abc import Iterator, Sequence
from typing import Any

from harness.regress import BUSY

from .conditions import verdict

OPENING = "Time over the baseline's: median of the rounds' ratios, 95 % interval; above 1 is slower"


def lines(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Lines of text from the benchmarks' extra_info, in the order they were timed."""
    if records:
        yield from ("", OPENING)
    for condition in dict.fromkeys(record["condition"] for record in records):
        members = [record for record in records if record["condition"] == condition]
        yield from ("", f"{condition}, over {' or '.join(dict.fromkeys(record['baseline'] for record in members))}")
        yield from map(_line, members)


def _line(record: dict[str, Any]) -> str:
    low, high, bound = record["ratio_low"], record["ratio_high"], record["target"]
    interval = "" if low is None else f"[{low:.3f}, {high:.3f}]"
    others = f"others had {record['busy']:.0%} of the cores" if record["busy"] > BUSY else ""
    if others:
        low = high = None  # not the ratio of a quiet machine
    asked = "" if bound is None else f"target {bound:.3g}: {verdict(low, high, bound)}"
    line = f"  {record['variant']:25} {record['ratio']:6.3f}  {interval:16} {record['backend']:9} {asked:28} {others}"
    return line.rstrip()
