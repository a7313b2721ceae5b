"""Timing that can rank, inside pytest-benchmark: every round times the subject and, right beside it, its baseline.

Sequential timing of one module after the other cannot rank on a noisy machine. Here pytest-benchmark times the subject,
so its seconds are its own, and the round's other half is the baseline, run before or after the subject as a draw
decides: what slows the machine slows both, and the ratio is taken within the round.

What others took of the cores meanwhile is recorded beside the ratios (`busy`).
"""

import random
import time
from collections.abc import Callable
from typing import Any

from .others import busy, spent

Work = Callable[[], object]
WARM_UP = 3  # calls of either, on the measured shapes


def ratios(benchmark: Any, subject: Work, baseline: Work, rounds: int) -> list[float]:
    """The subject's seconds over the baseline's, one a round; none where pytest-benchmark is disabled."""
    if benchmark.disabled:
        baseline()
        benchmark.pedantic(subject)
        return []
    for _ in range(WARM_UP):
        baseline()
        subject()
    baseline_first = [place % 2 == 0 for place in range(rounds)]  # half of the rounds, the order of rounds drawn
    random.Random(0).shuffle(baseline_first)
    order, beside = iter(baseline_first), []

    def time_baseline() -> None:
        start = time.perf_counter()
        baseline()
        beside.append(time.perf_counter() - start)

    def setup() -> None:
        if baseline_first[len(beside)]:
            time_baseline()

    def teardown() -> None:
        if not next(order):
            time_baseline()

    before = spent()
    benchmark.pedantic(subject, setup=setup, teardown=teardown, rounds=rounds)
    benchmark.extra_info["busy"] = busy(before, spent())
    mine = benchmark.stats.stats.data
    return [float(f"{one / base:.5g}") for one, base in zip(mine, beside, strict=True)]
