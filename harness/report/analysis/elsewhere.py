"""Speeds that the main table and the figures leave out: other machines and runs, slower backends of a variant."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.analysis.condition import CONDITION, Condition, by_resolution, chosen, elsewhere_based
from harness.report.analysis.quantity import Quantity
from harness.report.analysis.timing import fastest
from harness.report.study.study import Setting


@dataclass(frozen=True)
class Elsewhere:
    """A speed that the main table leaves out: another condition, or a slower backend of the same variant."""

    variant: str
    backend: str
    where: str
    images_per_s: float | None
    ratio: float | None
    peak_mib: float | None


def elsewhere(setting: Setting, prefix: str) -> list[Elsewhere]:
    """All throughput timed in this setting that neither the main table nor the figures by resolution show."""
    main = chosen(setting, prefix)
    if main is None:
        return []
    shown = {one.key: one for one in [main, *by_resolution(setting, prefix)]}
    metrics = {prefix + name: name for name in ("images_per_s", "ratio", "peak_mib")}
    rows = setting.rows[setting.rows["metric"].isin(metrics) & setting.rows["value"].notna()]
    rows = rows[~(rows["cell"].isin(elsewhere_based(setting)) & rows["metric"].str.endswith("ratio"))]
    found = []
    for (variant, backend, *key), group in rows.groupby(["variant", "backend", *CONDITION], sort=True):
        here = shown.get(tuple(key))
        if here is not None and backend in ("", fastest(setting, str(variant), prefix, here)):
            continue
        values = {metrics[metric]: float(value) for metric, value in zip(group["metric"], group["value"], strict=True)}
        where = ("training: " if prefix else "inference: ") + Condition(tuple(key), None, Quantity()).words()
        found.append(
            Elsewhere(variant, backend, where, values.get("images_per_s"), values.get("ratio"), values.get("peak_mib"))
        )
    return found
