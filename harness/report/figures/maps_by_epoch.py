"""How one layer's maps came about, head by epoch: the layer that ends farthest from neutral."""

from __future__ import annotations

import numpy as np

from harness.report.figures import maps
from harness.report.figures.context import Context
from harness.report.figures.style import heatmaps
from harness.report.figures.style.chart import Drawing
from harness.report.study.maps import NAMES, Books
from harness.results.maps import NEUTRAL

MOST = 4  # variants
COLUMNS = 8  # epochs, the last included


def draw(about: Context) -> list[Drawing]:
    """A figure for each variant whose own maps were kept while it was trained."""
    moving = [one for one in maps.first(about.maps) if one.epochs() and one.kind not in ("kept", "attention")]
    return [_draw(one, f"{about.prefix}epochs-{number}") for number, one in enumerate(moving[:MOST], start=1)]


def _draw(one: Books, name: str) -> Drawing:
    seed, book = next(iter(one.by_seed.items()))
    kind, neutral = one.kind, NEUTRAL[one.kind]
    layer = max(one.layers(kind), key=lambda at: float(np.abs(book[at, kind, None] - neutral).max()))
    epochs = [epoch for epoch in one.epochs() if (layer, kind, epoch) in book]
    if len(epochs) >= COLUMNS:
        places = np.unique(np.linspace(0, len(epochs) - 1, COLUMNS - 1).round().astype(int))
        epochs = [epochs[place] for place in places]
    series = {str(epoch): book[layer, kind, epoch] for epoch in epochs} | {"end": book[layer, kind, None]}
    rows = [
        (f"head {head + 1}", [heatmaps.Tile(found[head]) for found in series.values()])
        for head in range(len(series["end"]))
    ]
    records = [
        {"layer": layer, "head": head, "epoch": epoch, **maps.shape(kind, own), **maps.ends(own)}
        for epoch, found in series.items()
        for head, own in enumerate(found, start=1)
    ]
    title = f"How the {NAMES[kind]} of {one.variant} comes about"
    columns = [label if place else f"epoch {label}" for place, label in enumerate(series)]
    return Drawing(name, heatmaps.draw(kind, rows, columns, name, title), title, caption(layer, seed), records)


def caption(layer: int, seed: str) -> str:
    return (
        f"Layer {layer}, which ends farthest from neutral, after so many epochs; 0 is before training. The scale is "
        f"that of these maps. Seed {seed}."
    )
