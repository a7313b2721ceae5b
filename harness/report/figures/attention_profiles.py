"""Attention by distance: a panel a layer, a line a variant, means over heads and seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.report.figures import profiles
from harness.report.figures.context import Context
from harness.report.figures.style.chart import PANEL, Drawing
from harness.report.figures.style.series import SMALL, Level, Panel, drawing, read

TITLE = "Attention by distance"
MOST = 4  # layers, a panel each
MARKS = 7  # on a line, about


def draw(about: Context) -> Drawing | None:
    """None where no variant left maps of its attention."""
    records = [record for one in about.maps for record in profiles.table(one, "attention")]
    layers = sorted({layer for one in about.maps for layer in one.layers("attention")})
    if not layers:
        return None
    shown = [layers[place] for place in np.unique(np.linspace(0, len(layers) - 1, MOST).round().astype(int))]
    panels = []
    for layer in shown:
        here = [record for record in records if record["layer"] == layer]
        lines = read(here, "distance", "mean", about.look, size=5.0)
        lines = [replace(line, marked=range(0, len(line.points), max(1, len(line.points) // MARKS))) for line in lines]
        panels.append(Panel(lines, "distance, patches", "attention, of uniform", str(layer), f"{TITLE}: layer {layer}",
                            level=Level(1.0), zero=True, heading=f"layer {layer}"))  # fmt: skip
    words = caption(len(layers), len(shown), max(len(one.by_seed) for one in about.maps))
    return drawing(f"{about.prefix}attention-profile", TITLE, words, records, panels, PANEL, SMALL)


def caption(layers: int, shown: int, seeds: int) -> str:
    over = "heads and seeds" if seeds > 1 else "the heads of one seed"
    return (
        "Above 1 a patch at that distance gets more attention than by chance: 1 is uniform attention. Means over "
        f"pairs, test images, {over}, whatever the variant is made of; prefix tokens are left out."
        + (f" Of {layers} layers {shown} are drawn, all are in the CSV." if shown < layers else "")
    )
