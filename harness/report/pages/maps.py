"""The part "What the priors learn" of a setting: maps of each head, profiles, epochs, distance, entropy, agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.report.figures import attention, heatmaps, profiles
from harness.report.figures.style.chart import Drawing
from harness.report.figures.style.palette import Look
from harness.report.study.maps import NAMES, OWN, Books, books
from harness.report.study.study import Setting
from harness.report.tables import heads
from harness.report.tables.main import Table
from harness.report.text.formatting import listing
from harness.results import maps as offsets

MOST_MAPS = 8  # variants whose maps are drawn; the figures' files of the others are beside the rows
MOST_EPOCHS = 4  # variants whose maps are drawn over epochs
MOST_COLUMNS = 8  # epochs
MOST_VALUES = 12_000  # numbers in a map's CSV; a page must stay small
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
RADIUS = "r: effective radius in patches."


@dataclass(frozen=True)
class Atlas:
    """Figures, the table of heads and how it was made; `legend` names the variants that a figure leaves out."""

    drawings: list[Drawing]
    table: Table | None
    how: str
    legend: list[str]
    look: Mapping[str, Look]


def atlas(setting: Setting, look: dict[str, Look], prefix: str) -> Atlas | None:
    """None where no cell has read the maps of a trained model."""
    seen = attention.seen(setting)
    if not seen:
        return None
    found = books(setting)
    drawn: list[Drawing | None] = []
    first = sorted(found, key=lambda one: one.kind not in OWN)[:MOST_MAPS]
    for number, one in enumerate(first, start=1):
        drawn.append(learned(one, f"{prefix}map-{number}"))
    moving = [one for one in first if one.epochs() and one.kind not in ("kept", "attention")]
    for number, one in enumerate(moving[:MOST_EPOCHS], start=1):
        drawn.append(over_epochs(one, f"{prefix}epochs-{number}"))
    drawn.append(profiles.own(found, look, f"{prefix}profile"))
    drawn.append(attention.draw(setting, seen, look, f"{prefix}attention"))
    drawn.append(profiles.attention(found, look, f"{prefix}attention-profile"))
    drawings = [drawing for drawing in drawn if drawing is not None]
    table = heads.table(setting, found)
    left = [name for name in setting.variants if any(name in one.unlabelled for one in drawings)]
    return Atlas(drawings, table, heads.how(found), left, look)


def learned(one: Books, name: str) -> Drawing:
    """A variant's own maps, layer by head, of its first seed."""
    seed, book = next(iter(one.by_seed.items()))
    layers = one.layers(one.kind)
    maps = {layer: book[layer, one.kind, None] for layer in layers}
    wide = max(len(found) for found in maps.values())
    rows = [(f"layer {layer}", _tiles(one.kind, book, layer)) for layer in layers]
    heads = [f"head {head + 1}" for head in range(wide)] if wide > 1 else ["all heads"]
    title = TITLES[one.kind].format(one.variant)
    radius = f" {RADIUS}" if any(tile.note.startswith("r") for _, row in rows for tile in row) else ""
    end = heatmaps.limit(one.kind, [tile for _, row in rows for tile in row])
    cut = heatmaps.CUT.get(one.kind)
    most = f" The scale ends at {cut[1]}." if cut is not None and end == cut[0] else ""
    caption = (
        f"{MEANS[one.kind]}{most} Each square is a map over offsets, key minus query, the ring the query's own place; "
        f"down and right are positive.{radius} Seed {seed}{_others(one)}."
    )
    header, lines = csv_of(one.kind, seed, maps)
    return Drawing(name, heatmaps.draw(one.kind, rows, heads, name, title), title, caption, header, lines)


def over_epochs(one: Books, name: str) -> Drawing | None:
    """How one layer's maps came about, head by epoch: the layer that ends farthest from neutral."""
    seed, book = next(iter(one.by_seed.items()))
    kind, neutral = one.kind, offsets.NEUTRAL[one.kind]
    layer = max(one.layers(kind), key=lambda at: float(np.abs(book[at, kind, None] - neutral).max()))
    epochs = [epoch for epoch in one.epochs() if (layer, kind, epoch) in book]
    if len(epochs) > MOST_COLUMNS - 1:
        places = np.unique(np.linspace(0, len(epochs) - 1, MOST_COLUMNS - 1).round().astype(int))
        epochs = [epochs[place] for place in places]
    series = [(str(epoch), book[layer, kind, epoch]) for epoch in epochs] + [("end", book[layer, kind, None])]
    rows = [
        (f"head {head + 1}", [heatmaps.Tile(maps[head]) for _, maps in series]) for head in range(len(series[-1][1]))
    ]
    title = f"How the {NAMES[kind]} of {one.variant} comes about"
    caption = (
        f"Layer {layer}, which ends farthest from neutral, after so many epochs; 0 is before training. The scale is "
        f"that of these maps. Seed {seed}."
    )
    header = ["layer", "head", "epoch", "radius", "anisotropy", "least", "most"]
    lines: list[list[object]] = []
    for epoch, maps in series:
        measured = zip(offsets.radius(kind, maps), offsets.anisotropy(kind, maps), maps, strict=True)
        lines += [[layer, head, epoch, _rounded(r), _rounded(a), _rounded(one_map.min()), _rounded(one_map.max())]
                  for head, (r, a, one_map) in enumerate(measured, start=1)]  # fmt: skip
    columns = [f"epoch {label}" if place == 0 else label for place, (label, _) in enumerate(series)]
    return Drawing(name, heatmaps.draw(kind, rows, columns, name, title), title, caption, header, lines)


def csv_of(kind: str, seed: str, maps: Mapping[int, offsets.Map]) -> tuple[list[str], list[list[object]]]:
    """The header and lines of a CSV: each map row by row, or where they are too many numbers what each says."""
    first = next(iter(maps.values()))
    if sum(one.size for one in maps.values()) > MOST_VALUES:
        lines: list[list[object]] = []
        for layer, one in maps.items():
            measured = zip(
                offsets.radius(kind, one), offsets.anisotropy(kind, one), offsets.peaks(one), one, strict=True
            )
            lines += [[seed, layer, head, _rounded(r), _rounded(a), *peak.tolist(), _rounded(np.nanmin(m)),
                       _rounded(np.nanmax(m))] for head, (r, a, peak, m) in enumerate(measured, start=1)]  # fmt: skip
        return ["seed", "layer", "head", "radius", "anisotropy", "peak_dy", "peak_dx", "least", "most"], lines
    h, w = (size // 2 for size in first.shape[-2:])
    header = ["seed", "layer", "head", "dy", *(f"dx={dx}" for dx in range(-w, w + 1))]
    return header, [
        [seed, layer, head, row - h, *map(_rounded, values)]
        for layer, one in maps.items()
        for head, own in enumerate(one, start=1)
        for row, values in enumerate(own)
    ]


def _tiles(kind: str, book: offsets.Book, layer: int) -> Sequence[heatmaps.Tile]:
    maps = book[layer, kind, None]
    if len(maps) > 6:
        return [heatmaps.Tile(one) for one in maps]
    gates = book.get((layer, "gate", None))
    radii = offsets.radius(kind, maps)
    if gates is not None and kind == "position":
        return [heatmaps.Tile(one, f"gate {gate:.2f}") for one, gate in zip(maps, gates, strict=True)]
    if kind == "attention":
        return [heatmaps.Tile(one) for one in maps]
    return [heatmaps.Tile(one, f"r {r:.1f}" if r == r else "neutral") for one, r in zip(maps, radii, strict=True)]


def _others(one: Books) -> str:
    others = list(one.by_seed)[1:]
    if not others:
        return ""
    return f"; maps of {'seed' if len(others) == 1 else 'seeds'} {listing(others)} are beside the rows"


def _rounded(value: float) -> float | None:
    return None if value != value else float(f"{value:.4g}")
