"""What a benchmark leaves in pytest-benchmark's JSON, and so what `harness.regress` compares."""

from typing import Any

import torch

from harness.results.stats import median_interval

DTYPE = str(torch.get_default_dtype()).removeprefix("torch.")


def record(
    benchmark: Any,
    ratios: list[float],
    *,
    variant: str,
    baseline: str,
    condition: str,
    target: float | None,
    short: bool,
    again: bool = False,
    **about: Any,
) -> None:
    """Fills `extra_info`: what was timed against what, the median ratio, its 95 % interval and the ratios themselves.

    again: the variant is a second copy of its baseline. The rest of `about` (grid, batch, backend, ...) goes in as it
    is. Where pytest-benchmark is disabled there are no ratios and nothing is recorded.
    """
    benchmark.group = condition
    if not ratios:
        return
    found = median_interval(ratios)
    benchmark.extra_info |= {
        "variant": variant, "baseline": baseline, "condition": condition, "dtype": DTYPE, "device": "cpu", **about,
        "ratio": round(found.center, 4), "ratio_low": found.low, "ratio_high": found.high, "target": target,
        "again": again, "short": short, "ratios": ratios,
    }  # fmt: skip
