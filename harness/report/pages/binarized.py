"""Binarised priors of a setting: how accurate models stay with a mask in the prior's place, and what it saves."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.analysis.binarized import Curves, arms
from harness.report.figures import binarized
from harness.report.figures.style.chart import Drawing
from harness.report.study.study import Setting


@dataclass(frozen=True)
class Binarised:
    """All that is shown of one variant: sentences and figures."""

    variant: str
    sentences: list[tuple[str, str]]
    drawings: list[Drawing]


def binarised(setting: Setting, prefix: str) -> list[Binarised]:
    """One for each variant whose prior was made binary and has a number."""
    found = []
    for number, (spec, mine) in enumerate(arms(setting).items(), start=1):
        curve = Curves(setting, spec, mine)
        if curve.top1:
            found.append(Binarised(spec, curve.sentences(), [binarized.draw(curve, f"{prefix}kept-{number}")]))
    return found
