"""The part "What the priors learn" of a setting: maps of each head, profiles, epochs, distance, entropy, agreement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.report import figures
from harness.report.figures.context import Context
from harness.report.figures.style.chart import Drawing
from harness.report.figures.style.palette import Look
from harness.report.tables import heads
from harness.report.tables.main import Table


@dataclass(frozen=True)
class Atlas:
    """Figures, the table of heads and how it was made; `legend` names the variants that a figure leaves out."""

    drawings: list[Drawing]
    table: Table | None
    how: str
    legend: list[str]
    look: Mapping[str, Look]


def atlas(about: Context) -> Atlas | None:
    """None where no cell has read the maps of a trained model."""
    drawings = figures.draw("priors", about)
    if not drawings:
        return None
    left = [name for name in about.setting.variants if any(name in one.unlabelled for one in drawings)]
    return Atlas(drawings, heads.table(about.setting, about.maps), heads.how(about.maps), left, about.look)
