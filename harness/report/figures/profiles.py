"""Radial profiles of each variant's own maps: the mean of a map over the offsets at a distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.report.figures.context import Context
from harness.report.figures.style.chart import PANEL, Drawing, Record
from harness.report.figures.style.series import SMALL, Level, Panel, drawing, read
from harness.report.study.maps import NAMES, OWN, Books
from harness.results import maps

TITLE = "Radial profile of what is learned"
MOST = 8  # variants, a panel each


@dataclass(frozen=True)
class Profile:
    """Of a layer: distances [R], and what each head of each seed has there [seeds * H, R]."""

    distances: np.ndarray
    heads: np.ndarray


def profile(one: Books, kind: str, layer: int) -> Profile:
    found = [maps.profile(book[layer, kind, None]) for book in one.by_seed.values()]
    return Profile(found[0][0], np.concatenate([values for _, values in found]))


def table(one: Books, kind: str) -> list[Record]:
    """A record for each layer and distance: the mean over heads and seeds."""
    each = {layer: profile(one, kind, layer) for layer in one.layers(kind)}
    return [
        {"variant": one.variant, "kind": kind, "layer": layer, "distance": int(distance),
         "mean": float(f"{value:.5g}"), "seeds": len(one.by_seed), "heads": len(found.heads)}
        for layer, found in each.items()
        for distance, value in zip(found.distances, found.heads.mean(axis=0), strict=True)
    ]  # fmt: skip


def draw(about: Context) -> Drawing | None:
    """A panel for each variant with maps of its own: a line a layer, faint ones its heads; all seeds."""
    having = [one for one in about.maps if one.kind in OWN]
    if not having:
        return None
    records, panels = [], []
    for number, one in enumerate(having, start=1):
        mine, look, layers = table(one, one.kind), about.look[one.variant], one.layers(one.kind)
        records += mine
        lines = read(mine, "distance", "mean", dict.fromkeys(map(str, layers), look), by="layer")
        for order, (layer, line) in enumerate(zip(layers, lines, strict=True)):
            found = profile(one, one.kind, layer)
            lines[order] = replace(
                line, name=f"layer {layer}", named=layer in (layers[0], layers[-1]), marked=[],
                opacity=1.0 - 0.55 * order / max(1, len(layers) - 1),
                behind=[np.stack([found.distances, head], axis=1) for head in found.heads],
            )  # fmt: skip
        level, title = Level(maps.NEUTRAL[one.kind]), f"{TITLE}: {one.variant}"
        panels.append(Panel(lines, "distance, patches", NAMES[one.kind], str(number), title, level=level,
                            heading=one.variant, heading_color=look.color))  # fmt: skip
    return drawing(f"{about.prefix}profile", TITLE, caption(having), records, panels[:MOST], PANEL, SMALL)


def caption(having: Sequence[Books]) -> str:
    number, several = len(having), any(len(one.by_seed) > 1 for one in having)
    over = "heads and seeds" if several else "the heads of one seed"
    return (
        "The mean over the offsets at a distance, rounded to whole patches. Bold lines are the means of a layer over "
        f"{over}, the first layer the strongest; faint lines single heads{' of all seeds' * several}. Dotted: neutral."
        + (f" {number - MOST} more variants are in the CSV." if number > MOST else "")
    )
