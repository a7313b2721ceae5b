"""Published numbers beside ours, where the same model exists: read from results/published/*.csv, each with its source.

They are another group's training with another recipe, so they stand in a table of their own, named as published, and
enter no mean, no difference and no figure. Shown only for a study of ImageNet-1k.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from harness.report.analysis.quantity import Quantity, mean
from harness.report.analysis.transfer import curves, finetune_epochs
from harness.report.study.rows import side
from harness.report.study.study import Setting
from harness.report.text.formatting import interval, percent, plural
from harness.results.metrics import PERCENT

FOLDER = Path(__file__).resolve().parents[3] / "results" / "published"
DATASET = "imagenet1k"
NUMBERS = ("params_m", "gmac", "top1", "top5")
# The files quote their sources, and a published model trained on a share of the images says so in its note alone:
# a column for it would be empty in all lines but those, so the note is read here, and nowhere else.
PART = re.compile(r"([0-9.]+) % of the training images")
IMAGENET = re.compile(r"(imagenet|ilsvrc)[-_]?(1k|2012)?", re.IGNORECASE)


@dataclass(frozen=True)
class Published:
    """One published model; numbers as their source prints them, "" where it prints none. `variant` is our spec.

    `finetuned` is "1" where it was trained at `train_px` and fine-tuned at `test_px`.
    """

    dataset: str
    model: str
    variant: str
    size: str
    train_px: str
    test_px: str
    finetuned: str
    params_m: str
    gmac: str
    top1: str
    top5: str
    source: str
    tag: str
    note: str

    @property
    def train_fraction(self) -> float:
        """The share of the training images, by the note."""
        part = PART.search(self.note)
        return float(part[1]) / 100 if part else 1.0


@dataclass(frozen=True)
class Pair:
    """A published model and what we measured of the same variant, size and test resolution; `how` says on what."""

    published: Published
    ours: Quantity
    how: str

    @property
    def measured(self) -> str:
        return "" if self.ours.value is None else percent(self.ours.value)

    @property
    def ends(self) -> str:
        return interval(self.ours.low, self.ours.high)


COLUMNS = tuple(column.name for column in fields(Published))


def read(folder: Path = FOLDER) -> list[Published]:
    """Every published model of the folder's CSV files, none where there is no such folder.

    Raises ValueError for a file without these columns, a number that is none, or a line without a source.
    """
    return [one for file in sorted(folder.glob("*.csv")) for one in _file(file)]


def beside(setting: Setting, known: Sequence[Published]) -> list[Pair]:
    """The published models of this setting's variants, size, images and resolution, tested as these were."""
    if not imagenet_1k(setting.key.dataset):
        return []
    ours = {curve.variant: curve for curve in curves(setting)}
    found = []
    for one in known:
        same = (one.dataset, one.size, one.train_px) == (DATASET, setting.key.size, setting.train_px)
        if same and one.variant in ours and f"{one.train_fraction:g}" == (setting.train_fraction or "1"):
            tuned = one.finetuned == "1"
            curve = ours[one.variant]
            by_px = {point.px: point for point in (curve.finetuned if tuned else curve.points)}
            if one.test_px in by_px:
                seeds = list(by_px[one.test_px].seeds.values())
                how = f"{_how(setting, one.test_px, tuned)}, {plural(len(seeds), 'seed')}"
                found.append(Pair(one, mean(seeds, "", within=PERCENT), how))
    order = {variant: place for place, variant in enumerate(setting.variants)}
    return sorted(found, key=lambda pair: (order[pair.published.variant], side(pair.published.test_px)))


def imagenet_1k(dataset: str) -> bool:
    """Whether a dataset is ImageNet-1k by its name: torch/imagenet, hfds/timm/imagenet-1k, a folder imagenet."""
    name = re.split(r"[/:]", dataset.partition(" (")[0])[-1]
    return IMAGENET.fullmatch(name) is not None


def _how(setting: Setting, px: str, tuned: bool) -> str:
    if tuned:
        return f"fine-tuned from {setting.train_px} px, {finetune_epochs(setting)} epochs"
    return "as trained" if px == setting.train_px else f"zero-shot from {setting.train_px} px"


def _file(file: Path) -> list[Published]:
    with file.open(encoding="utf-8", newline="") as text:
        reader = csv.DictReader(text)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
        if missing:
            raise ValueError(f"{file} has no column {missing[0]!r}; its first line is {','.join(COLUMNS)}")
        return [_checked(file, reader.line_num, line) for line in reader]


def _checked(file: Path, number: int, line: dict[str, str | None]) -> Published:
    cells = {column: (line[column] or "").strip() for column in COLUMNS}
    for column in NUMBERS:
        if cells[column] and not _finite(cells[column]):
            raise ValueError(f"{file}:{number}: {column} is {cells[column]!r}; write a number, or nothing")
    if not cells["source"]:
        raise ValueError(f"{file}:{number}: {cells['model'] or 'a model'} has no source; name the paper and its table")
    return Published(**cells)


def _finite(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
