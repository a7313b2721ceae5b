"""Validation accuracy while training, by epoch and by seconds: means over seeds, single seeds faint behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from harness.report.analysis.learning import Learning, Point, device, learnings
from harness.report.figures.context import Context
from harness.report.figures.style.chart import Drawing, Record, interval
from harness.report.figures.style.series import Panel, drawing, read
from harness.report.figures.style.words import intervals, over_seeds
from harness.report.study.study import Setting
from harness.report.text.formatting import grouped, tick

TITLES = {"epoch": "Convergence by epoch", "seconds": "Convergence by seconds of training"}  # by column
LABELS = {"epoch": "epoch", "seconds": "seconds of training"}
MOST_LINES = 60  # single seeds; more would cover the means
MARKED = 6  # epochs, at most, at which marks and intervals stand: at each one they would hide the lines


def draw(about: Context) -> list[Drawing]:
    """By epoch, and by seconds where they are known and it is no probe; [] where nothing was validated repeatedly."""
    found, drawn = learnings(about.setting), []
    for x, title in TITLES.items():
        if x == "seconds" and about.setting.probe is not None:  # it asks what can be learned
            continue
        records = table(found, x)
        lines = read(records, x, "val_top1_mean", about.look)
        if not lines:
            continue
        faint = {one.variant: single(one, x) for one in found} if few(found) else {}
        lines = [
            replace(line, marked=marked(len(line.points), order / len(lines)), behind=faint.get(line.name, ()))
            for order, line in enumerate(lines)
        ]
        panel = Panel(lines, LABELS[x], "validation accuracy, %", whole=x == "epoch", limits=(begin(found, x), None))
        name = f"{about.prefix}by-{x.removesuffix('s')}"
        drawn.append(drawing(name, title, caption(about.setting, found, x), records, [panel]))
    return drawn


def points(one: Learning, x: str) -> list[Point]:
    return one.by_epoch if x == "epoch" else one.by_second


def table(found: Sequence[Learning], x: str) -> list[Record]:
    """A record for each mean of a variant that has several; single seeds to six digits, as far as they are few."""
    records: list[Record] = []
    for one in found:
        shown = one.top1 if len(one.top1) <= MOST_LINES else {}
        for point in points(one, x) if len(points(one, x)) > 1 else []:
            by_seed = {seed: float(f"{v[point.epoch]:.6g}") for seed, v in shown.items() if point.epoch in v}
            records.append({
                "variant": one.variant, "epoch": point.epoch, "seconds": point.seconds,
                **interval("val_top1_mean", point.top1), "seeds": point.top1.n, "val_top1_by_seed": by_seed,
            })  # fmt: skip
    return records


def single(one: Learning, x: str) -> list[list[tuple[float, float]]]:
    """The lines of single seeds, each at its own seconds."""
    epochs = [point.epoch for point in points(one, x)]
    found = []
    for seed, values in one.top1.items():
        places = one.seconds.get(seed, {}) if x == "seconds" else {epoch: float(epoch) for epoch in epochs}
        found.append([(places[epoch], values[epoch]) for epoch in epochs if epoch in places and epoch in values])
    return found


def few(found: Sequence[Learning]) -> bool:
    """Whether single seeds are few enough to be drawn."""
    return sum(len(one.top1) for one in found) <= MOST_LINES


def begin(found: Sequence[Learning], x: str) -> float | None:
    """Where the axis of accuracy begins, %: below every mean from a third of the training on; None where all fit.

    The first epochs climb so far that on a whole axis the others could not be told apart.
    """
    late = [p.top1.center for one in found for p in one.by_epoch if 3 * p.epoch >= one.by_epoch[-1].epoch]
    cut = float(max(0, math.floor(min(late) - 0.35 * (max(late) - min(late)) - 1)))
    return cut if any(point.top1.center < cut for one in found for point in points(one, x)) else None


def marked(count: int, phase: float) -> list[int]:
    """Which of `count` points carry a mark: spread evenly, moved on by `phase` of a gap (0 to 1), and the last."""
    if count <= MARKED:
        return list(range(count))
    gap = (count - 1) / MARKED
    return [*(round((number + phase) * gap) for number in range(MARKED) if number + phase < MARKED - 0.5), count - 1]


def caption(setting: Setting, found: Sequence[Learning], x: str) -> str:
    every = [point for one in found for point in points(one, x)]
    if not every:
        return ""
    number, cut = max(point.top1.n for point in every), begin(found, x)
    axis = "" if cut is None else f" The axis begins at {tick(cut)} %; the first epochs below it are in the CSV."
    if x == "epoch":
        counts = set(setting.named("val_top1")["n"].dropna())
        images = f"{grouped(counts.pop(), 0)} images of " if len(counts) == 1 else ""
        lines = over_seeds(number, ", faint lines single seeds" if few(found) else "")
        drawn = any(point.top1.low is not None for point in every)
        vertical = intervals("; vertical lines: 95 % t intervals, at a few epochs", drawn)
        return (
            f"Further left is learned in fewer epochs. Accuracy on {images}the validation split. Lines are {lines}"
            f"{vertical}.{axis}"
        )
    where = device(setting)
    return (
        f"Further left is learned in less time. The same accuracies against the seconds that training alone took till "
        f"then{f' on {where}' if where else ''}, validation not counted; {over_seeds(number)}. Trainings are not "
        f"timed in interleaved rounds: small differences of time are noise, the table's ratios are not.{axis}"
    )
