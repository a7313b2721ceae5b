"""Radial profiles: the mean of a map over the offsets at a distance. Of each variant's own maps, and of attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from harness.report.figures.style import line_ends, svg
from harness.report.figures.style.chart import PANEL, Drawing, axes
from harness.report.figures.style.palette import FAINT, Look
from harness.report.study.maps import NAMES, OWN, Books
from harness.results import maps

MOST_VARIANTS = 8  # panels of own maps
MOST_LAYERS = 4  # panels of attention
HEADER = ["variant", "kind", "layer", "distance", "mean", "seeds", "heads"]


def own(found: Sequence[Books], look: dict[str, Look], name: str) -> Drawing | None:
    """A panel for each variant with maps of its own: a line a layer, faint ones its heads; all seeds."""
    having = [one for one in found if one.kind in OWN]
    if not having:
        return None
    title, panels, lines = "Radial profile of what is learned", [], []
    for number, one in enumerate(having, start=1):
        layers = one.layers(one.kind)
        means = {layer: _mean(one, one.kind, layer) for layer in layers}
        lines += _lines(one, one.kind, means)
        if number > MOST_VARIANTS:
            continue
        with svg.style():
            figure = Figure(figsize=PANEL)
            ax = figure.add_axes((0.16, 0.15, 0.66, 0.74))
            ax.axhline(maps.NEUTRAL[one.kind], color=FAINT, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=0)
            lasts = []
            for order, (at, mean, each) in enumerate(means.values()):
                ax.plot(at, each.T, color=look[one.variant].color, linewidth=0.6, alpha=0.22, zorder=1)
                strength = 1.0 - 0.55 * order / max(1, len(layers) - 1)
                ax.plot(at, mean, color=look[one.variant].color, linewidth=1.9, alpha=strength, zorder=3)
                lasts.append((float(at[-1]), float(mean[-1])))
            axes(ax, "distance, patches", NAMES[one.kind])
            figure.text(0.16, 0.95, one.variant, fontsize=10, color=look[one.variant].color, va="center")
            few = dict(zip((f"layer {layer}" for layer in layers), lasts, strict=True))
            outer = {label: few[label] for label in (f"layer {layers[0]}", f"layer {layers[-1]}")}
            line_ends.name(
                ax, [(label, *last) for label, last in outer.items()], dict.fromkeys(outer, look[one.variant])
            )
            panels.append(svg.inline(figure, f"{name}-{number}", f"{title}: {one.variant}"))
    caption = (
        "The mean over the offsets at a distance, rounded to whole patches. Bold lines are the means of a layer over "
        "heads and seeds, the first layer the strongest; faint lines single heads of all seeds. Dotted: neutral."
        + (f" {len(having) - MOST_VARIANTS} more variants are in the CSV." if len(having) > MOST_VARIANTS else "")
    )
    return Drawing(name, "".join(panels), title, caption, HEADER, lines, [], max(2, min(3, len(panels))))


def attention(found: Sequence[Books], look: dict[str, Look], name: str) -> Drawing | None:
    """A panel a layer, a line a variant: mean attention by distance, means over heads and seeds."""
    layers = sorted({layer for one in found for layer in one.layers("attention")})
    if not layers:
        return None
    shown = [layers[place] for place in np.unique(np.linspace(0, len(layers) - 1, MOST_LAYERS).round().astype(int))]
    title, panels, missed = "Attention by distance", [], []
    every = {one.variant: {layer: _mean(one, "attention", layer) for layer in one.layers("attention")} for one in found}
    for layer in shown:
        with svg.style():
            figure = Figure(figsize=PANEL)
            ax = figure.add_axes((0.13, 0.15, 0.56, 0.74))
            ax.axhline(1.0, color=FAINT, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=0)
            lasts = []
            for one in found:
                if layer not in every[one.variant]:
                    continue
                at, mean, _ = every[one.variant][layer]
                ax.plot(at, mean, color=look[one.variant].color, linewidth=1.5, marker=look[one.variant].marker,
                        markersize=3.5, markevery=max(1, len(at) // 7))  # fmt: skip
                lasts.append((one.variant, float(at[-1]), float(mean[-1])))
            ax.set_ylim(bottom=0.0)
            axes(ax, "distance, patches", "attention, of uniform")
            figure.text(0.13, 0.95, f"layer {layer}", fontsize=10, va="center")
            missed += line_ends.name(ax, lasts, look)
            panels.append(svg.inline(figure, f"{name}-{layer}", f"{title}: layer {layer}"))
    lines = [line for one in found for line in _lines(one, "attention", every[one.variant])]
    caption = (
        "Above 1 a patch at that distance gets more attention than by chance: 1 is uniform attention. Means over "
        "pairs, test images, heads and seeds, whatever the variant is made of; prefix tokens are left out."
        + (f" Of {len(layers)} layers {len(shown)} are drawn, all are in the CSV." if len(shown) < len(layers) else "")
    )
    return Drawing(name, "".join(panels), title, caption, HEADER, lines, missed, 2)


Profile = tuple[np.ndarray, np.ndarray, np.ndarray]


def _mean(one: Books, kind: str, layer: int) -> Profile:
    """Distances [R], the mean over heads and seeds [R], and each head of each seed [seeds * H, R]."""
    found = [maps.profile(book[layer, kind, None]) for book in one.by_seed.values()]
    each = np.concatenate([values for _, values in found])
    return found[0][0], each.mean(axis=0), each


def _lines(one: Books, kind: str, means: dict[int, Profile]) -> list[list[object]]:
    return [
        [one.variant, kind, layer, int(distance), float(f"{value:.5g}"), len(one.by_seed), len(each)]
        for layer, (at, mean, each) in means.items()
        for distance, value in zip(at, mean, strict=True)
    ]
