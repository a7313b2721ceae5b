"""What an image costs in time at each resolution, for the figure of resolution transfer.

The latency of a single image where that was timed at several resolutions, else an image's share of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.report.analysis.condition import Condition, by_resolution
from harness.report.analysis.quantity import Quantity
from harness.report.analysis.timing import latency, throughput
from harness.report.study.rows import side
from harness.report.study.study import Setting


@dataclass(frozen=True)
class Times:
    """Milliseconds an image by variant, then resolution, of `batch` images at a time on `where`."""

    by_variant: Mapping[str, Mapping[str, Quantity]]
    batch: str
    where: str


def times(setting: Setting) -> Times | None:
    """None where fewer than two resolutions were timed in one run."""
    for prefix in ("latency_", ""):
        conditions = by_resolution(setting, prefix)
        if len({side(one.px) for one in conditions}) > 1:
            break
    else:
        return None
    found: dict[str, dict[str, Quantity]] = {}
    for variant in setting.variants:
        each = {one.px: _ms(setting, variant, prefix, one) for one in conditions}
        timed = {px: ms for px, ms in each.items() if ms.value is not None}
        if timed:
            found[variant] = timed
    device, precision = conditions[0].key[:2]
    batches = list(dict.fromkeys(one.batch for one in conditions if one.batch))
    return Times(found, " and ".join(batches), ", ".join(part for part in (device, precision) if part))


def _ms(setting: Setting, variant: str, prefix: str, condition: Condition) -> Quantity:
    if prefix:
        return latency(setting, variant, condition, "").ms
    rate = throughput(setting, variant, condition)
    if not rate.value:
        return Quantity(reason=rate.reason)
    low, high = (1e3 / end if end else None for end in (rate.high, rate.low))
    return Quantity(1e3 / rate.value, low, high, rate.n, rate.reason, rate.stale)
