"""Binarised priors: accuracy against the share of offsets that a mask keeps; beside it the time ratios.

The numbers are those of harness/report/analysis/binarized.py; here they are drawn.
"""

from __future__ import annotations

from dataclasses import replace

from harness.report.analysis.binarized import HEADER, Curves, table
from harness.report.figures.style.chart import Drawing, Record, Table
from harness.report.figures.style.palette import HUES, MARKERS, THEME, Look
from harness.report.figures.style.series import APART, Frame, Level, Line, Panel, drawing, read
from harness.report.text.formatting import listing, tick

TITLE = "Binarised priors of {}"
LABEL = "offsets kept, % (log scale)"
FRAME: Frame = (0.12, 0.14, 0.55, 0.83)
X = "kept_offsets"
AS_TRAINED = {X: 100.0, "time_ratio": 1.0}


def draw(curves: Curves, name: str) -> Drawing:
    """A panel of accuracy, and one of time where it was measured."""
    records = [dict(zip(HEADER, line, strict=True)) for line in table(curves)]
    ticks = {one.keep: tick(one.keep) for one in sorted(curves.arms, key=lambda one: one.keep)}
    title = TITLE.format(curves.spec)
    trained = Level(curves.plain.value) if curves.plain.value is not None else None
    panels = [Panel(accuracies(curves, records), LABEL, "top-1 accuracy, %", "top1", f"{title}: accuracy", ticks,
                    log_x=True, apart=APART, level=trained)]  # fmt: skip
    if curves.times:
        panels.append(Panel(times(curves, records), LABEL, "time / time of the trained layers", "time",
                            f"{title}: time", ticks, log_x=True, level=Level(1.0)))  # fmt: skip
    return drawing(name, title, caption(curves), records, panels, frame=FRAME)


def accuracies(curves: Curves, records: Table) -> list[Line]:
    """A line for each way to choose and each form, by growing share; dashed what was fine-tuned."""
    here = {one["arm"]: one for one in records if one["test_px"] == curves.setting.train_px}
    shown = [{"line": words, **here[arm.name]} for words, arms in curves.series() for arm in arms]
    look = looks(list(dict.fromkeys(one["line"] for one in shown)))
    tuned = [
        replace(line, points=[point._replace(hollow=True) for point in line.points])
        for line in read(shown, X, "finetuned_mean", look, by="line", dashed=True, named=False)
    ]
    return tuned + read(shown, X, "top1_mean", look, by="line")


def times(curves: Curves, records: Table) -> list[Line]:
    """A line for each grid and each form, the faster way to choose; with the prior inside all kept is as trained."""
    found = []
    grids = {px: curves.grid(px) for px in curves.sizes}
    look = looks(list(grids.values()))
    for px, grid in grids.items():
        timed = [one for one in records if one["test_px"] == px and one["time_ratio"] is not None]
        masks = [one for one in timed if one["prior"] == "1"]
        inside = [AS_TRAINED, *(one for one in timed if one["prior"] != "1" and one[X] < 100)]
        for mine, dashed in ((inside, False), (masks, True)):
            fastest = [{"grid": grid, **one} for one in fastest_of(mine)]
            found += read(fastest, X, "time_ratio", look, by="grid", dashed=dashed, named=dashed or not masks)
    return found


def fastest_of(records: Table) -> list[Record]:
    """By growing share the record with the least time ratio."""
    best: dict[float, Record] = {}
    for one in sorted(records, key=lambda one: (one["kept_offsets"], one["time_ratio"])):
        best.setdefault(one["kept_offsets"], one)
    return list(best.values())


def looks(names: list[str]) -> dict[str, Look]:
    """The lines are no variants: their looks are those of their order."""
    hues = [HUES[order % len(HUES)] for order in range(len(names))]
    return {name: Look(hue, THEME[hue][0], MARKERS[order % len(MARKERS)])
            for order, (name, hue) in enumerate(zip(names, hues, strict=True))}  # fmt: skip


def caption(curves: Curves) -> str:
    tuned = ""
    if curves.tuned:
        tuned = (
            f" Dashed, hollow: after {curves.epochs} epochs of fine-tuning, the rate chosen on the validation split; "
            "what keeps all was fine-tuned as well, for comparison."
        )
    timed = ""
    if curves.times:
        timed = (
            " Right: below 1 is faster. Time of the layers with the prior, masked, by the fastest backend of "
            f"{listing(curves.tried)}, over that of the same layers as trained, on the masks of the first seed, in "
            "interleaved rounds; the fastest is read off the same rounds. Solid: prior inside, dashed: prior 1, whose "
            "100 % shows what dropping the prior saves without any mask. Vertical lines: 95 % bootstrap intervals, "
            "each for itself."
        )
    return (
        "Further up is more accurate. The trained prior, thresholded for each head and layer: only so many of the "
        "offsets are attended. prior inside: the learned values act on what is left; prior 1: a mask alone. by "
        "deviation: the offsets with the largest |prior - 1|; by mass: those with the most attention. Dotted line: as "
        f"trained. Vertical lines: 95 % t intervals over seeds, from three seeds on.{tuned}{timed}"
    )
