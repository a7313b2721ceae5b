"""Each variant's own maps, layer by head, of its first seed; where it has none, its attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.report.figures.context import Context
from harness.report.figures.style import heatmaps
from harness.report.figures.style.chart import Drawing, Record
from harness.report.figures.style.heatmaps import Tile
from harness.report.study.maps import OWN, Books
from harness.report.text.formatting import listing
from harness.results import maps as offsets

MOST = 8  # variants whose maps are drawn; the figures' files of the others are beside the rows
MOST_VALUES = 12_000  # numbers in a map's CSV; a page must stay small
MOST_NOTES = 6  # heads beside each other; notes under more would run into each other
TITLES = {
    "prior": "What {} learns: its prior by offset", "bias": "What {} learns: its bias by offset",
    "position": "What {} learns: its positional logit by offset", "keys": "What {} learns: its keys by offset",
    "kept": "What {} may see", "attention": "Where {} looks, by offset",
}  # fmt: skip
MEANS = {
    "prior": "The factor of the score: 1, neutral, is the paper's colour; below 0 similarity is inverted.",
    "bias": "What is added to the score, in nats: 0, neutral, is the paper's colour.",
    "position": "What is added to the score of the second softmax, in nats; gate: its share of the head's attention.",
    "keys": "The mean inner product of the keys with the queries of test images, in nats: 0 is the paper's colour.",
    "kept": "From the middle patch: what is masked is blue, what may be seen has the paper's colour.",
    "attention": "No table of its own: the mean attention at an offset, in units of uniform attention, of test images.",
}


def draw(about: Context) -> list[Drawing]:
    """A figure for each variant that left maps, those with maps of their own first."""
    return [_draw(one, f"{about.prefix}map-{number}") for number, one in enumerate(first(about.maps), start=1)]


def first(found: Sequence[Books]) -> list[Books]:
    """The variants whose maps are drawn."""
    return sorted(found, key=lambda one: one.kind not in OWN)[:MOST]


def _draw(one: Books, name: str) -> Drawing:
    seed, book = next(iter(one.by_seed.items()))
    maps = {layer: book[layer, one.kind, None] for layer in one.layers(one.kind)}
    wide = max(len(found) for found in maps.values())
    rows = [(f"layer {layer}", tiles(one.kind, book, layer)) for layer in maps]
    heads = [f"head {head + 1}" for head in range(wide)] if wide > 1 else ["all heads"]
    title = TITLES[one.kind].format(one.variant)
    drawn = heatmaps.draw(one.kind, rows, heads, name, title)
    words = caption(one, [tile for _, row in rows for tile in row])
    return Drawing(name, drawn, title, words, table(one.kind, seed, maps))


def tiles(kind: str, book: offsets.Book, layer: int) -> list[Tile]:
    """The maps of a layer with what is said under each: the gate, else the radius."""
    maps = book[layer, kind, None]
    notes = [""] * len(maps)
    if len(maps) <= MOST_NOTES and kind == "position" and (layer, "gate", None) in book:
        notes = [f"gate {gate:.2f}" for gate in book[layer, "gate", None]]
    elif len(maps) <= MOST_NOTES and kind != "attention":
        notes = [f"r {radius:.1f}" if radius == radius else "neutral" for radius in offsets.radius(kind, maps)]
    return [Tile(one, note) for one, note in zip(maps, notes, strict=True)]


def table(kind: str, seed: str, maps: Mapping[int, offsets.Map]) -> list[Record]:
    """Each map row by row, or where they are too many numbers what each says."""
    each = [(layer, head, one) for layer, own in maps.items() for head, one in enumerate(own, start=1)]
    if sum(one.size for _, _, one in each) > MOST_VALUES:
        peaks = [peak for own in maps.values() for peak in offsets.peaks(own).tolist()]
        return [
            {"seed": seed, "layer": layer, "head": head, **shape(kind, one), "peak_dy": dy, "peak_dx": dx, **ends(one)}
            for (layer, head, one), (dy, dx) in zip(each, peaks, strict=True)
        ]
    return [
        {"seed": seed, "layer": layer, "head": head, "dy": row - len(one) // 2}
        | {f"dx={column - len(values) // 2}": rounded(value) for column, value in enumerate(values)}
        for layer, head, one in each
        for row, values in enumerate(one)
    ]


def shape(kind: str, one: offsets.Map) -> Record:
    """Radius and anisotropy of one map."""
    (radius,), (anisotropy,) = offsets.radius(kind, one[None]), offsets.anisotropy(kind, one[None])
    return {"radius": rounded(radius), "anisotropy": rounded(anisotropy)}


def ends(one: offsets.Map) -> Record:
    return {"least": rounded(float(np.nanmin(one))), "most": rounded(float(np.nanmax(one)))}


def rounded(value: float) -> float | None:
    """Four digits; None for what no pair of patches has."""
    return None if value != value else float(f"{value:.4g}")


def caption(one: Books, shown: Sequence[Tile]) -> str:
    radius = " r: effective radius in patches." if any(tile.note.startswith("r") for tile in shown) else ""
    cut = heatmaps.CUT.get(one.kind)
    most = (
        f" The colour scale is cut at {cut[1]}."
        if cut is not None and heatmaps.limit(one.kind, shown) == cut[0]
        else ""
    )
    seed, *others = one.by_seed
    beside = f"; maps of {'seed' if len(others) == 1 else 'seeds'} {listing(others)} are beside the rows"
    return (
        f"{MEANS[one.kind]}{most} Each square is a map over offsets, key minus query, the ring the query's own place; "
        f"down and right are positive.{radius} Seed {seed}{beside if others else ''}."
    )
