"""The table of heads: how far they reach, whether they share the work, whether seeds agree, each beside its chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from harness.report.analysis.summary import failure, seed_mean
from harness.report.study.maps import OWN, Books
from harness.report.study.study import Setting
from harness.report.tables.main import Cell, Column, Footnotes, Line, Table, mean_cell
from harness.report.text.formatting import grouped, plural
from harness.results import maps

DRAWS = 49  # of the chance agreement
ATTENTION, ITS = "Attention of all layers", "Its own maps"
COLUMNS = [
    Column("distance", ATTENTION, "Distance", "of uniform", "mean over layers and heads; 1 is uniform attention"),
    Column("entropy", ATTENTION, "Entropy", "of uniform", "mean over layers and heads; 1 is uniform attention"),
    Column("alike", ATTENTION, "Heads alike", "r", "mean correlation of pairs of heads; lower is more complementary"),
    Column(
        "radius",
        ITS,
        "Radius",
        "patches",
        "root mean square distance, of |prior - 1| or of the softmax of what is added (a flat one, too)",
    ),
    Column("least", ITS, "Least", "", "the least value of all heads and layers"),
    Column("most", ITS, "Most", "", "the largest value of all heads and layers"),
    Column("own_alike", ITS, "Heads alike", "r", "mean correlation of pairs of heads; lower is more complementary"),
    Column("agree", ITS, "Seeds agree", "r", "mean correlation of heads of two seeds, best paired"),
]


def table(setting: Setting, found: Sequence[Books]) -> Table | None:
    """A line a variant; columns in which none has a number are left out."""
    by_variant = {one.variant: one for one in found}
    notes, lines = Footnotes(), []
    for variant in setting.variants:
        own = by_variant.get(variant)
        kind = own.kind if own is not None and own.kind in OWN else ""
        why = failure(setting, variant, "maps")
        cells = [
            _mean(setting, variant, "attention_distance", why, notes),
            _mean(setting, variant, "attention_entropy", why, notes),
            _alike(setting, variant, "attention", notes),
            _mean(setting, variant, f"{kind}_radius", why, notes) if kind else Cell(""),
            _end(setting, variant, kind, "min"),
            _end(setting, variant, kind, "max"),
            _alike(setting, variant, kind, notes) if kind else Cell(""),
            _agreement(own, kind) if own is not None and kind else Cell(""),
        ]
        lines.append(Line(variant, setting.families.get(variant, ""), variant == setting.baseline, cells))
    kept = [place for place in range(len(COLUMNS)) if any(line.cells[place].sort is not None for line in lines)]
    if not kept:
        return None
    return Table(COLUMNS, lines, notes.sentences).keep(kept)


def how(found: Sequence[Books]) -> str:
    """What the table says, and how."""
    read = "" if found else " No maps lie beside the rows, so none are drawn."
    return (
        "Means over layers, heads and seeds; in brackets 95 % t intervals over seeds (from three on). Heads alike: "
        "how the maps of a layer's heads correlate over the offsets, and in how many layers of all seeds above and "
        "below the 95 % of heads that look in random directions (each map turned over at random): below, heads divide "
        "the directions, above, they share them; one layer in forty lies below and one above by chance. Seeds agree: "
        "heads of two seeds, in the pairing that agrees best, and the 95 % that such a pairing finds by chance; where "
        "all seeds start from the same map, what was learned beyond it. Its own maps are the variant's prior, mask, or "
        f"the softmax of its bias or keys.{read}"
    )


def _mean(setting: Setting, variant: str, metric: str, why: str, notes: Footnotes) -> Cell:
    """The mean over seeds of the means over layers."""
    return mean_cell(seed_mean(setting, metric, variant, why), _two, notes)


def _end(setting: Setting, variant: str, kind: str, end: str) -> Cell:
    """The least or the largest value of all layers and seeds."""
    values = setting.named(f"{kind}_{end}", variant)["value"].dropna()
    if not kind or values.empty:
        return Cell("")
    value = float(getattr(values, end)())
    return Cell(_two(value), value)


def _alike(setting: Setting, variant: str, kind: str, notes: Footnotes) -> Cell:
    """The mean correlation of heads; under it in how many layers it lies beyond its chance."""
    if not setting.by_seed(f"{kind}_complementarity", variant):
        return Cell("")
    cell = _mean(setting, variant, f"{kind}_complementarity", "", notes)
    found = setting.named(f"{kind}_complementarity", variant)
    drawn = setting.named(f"{kind}_complementarity_chance", variant)
    ends = {(s, at): two for s, at, two in zip(drawn["seed"], drawn["layer"], drawn["samples"], strict=True)}
    above = below = of = 0
    for seed, layer, value in zip(found["seed"], found["layer"], found["value"], strict=True):
        low, high = (ends.get((seed, layer)) or [None, None])[:2]
        if low is not None and high is not None:
            of, above, below = of + 1, above + (value > high), below + (value < low)
    return replace(cell, remark=f"{above} above, {below} below, of {of}" if of else "")


def _agreement(one: Books, kind: str) -> Cell:
    """Mean over layers and pairs of seeds; under it the middle 95 % of what a pairing finds by chance."""
    if len(one.by_seed) < 2:
        return Cell("")
    layers, values = one.layers(kind), list(one.by_seed.values())
    if all(np.array_equal(book[at, kind, None], values[0][at, kind, None], True) for book in values for at in layers):
        return Cell("")  # nothing is learned: one map for all seeds
    seen = _learned(values, kind, layers)
    pairs = [maps.agreement(a[layer], b[layer]) for a, b in combinations(seen, 2) for layer in layers]
    known = [pair for pair in pairs if pair is not None]
    if not known:
        return Cell("")
    random, drawn = np.random.default_rng(0), []
    for _ in range(DRAWS):
        each = [maps.agreement(a[layer], maps.moved(b[layer], random))
                for a, b in combinations(seen, 2) for layer in layers]  # fmt: skip
        drawn.append(np.mean([value for value in each if value is not None] or [0.0]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    value = float(np.mean(known))
    return Cell(_two(value), value, remark=f"chance {_two(low)} to {_two(high)}",
                detail=f"{plural(len(one.by_seed), 'seed')}")  # fmt: skip


def _learned(books: Sequence[maps.Book], kind: str, layers: Sequence[int]) -> list[dict[int, maps.Map]]:
    """By seed and layer what is compared: the maps, or how far they went from a start that all seeds share."""
    first = books[0]
    alike = all(
        (layer, kind, 0) in book and np.array_equal(book[layer, kind, 0], first[layer, kind, 0], True)
        for book in books
        for layer in layers
        if (layer, kind, 0) in first
    ) and all((layer, kind, 0) in first for layer in layers)
    if alike:
        return [{layer: book[layer, kind, None] - book[layer, kind, 0] for layer in layers} for book in books]
    return [{layer: maps.shaped(kind, book[layer, kind, None]) for layer in layers} for book in books]


def _two(value: float) -> str:
    return grouped(value, 2)
