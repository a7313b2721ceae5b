"""Where the variants look: the same few test images under each variant's relevance, and the scores that say what it is
worth.

Scores are means over seeds, from rows; images and maps from the arrays beside them (CELL.saliency.npz). What is damaged
is not drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from harness.report.figures.style import labels, svg
from harness.report.figures.style.chart import Drawing
from harness.report.figures.style.palette import FAINT, THEME
from harness.report.study.rows import by_number
from harness.report.study.study import Setting
from harness.report.tables import means
from harness.report.tables.main import Table
from harness.report.text.formatting import plural
from harness.results.map_files import UNREADABLE

TITLE = "Where the variants look"
MOST = 10  # variants in the panel
SIZE, EDGE, GAP = 0.8, 0.12, 0.05  # inches: of an image, around the panel, between images
HEAD = 0.6  # inches for the names, which are slanted
HUE = THEME["c2"][0]
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Saliency:
    """The table of scores, how it was measured, and the panel."""

    table: Table
    how: str
    drawings: list[Drawing]


def saliency(setting: Setting, files: Mapping[str, Path], name: str) -> Saliency | None:
    """None where no variant has a score. files: by cell."""
    whole = means.table(setting, "saliency")
    if whole is None:
        return None
    found = arrays(setting, files)
    return Saliency(whole, how(setting), [draw(found, name)] if found else [])


def how(setting: Setting) -> str:
    """The caption of the table."""
    counts = set(setting.named("deletion")["n"].dropna())
    images = f" over {plural(int(counts.pop()), 'test image')}, the same for all" if len(counts) == 1 else ""
    covered = "" if setting.named("coverage").empty else (
        " Coverage is the share of relevance on the object; by chance it is what the object takes of the image."
    )  # fmt: skip
    return (
        "Relevance of a patch: gradient-weighted attention rollout (Chefer et al., arXiv 2103.15679). Patches are "
        f"replaced by the mean one after another; the area under the probability of the chosen class, a mean{images}. "
        "A map is worth something where deletion lies below the random order and insertion above it. Areas depend on "
        f"how sure a model is: compare a variant with its own random order first.{covered} In brackets: 95 % t "
        "intervals over seeds."
    )


def arrays(setting: Setting, files: Mapping[str, Path]) -> dict[str, Arrays]:
    """By variant what its first whole seed left, all on the same images; what does not fit the others is left out."""
    found: dict[str, Arrays] = {}
    rows = setting.named("deletion")
    rows = rows[rows["value"].notna()]
    for variant in setting.variants:
        mine = rows[rows["variant"] == variant]
        order = sorted(zip(mine["seed"], mine["cell"], strict=True), key=lambda pair: by_number(pair[0]))
        for _, cell in order:
            one = read(files.get(cell))
            if one is not None:
                first = next(iter(found.values()), one)
                if np.array_equal(first["images"], one["images"]) and len(found) < MOST:
                    found[variant] = one
                break
    return found


def read(file: Path | None) -> Arrays | None:
    """The arrays of a cell; None where they are missing or damaged."""
    if file is None:
        return None
    try:
        with np.load(file, allow_pickle=False) as held:
            one = {name: held[name] for name in ("images", "relevance", "chosen", "labels")}
    except UNREADABLE:
        return None
    images, maps = one["images"], one["relevance"]
    fits = images.ndim == 4 and maps.ndim == 3 and images.dtype == np.uint8 and 0 < len(images) == len(maps)
    fits = fits and images.shape[1] in (1, 3) and maps.size > 0 and bool(np.isfinite(maps).all())
    return one if fits and len(one["chosen"]) == len(one["labels"]) == len(images) else None


def draw(found: Mapping[str, Arrays], name: str) -> Drawing:
    """A row an image, a column a variant, the bare image first; the more orange, the more relevant, on one scale."""
    first = next(iter(found.values()))
    number, columns = len(first["images"]), 1 + len(found)
    width, height = 2 * EDGE + columns * (SIZE + GAP) + 0.5, 2 * EDGE + number * (SIZE + GAP) + HEAD + 0.42
    with svg.style():
        figure = Figure(figsize=(width, height))

        def place(row: int, column: int, picture: np.ndarray, word: str) -> None:
            left, top = EDGE + column * (SIZE + GAP), HEAD + EDGE + row * (SIZE + GAP)
            ax = figure.add_axes((left / width, 1 - (top + SIZE) / height, SIZE / width, SIZE / height))
            ax.imshow(picture, interpolation="none", vmin=0, vmax=255)
            ax.set_axis_off()
            if row == 0:
                ax.annotate(
                    labels.short(word, 18), (0.3, 1.06), xycoords="axes fraction", rotation=32, ha="left", va="bottom",
                    fontsize=9, annotation_clip=False,
                )  # fmt: skip

        for row, image in enumerate(first["images"]):
            place(row, 0, overlay(image, np.zeros((1, 1))), "image")
            for column, (variant, one) in enumerate(found.items(), start=1):
                place(row, column, overlay(image, one["relevance"][row].astype(float)), variant)
        scale = figure.add_axes((EDGE / width, (EDGE + 0.2) / height, 1.7 / width, 0.1 / height))
        ramp = overlay(np.full((1, 1, 64), 128, np.uint8), np.linspace(0, 1, 64)[None])
        scale.imshow(ramp, interpolation="none", aspect="auto")
        scale.set_axis_off()
        note: dict[str, Any] = {"xycoords": "axes fraction", "fontsize": 8.5, "color": FAINT, "annotation_clip": False}
        scale.annotate("0", (0, -0.4), va="top", ha="left", **note)
        scale.annotate("largest of the map", (1, -0.4), va="top", ha="right", **note)
        drawn = svg.inline(figure, name, TITLE)
    return Drawing(name, drawn, TITLE, caption(found), HEADER, lines(found))


HEADER = ["variant", "image", "label", "chosen", "row", "column", "relevance"]


def lines(found: Mapping[str, Arrays]) -> list[list[object]]:
    """A line for every patch of every map."""
    return [
        [variant, image, int(one["labels"][image]), int(one["chosen"][image]), *place, round(float(value), 4)]
        for variant, one in found.items()
        for image, each in enumerate(one["relevance"])
        for place, value in np.ndenumerate(each)
    ]


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


def overlay(image: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """RGB uint8 [h, w, 3]: the image uint8 [c, h, w] in grey, patches [gh, gw] in 0..1 the more orange the larger."""
    grey = image.astype(float).mean(axis=0)
    down = np.arange(grey.shape[0]) * relevance.shape[0] // grey.shape[0]
    across = np.arange(grey.shape[1]) * relevance.shape[1] // grey.shape[1]
    much = 0.8 * np.clip(relevance[down][:, across], 0, 1)[..., None]
    hue = np.array([int(HUE[at : at + 2], 16) for at in (1, 3, 5)], float)
    return (grey[..., None] * (1 - much) + hue * much).round().astype(np.uint8)
