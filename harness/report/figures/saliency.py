"""Where the variants look: the same few test images under each variant's relevance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.report.figures.context import Context
from harness.report.figures.style import labels, svg
from harness.report.figures.style.chart import Drawing, Record
from harness.report.figures.style.heatmaps import paper, put
from harness.report.figures.style.palette import FAINT, THEME, rgb
from harness.report.study.saliency import Arrays, arrays
from harness.report.text.formatting import plural

TITLE = "Where the variants look"
SIZE, EDGE, STEP = 0.8, 0.12, 0.85  # inches: of an image, around the panel, from image to image
HEAD, FOOT, TAIL = 0.6, 0.42, 0.5  # inches: the names, which are slanted, the scale, the end of the last name
HUE = rgb(THEME["c2"][0])


def draw(about: Context) -> Drawing | None:
    """A row an image, a column a variant, the bare image first; the more orange, the more relevant, on one scale."""
    found, name = arrays(about.setting), f"{about.prefix}saliency"
    if not found:
        return None
    images = next(iter(found.values()))["images"]
    width = 2 * EDGE + (1 + len(found)) * STEP + TAIL
    height = 2 * EDGE + len(images) * STEP + HEAD + FOOT
    with svg.style():
        figure, ax = paper(width, height)
        columns = {"image": np.zeros((len(images), 1, 1))} | {name: one["relevance"] for name, one in found.items()}
        top = height - EDGE - HEAD
        for column, (word, relevance) in enumerate(columns.items()):
            left = EDGE + column * STEP
            ax.text(left + 0.3 * SIZE, top + 0.05, labels.short(word, 18), rotation=32, fontsize=9)
            for row, image in enumerate(images):
                picture, upper = overlay(image, relevance[row].astype(float)), top - row * STEP
                put(ax, picture, (left, left + SIZE, upper - SIZE, upper))
        ramp = overlay(np.full((1, 1, 64), 128, np.uint8), np.linspace(0, 1, 64)[None])
        put(ax, ramp, (EDGE, EDGE + 1.7, EDGE + 0.2, EDGE + 0.3))
        note: dict[str, Any] = {"fontsize": 8.5, "color": FAINT, "va": "top"}
        ax.text(EDGE, EDGE + 0.16, "0", **note)
        ax.text(EDGE + 1.7, EDGE + 0.16, "largest of the map", ha="right", **note)
        drawn = svg.inline(figure, name, TITLE)
    return Drawing(name, drawn, TITLE, caption(found), table(found))


def table(found: Mapping[str, Arrays]) -> list[Record]:
    """A record for every patch of every map."""
    return [
        {"variant": variant, "image": image, "label": int(one["labels"][image]), "chosen": int(one["chosen"][image]),
         "row": row, "column": column, "relevance": round(float(value), 4)}
        for variant, one in found.items()
        for image, each in enumerate(one["relevance"])
        for (row, column), value in np.ndenumerate(each)
    ]  # fmt: skip


def overlay(image: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """RGB uint8 [h, w, 3]: the image uint8 [c, h, w] in grey, patches [gh, gw] in 0..1 the more orange the larger."""
    grey = image.astype(float).mean(axis=0)
    down = np.arange(grey.shape[0]) * relevance.shape[0] // grey.shape[0]
    across = np.arange(grey.shape[1]) * relevance.shape[1] // grey.shape[1]
    much = 0.8 * np.clip(relevance[down][:, across], 0, 1)[..., None]
    return (grey[..., None] * (1 - much) + np.array(HUE, float) * much).round().astype(np.uint8)


def caption(found: Mapping[str, Arrays]) -> str:
    wrong = [
        f"{variant} ({plural(count, 'image')})"
        for variant, one in found.items()
        if (count := int((one["chosen"] != one["labels"]).sum()))
    ]
    missed = f" Another class than the label was chosen by {', '.join(wrong)}." if wrong else ""
    return (
        "The more orange a patch, the more it speaks for the class that the variant chose; one scale for all, from 0 "
        f"to the largest of a map. Test images spread evenly over the split, the weights of the first seed.{missed}"
    )
