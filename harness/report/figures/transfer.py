"""Resolution transfer: top-1 of the trained weights at test resolutions they were not trained at, and after
fine-tuning there; under it, what an image costs in time at that resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.report.analysis.quantity import Quantity
from harness.report.analysis.timing import Times, image_times
from harness.report.analysis.transfer import Curve, Point, curves, finetune_epochs
from harness.report.figures.context import Context
from harness.report.figures.resolution import places
from harness.report.figures.style import series, svg
from harness.report.figures.style.chart import SIZE, Drawing, Record, Table, interval
from harness.report.figures.style.palette import FAINT, Look
from harness.report.figures.style.words import intervals, over_seeds
from harness.report.study.rows import side
from harness.report.study.study import Setting

TITLE = "Zero-shot resolution transfer"
BOTH = "Resolution transfer, zero-shot and fine-tuned"
MOST_DOTS = 1500  # single seeds; more would cover the lines and weigh megabytes
HIGH = 1.5  # inches for the times of an image
UPPER, LOWER = (0.12, 0.38, 0.58, 0.60), (0.12, 0.10, 0.58, 0.20)


def draw(about: Context) -> Drawing | None:
    """Top-1 against test resolution, one line a variant with t intervals; None below two resolutions.

    Dashed lines with hollow marks lead from what was trained to what was fine-tuned from it. Under it the time of an
    image at the same resolutions, where it was measured.
    """
    setting, found, timed = about.setting, curves(about.setting), image_times(about.setting)
    where = places(point.px for curve in found for point in (*curve.points, *curve.finetuned))
    if len(where) < 2:
        return None
    records, name = table(found, timed), f"{about.prefix}transfer"
    title = BOTH if "finetuned_mean" in records[0] else TITLE
    ticks = {place: px for px, place in where.items()}
    lines = top1_lines(records, about.look, where, setting.train_px, dots(found))
    upper = series.Panel(lines, "test resolution, px", "top-1 accuracy, %", ticks=ticks, apart=series.APART)
    ms = series.read(records, "test_px", "ms_per_image", about.look, place=where.__getitem__, size=4.5, named=False)
    with svg.style():
        figure = Figure(figsize=(SIZE[0], SIZE[1] + HIGH) if ms else SIZE)
        ax = figure.add_axes(UPPER if ms else series.FRAME)
        missed = series.draw(ax, replace(upper, x="") if ms else upper)
        if setting.train_px in where:
            ax.axvline(where[setting.train_px], color=FAINT, linewidth=0.9, linestyle=series.DOTTED, zorder=0)
            ax.annotate("trained here", (where[setting.train_px], 0), (4, 5), xycoords=("data", "axes fraction"),
                        textcoords="offset points", fontsize=8.5, color=FAINT, va="bottom", gid="label")  # fmt: skip
        if ms:
            heights = [point.y for line in ms for point in line.points]
            log = min(heights) > 0 and max(heights) / min(heights) > 8
            below = figure.add_axes(LOWER, sharex=ax)
            series.draw(below, replace(upper, lines=ms, y="ms an image", log_y=log, zero=True))
            if not log:
                below.yaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 2.5, 5, 10]))
        drawn = svg.inline(figure, name, title)
    return Drawing(name, drawn, title, caption(setting, found, timed), records, missed)


def top1_lines(
    records: Table, look: Mapping[str, Look], where: Mapping[str, float], train_px: str, single: bool
) -> list[series.Line]:
    """Dashed from what was trained to what was fine-tuned, and above it what was trained as it is."""
    zero_shot, tuned = (
        series.read(records, "test_px", f"{metric}_mean", look, single=f"{metric}_by_seed" if single else "",
                    place=where.__getitem__)
        for metric in ("top1", "finetuned")
    )  # fmt: skip
    trained = {line.name: [point for point in line.points if point.x == where.get(train_px)] for line in zero_shot}
    for order, line in enumerate(tuned):
        hollow = [point._replace(hollow=True) for point in line.points]
        path = sorted([*trained.get(line.name, []), *hollow], key=lambda point: point.x)
        marked = [place for place, point in enumerate(path) if point.hollow]
        tuned[order] = replace(line, points=path, marked=marked, dashed=True, named=line.name not in trained)
    return tuned + zero_shot


def dots(found: Sequence[Curve]) -> bool:
    """Whether single seeds are few enough to be drawn."""
    return sum(len(point.seeds) for curve in found for point in curve.points + curve.finetuned) <= MOST_DOTS


def table(found: Sequence[Curve], timed: Times | None) -> list[Record]:
    """A record for each variant and resolution."""
    sizes = {point.px for curve in found for point in (*curve.points, *curve.finetuned)}
    tuned = any(curve.finetuned for curve in found)
    by_variant = timed.by_variant if timed else {}
    ms = {(curve.variant, px): one for curve in found for px, one in by_variant.get(curve.variant, {}).items()
          if px in sizes}  # fmt: skip
    records: list[Record] = []
    for curve in found:
        zero, after = ({point.px: point for point in points} for points in (curve.points, curve.finetuned))
        mine = [px for variant, px in ms if variant == curve.variant]
        for px in sorted({*zero, *after, *mine}, key=lambda px: (side(px), px)):
            record = {"variant": curve.variant, "test_px": px, **_cells("top1", "seeds", zero.get(px))}
            record |= _cells("finetuned", "finetuned_seeds", after.get(px)) if tuned else {}
            record |= interval("ms_per_image", ms.get((curve.variant, px), Quantity())) if ms else {}
            records.append(record)
    return records


def _cells(name: str, count: str, point: Point | None) -> dict[str, object]:
    top1, n, seeds = (point.top1, point.top1.n, point.seeds) if point is not None else (Quantity(), None, None)
    return {**interval(f"{name}_mean", top1), count: n, f"{name}_by_seed": seeds}


def caption(setting: Setting, found: Sequence[Curve], timed: Times | None) -> str:
    at = f"{setting.train_px} px only (dotted line)" if setting.train_px else "one resolution"
    every = [point.top1 for curve in found for point in curve.points + curve.finetuned]
    drawn = any(top1.low is not None for top1 in every)
    vertical = intervals(", vertical lines 95 % t intervals, set apart sideways to be told apart", drawn)
    single = ", faint dots single seeds" if dots(found) else ", single seeds are too many to be drawn"
    marks = over_seeds(max((top1.n for top1 in every), default=0), single)
    zero = "at the other resolutions the same weights are tested as they are: zero-shot, without fine-tuning."
    epochs = finetune_epochs(setting)
    if any(curve.finetuned for curve in found):
        for_epochs = f" for {epochs} epoch{'' if epochs == '1' else 's'}" if epochs else ""
        zero = (
            "solid lines test the same weights as they are at the other resolutions: zero-shot. Dashed lines and "
            f"hollow marks: after fine-tuning at that resolution{for_epochs}."
        )
    return (
        f"A flat line transfers, a falling one does not. Trained at {at}; {zero} Marks are {marks}{vertical}."
        f"{_below(timed)}"
    )


def _below(timed: Times | None) -> str:
    if timed is None or not timed.by_variant:
        return ""
    of = f"in a batch of {timed.batch}" if timed.batch not in ("", "1") else "alone"
    on = f" on {timed.where}" if timed.where else ""
    drawn = any(ms.low is not None for by_px in timed.by_variant.values() for ms in by_px.values())
    vertical = "; vertical lines: 95 % bootstrap intervals of the median" if drawn else ""
    return f" Below: the time of an image {of} at inference{on}{vertical}."
