"""Top-1 by share of the training images, and beside it the paired difference to the baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping

from harness.report.analysis.low_data import Group
from harness.report.figures.style.chart import Drawing, interval
from harness.report.figures.style.palette import Look
from harness.report.figures.style.series import APART, Level, Panel, drawing, read
from harness.report.figures.style.words import intervals, over_seeds, tested_images
from harness.report.text.formatting import share

TITLE = "Top-1 by share of the training images"
DIFFERENCE = "Difference to {} by share of the training images"
X, LABEL = "train_fraction", "training images (log scale)"
ROOM = 0.16  # of the axis' width, from name to name of a share


def draw(group: Group, look: Mapping[str, Look], prefix: str) -> list[Drawing]:
    """Means over seeds; and the mean paired differences, where something is compared with the baseline."""
    each = [({"variant": variant, X: member.fraction}, s) for variant in group.variants for member in group.members
            for s in member.found if s.variant == variant]  # fmt: skip
    top1 = [
        about | interval("top1_mean", s.top1) | {"seeds": len(s.seeds), "top1_by_seed": s.seeds}
        for about, s in each
        if s.top1.value is not None
    ]
    differences = [
        about | interval("difference", one.estimate)
        | {"confidence": one.estimate.confidence, "paired_seeds": one.estimate.n, "resolved": s.decided}
        for about, s in each
        if (one := s.difference) is not None
    ]  # fmt: skip
    shares = ticks([member.fraction for member in group.members])
    lines = read(top1, X, "top1_mean", look, single="top1_by_seed")
    panel = Panel(lines, LABEL, "top-1 accuracy, %", ticks=shares, log_x=True, apart=APART)
    drawn = [drawing(f"{prefix}low-data", TITLE, caption(group), top1, [panel])]
    if differences:
        lines = read(differences, X, "difference", look, resolved="resolved")
        level = Level(0.0, group.baseline, look.get(group.baseline))
        y = f"top-1 minus {group.baseline}, points"
        panel = Panel(lines, LABEL, y, ticks=shares, log_x=True, apart=APART, level=level)
        title, words = DIFFERENCE.format(group.baseline), caption_of_differences(group)
        drawn.append(drawing(f"{prefix}low-data-difference", title, words, differences, [panel]))
    return drawn


def ticks(fractions: list[float]) -> dict[float, str]:
    """The names of shares: the largest is always named, one that would run into its neighbour is not."""
    names: dict[float, str] = {}
    clear, room = math.inf, (fractions[-1] / fractions[0]) ** ROOM
    for fraction in reversed(fractions):
        names[fraction] = share(str(fraction)) if fraction < clear else ""
        clear = min(clear, fraction / room) if names[fraction] else clear
    return names


def caption(group: Group) -> str:
    found = [s for member in group.members for s in member.found]
    marks = over_seeds(max((len(s.seeds) for s in found), default=0), ", faint dots single seeds")
    drawn = any(s.top1.low is not None for s in found)
    vertical = intervals(", vertical lines 95 % t intervals, set apart sideways", drawn)
    return (
        f"A line that falls less to the left needs fewer images. Each share is a part of the larger ones, every class "
        f"cut alike, and all are trained for the same number of updates. Marks are {marks}{vertical}."
        f"{tested_images(found)}"
    )


def caption_of_differences(group: Group) -> str:
    every = [s.difference.estimate for member in group.members for s in member.found if s.difference]
    drawn = any(one.low is not None for one in every)
    several = any(one.n > 1 for one in every)
    mean = (
        "Mean over seeds that both trained with, of the difference seed by seed"
        if several
        else "The difference in one seed"
    )
    vertical = intervals("; vertical lines: simultaneous 95 % intervals over the variants of a share", drawn)
    return (
        f"Above 0 is more accurate than {group.baseline} with the same images. {mean}{vertical}. Hollow marks are not "
        "resolved."
    )
