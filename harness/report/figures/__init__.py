"""The figures, one a file: `draw` makes the drawing, None or [] where there is nothing to draw; `caption` explains it.

FIGURES names the files of a setting's figures. Those of several settings (low_data, relations), of one variant's masks
(binarized) and of costs are drawn where their page asks for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.report.figures.context import Context
    from harness.report.figures.style.chart import Drawing

FIGURES = {  # by part of the page, in its order
    "figures": [
        "tradeoff",
        "transfer",
        "forest_plot",
    ],
    "convergence": [
        "convergence",
    ],
    "priors": [
        "maps",
        "maps_by_epoch",
        "profiles",
        "attention",
        "attention_profiles",
    ],
    "saliency": [
        "saliency",
    ],
    "speed": [
        "resolution",
    ],
}


def draw(part: str, about: Context) -> list[Drawing]:
    """The drawings of a part of the page."""
    found: list[Drawing] = []
    for name in FIGURES[part]:
        drawn = import_module(f"{__name__}.{name}").draw(about)
        found += drawn if isinstance(drawn, list) else filter(None, [drawn])
    return found
