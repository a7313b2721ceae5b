"""python -m harness.regress BASE.json NEW.json: did a change make a variant slower, larger or harder to compile?

Both files are pytest-benchmark's, written by `pytest tests/benchmarks --benchmark-only --benchmark-json FILE`. Seconds
of two days are never compared. What is compared is

- the ratio to the baseline timed in the same rounds. A change is the difference of the logarithms of the two medians.
  It counts where it exceeds the noise bound: A/A floor + t * sqrt(se_base^2 + se_new^2), where se is the bootstrap
  standard error of the median of log ratios, t is Student's one-sided quantile at 0.05 / (number of ratios compared)
  (Bonferroni), with the degrees of freedom of the smaller file's rounds, and the A/A floor is the larger of what a
  second copy of the baseline shows in the same condition of both files (the far end of its 95 % interval). So a noisy
  recording widens its own bound, and what lies below it is "not resolved".
- exact counters (GMAC, parameters, graph breaks, bytes kept for the backward): any difference counts, for better or
  worse; a wanted change is recorded anew.

Ratios of different processors, cores or threads say nothing about the code, nor do those that were timed while other
processes had more than 15 % of the cores (`busy`): they are printed and do not count.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.results.store import write_bytes
from harness.run.arguments import Parser
from harness.run.console import in_words

CONFIDENCE = 0.95  # that no ratio of a whole comparison is called slower by chance
BUSY = 0.15  # of the cores at other processes: more, and even a ratio is not that of a quiet machine
MACHINE = {"brand_raw": "processor", "family": "family", "model": "model", "cores": "cores", "threads": "threads"}
Benchmark = dict[str, Any]  # pytest-benchmark's extra_info, with its name


@dataclass(frozen=True)
class Recording:
    """One file: where it lies, what it ran on, and its benchmarks by name."""

    path: Path
    machine: Mapping[str, Any]
    benchmarks: Mapping[str, Benchmark]
    content: Mapping[str, Any] = field(repr=False)


@dataclass
class Findings:
    """What a comparison found: the table's lines, sentences that fail it, and sentences that do not."""

    lines: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(path: Path) -> Recording:
    """A recording. Raises ValueError, one sentence, for what is missing, damaged or something else."""
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # json's and unicode's
        raise ValueError(f"{path} is damaged or not JSON ({error}); record it again") from error
    try:
        machine = {key: content["machine_info"]["cpu"].get(key) for key in ("brand_raw", "family", "model")}
        machine |= {key: content["machine_info"].get(key) for key in ("cores", "threads", "torch")}
        found = {one["name"]: {"name": one["name"], **one["extra_info"]} for one in content["benchmarks"]}
        for one in found.values():
            _check(one)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a recording of tests/benchmarks ({error!r} is not as expected); record one with pytest "
            f"tests/benchmarks --benchmark-only --benchmark-json FILE"
        ) from error
    if not found:
        raise ValueError(f"{path} holds no benchmark; record it again")
    return Recording(path, machine, found, content)


def _check(one: Benchmark) -> None:
    """Raises KeyError or TypeError for a benchmark that lacks what is compared."""
    for key in ("condition", "variant", "baseline", "again", "short", "dtype", "backend", "busy"):
        one[key]
    if not one["ratios"] or not all(isinstance(ratio, float | int) and 0 < ratio < math.inf for ratio in one["ratios"]):
        raise TypeError(f"ratios of {one['name']}")
    if not all(isinstance(value, float | int) for value in one["counters"].values()):
        raise TypeError(f"counters of {one['name']}")


def compare(base: Recording, new: Recording, short: bool = False, least: float = 0.0) -> Findings:
    """Everything that BASE has, in NEW; with `short` only what the short form of the benchmarks runs.

    Slower by less than the share `least` does not fail: neighbours on a rented machine take cache and memory bandwidth
    for hours, which no recording of its own can tell from slower code.

    Raises ValueError where a file has no A/A ratio with an interval, since nothing says how noisy it is.
    """
    found = Findings()
    comparable = _machines(base, new, found)
    asked = {name: one for name, one in base.benchmarks.items() if one["short"] or not short}
    if not asked:
        raise ValueError(f"{base.path} holds no benchmark of the short form; record it again, without -m")
    found.failures += [f"{name} is missing from {new.path}." for name in asked if name not in new.benchmarks]
    found.notes += [f"{name} is new." for name in new.benchmarks if name not in base.benchmarks]
    both = [(asked[name], new.benchmarks[name]) for name in asked if name in new.benchmarks]
    _ratios(both, _floors(base, new), found, comparable, math.log1p(least))
    for old, now in both:
        found.failures += list(_exact(old, now))
        if old["backend"] != now["backend"]:
            found.notes.append(f"{old['name']} now takes the backend {now['backend']}, before {old['backend']}.")
    return found


def _machines(base: Recording, new: Recording, found: Findings) -> bool:
    """Whether ratios of the two can be compared; the sentences on what differs."""
    if base.machine["torch"] != new.machine["torch"]:
        found.notes.append(f"torch is {new.machine['torch']}, before {base.machine['torch']}.")
    differing = [key for key in MACHINE if base.machine[key] != new.machine[key]]
    if differing:
        what = "; ".join(f"{MACHINE[key]} {base.machine[key]} against {new.machine[key]}" for key in differing)
        found.notes.append(f"The machines differ ({what}), so the ratios are printed and do not count.")
    return not differing


def _floors(base: Recording, new: Recording) -> dict[str, float]:
    """Condition -> the larger A/A floor of the two files, as a logarithm; "" -> the largest of all, for the others."""
    from harness.results.stats import aa_floor, median_interval  # late, so that --help answers at once

    floors: dict[str, float] = {}
    for recording in (base, new):
        copies = [one for one in recording.benchmarks.values() if one["again"]]
        own = {one["condition"]: aa_floor(median_interval(one["ratios"])) for one in copies}
        known = {condition: math.log1p(floor) for condition, floor in own.items() if floor is not None}
        if not known:
            raise ValueError(f"{recording.path} has no second copy of the baseline timed in 3 rounds or more, so its "
                             f"noise is not known; record it again, with `sa again` and more --rounds")  # fmt: skip
        for condition, floor in {**known, "": max(known.values())}.items():
            floors[condition] = max(floor, floors.get(condition, 0.0))
    return floors


def _ratios(
    both: Sequence[tuple[Benchmark, Benchmark]], floors: Mapping[str, float], found: Findings, count: bool, least: float
) -> None:
    """The table, and a sentence for each ratio that has grown beyond its noise bound, and by `least` (a logarithm)."""
    compared = [(old, new) for old, new in both if not old["again"]]
    for condition in dict.fromkeys(old["condition"] for old, _ in both):
        floor = floors.get(condition, floors[""])
        found.lines += ["", f"{condition}, A/A floor {math.expm1(floor):.1%}"]
        for old, new in compared:
            if old["condition"] != condition:
                continue
            change, bound = shift(old["ratios"], new["ratios"], len(compared))
            bound += floor
            busy = max(old["busy"], new["busy"])
            word = "slower" if change > bound else "faster" if change < -bound else "not resolved"
            word = word if busy <= BUSY else f"not resolved, others had {busy:.0%} of the cores"
            before, now = statistics.median(old["ratios"]), statistics.median(new["ratios"])
            moved = f"{before:.3f} -> {now:.3f} ({math.expm1(change):+.1%}"
            found.lines.append(f"  {old['variant']:25} {moved}, noise bound {math.expm1(bound):.1%})  {word}")
            if count and word == "slower" and change > least:
                found.failures.append(f"{old['name']} is slower: {moved}) times {old['baseline']}, beyond the noise "
                                      f"bound of {math.expm1(bound):.1%}.")  # fmt: skip


def shift(base: Sequence[float], new: Sequence[float], compared: int) -> tuple[float, float]:
    """The change of the log of the median ratio, and how large chance alone makes one of `compared` such changes.

    The second is math.inf where a file has a single round.
    """
    import numpy as np
    from scipy import stats

    old, now = np.log(base), np.log(new)
    fewest = min(len(old), len(now))
    if fewest < 2:
        return float(np.median(now) - np.median(old)), math.inf
    draw = np.random.default_rng(0)
    errors = [np.median(draw.choice(logs, (1000, len(logs))), axis=1).std(ddof=1) for logs in (old, now)]
    quantile = stats.t.ppf(1 - (1 - CONFIDENCE) / max(1, compared), df=fewest - 1)
    return float(np.median(now) - np.median(old)), float(quantile * math.hypot(*errors))


def _exact(old: Benchmark, new: Benchmark) -> Iterator[str]:
    """A sentence for each thing that is exact and differs."""
    if old["dtype"] != new["dtype"]:
        yield f"{old['name']} is in {new['dtype']}, before in {old['dtype']}."
    for counter in sorted({*old["counters"], *new["counters"]}):
        before, now = old["counters"].get(counter), new["counters"].get(counter)
        if before != now:
            yield f"{old['name']}: {counter} {before} -> {now}."


def _percent(word: str) -> float:
    """ "25" -> 0.25. argparse makes a sentence of the ValueError."""
    value = float(word)
    if not 0 <= value < math.inf:
        raise ValueError(word)
    return value / 100


def slim(recording: Recording) -> bytes:
    """A recording with what is compared and no more, a benchmark a line, as it is committed."""
    machine: dict[str, Any] = {key: recording.machine[key] for key in ("cores", "threads", "torch")}
    machine["cpu"] = {key: recording.machine[key] for key in ("brand_raw", "family", "model")}
    head = {"machine_info": machine, "datetime": recording.content.get("datetime")}
    lines = [json.dumps({"name": name, "extra_info": {k: v for k, v in one.items() if k != "name"}})
             for name, one in recording.benchmarks.items()]  # fmt: skip
    return (json.dumps(head)[:-1] + ', "benchmarks": [\n' + ",\n".join(lines) + "\n]}\n").encode()


def parser() -> Parser:
    """The command line."""
    p = Parser(
        prog="python -m harness.regress",
        description="Compare two recordings of tests/benchmarks: ratios to the baseline beyond the noise of both, and "
        "exact counters.",
        epilog="Exit codes: 0, nothing got worse; 1, something did, and is named; 2, bad input.",
    )
    p.add_argument("base", type=Path, metavar="BASE.json", help="the recording to compare with")
    p.add_argument("new", type=Path, metavar="NEW.json", help="the recording to judge")
    p.add_argument("--short", action="store_true", help="only what the benchmarks' short form (-m short) runs")
    p.add_argument(
        "--least", type=_percent, default=0.0, metavar="PERCENT", help="let a ratio grow by this much in any case (0)"
    )
    p.add_argument("--record", action="store_true", help="write what is compared of NEW.json to BASE.json instead")
    p.add_argument("--force", action="store_true", help="replace a BASE.json that is no recording")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns 0, 1 where something got worse, 2 for bad input."""
    args = parser().parse_args(argv)
    return in_words("harness.regress", lambda: run(args), resumes=False)


def run(args: argparse.Namespace) -> int:
    """Compares and prints, or records."""
    new = read(args.new)
    if args.record:
        if args.base.exists() and not args.force:
            try:
                read(args.base)
            except ValueError as error:
                raise ValueError(f"{error}; or name another file, or replace this one with --force") from error
        write_bytes(args.base, slim(new))
        return 0
    found = compare(read(args.base), new, args.short, args.least)
    print(*found.lines, "", *found.notes, *found.failures, sep="\n")
    print(f"{len(found.failures)} got worse" if found.failures else "nothing got worse")
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
