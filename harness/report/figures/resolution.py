"""Time and peak memory relative to the baseline against resolution; in the A/A band no time is resolved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.report.analysis.crossover import Curve, curves
from harness.report.figures.context import Context
from harness.report.figures.style.chart import Drawing, Record, interval
from harness.report.figures.style.series import APART, Level, Panel, drawing, read
from harness.report.study.rows import side

TITLES = {"": "Inference by resolution", "train_": "Training by resolution"}
TIMES = "\N{MULTIPLICATION SIGN}"
X = "resolution, px"


def draw(about: Context) -> list[Drawing]:
    """Of inference and of training a panel of time and one of memory, where another variant was timed."""
    baseline, drawn = about.setting.baseline, []
    for kind, title in TITLES.items():
        found = curves(about.setting, kind)
        records = table(found, baseline)
        others = [record for record in records if record["variant"] != baseline]
        if not others:
            continue
        where = places(point.px for curve in found for point in curve.points)
        ticks = {place: px for px, place in where.items()}
        floors = {where[p.px]: p.condition.floor for curve in found for p in curve.points}
        band = {place: floor for place, floor in floors.items() if floor is not None}
        level = Level(1.0, baseline, about.look.get(baseline))
        times, needs = (
            read(others, "test_px", ratio, about.look, resolved=resolved, place=where.__getitem__)
            for ratio, resolved in (("time_ratio", "outcome"), ("peak_ratio", ""))
        )
        panels = [Panel(times, X, f"time {TIMES} {baseline}", "time", f"{title}: time", ticks, apart=APART,
                        level=replace(level, band=band))]  # fmt: skip
        if needs:
            y = f"peak memory {TIMES} {baseline}"
            panels.append(Panel(needs, X, y, "memory", f"{title}: peak memory", ticks, level=level))
        drawn.append(drawing(f"{about.prefix}{kind}time", title, caption(found, baseline), records, panels))
    return drawn


def table(found: Sequence[Curve], baseline: str) -> list[Record]:
    """A record for each variant and resolution."""
    peaks = memory(found, baseline)
    return [
        {"variant": curve.variant, "test_px": point.px, "batch_size": point.condition.batch,
         **interval("time_ratio", point.speed.ratio), "rounds": point.speed.images_per_s.n,
         "outcome": "baseline" if curve.variant == baseline else point.outcome, "aa_floor": point.condition.floor,
         "images_per_s": point.speed.images_per_s.value, "peak_mib": point.speed.peak_mib.value,
         "peak_ratio": peaks.get((curve.variant, point.px)), "mfu": point.speed.mfu.value}
        for curve in found
        for point in curve.points
    ]  # fmt: skip


def memory(found: Sequence[Curve], baseline: str) -> dict[tuple[str, str], float]:
    """Peak memory over the baseline's, by variant and resolution, where both were measured."""
    every = {(curve.variant, p.px): p.speed.peak_mib.value for curve in found for p in curve.points}
    peaks = {key: peak for key, peak in every.items() if peak}
    return {
        (variant, px): peak / peaks[baseline, px] for (variant, px), peak in peaks.items() if (baseline, px) in peaks
    }


def places(sizes: Iterable[str]) -> dict[str, float]:
    """Where on the axis a resolution stands: at its side in pixels, or one after the other where sides are alike."""
    ordered = sorted(set(sizes), key=lambda px: (side(px), px))
    if len({side(px) for px in ordered}) == len(ordered):
        return {px: side(px) for px in ordered}
    return {px: float(order) for order, px in enumerate(ordered)}


def caption(found: Sequence[Curve], baseline: str) -> str:
    points = [point for curve in found for point in curve.points]
    rounds = sorted({point.speed.images_per_s.n for point in points} - {0})
    over = f" over {' to '.join(dict.fromkeys(str(n) for n in (rounds[0], rounds[-1])))} rounds" if rounds else ""
    batches = list(dict.fromkeys(point.condition.batch for point in points))
    batch = f" Batch {' and '.join(batches)}." if all(batches) and batches else ""
    measured = any(point.speed.peak_mib.value is not None for point in points)
    peaks = f" Peak memory is one number a run, relative to {baseline}'s; below 1 takes less." if measured else ""
    return (
        f"Below 1 is faster than {baseline}. The band is what {baseline} differs from itself at that resolution, the "
        f"A/A floor; hollow marks are not resolved. Vertical lines: 95 % bootstrap intervals of the median{over}, set "
        f"apart sideways.{batch}{peaks}"
    )
