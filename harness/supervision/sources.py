"""What a study's training learns from beside its labels, by the words of its settings: label maps, or a teacher.

    annotate:MODEL    label maps that a network makes (harness/supervision/annotate.py)
    a folder          label maps that were made elsewhere (harness/supervision/published.py)

Both are kept in the cache; one process at a time makes them, others wait and read what it made. Their content is part
of a study's hash. A note in the cache says it to a run that only plans.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from filelock import FileLock
from torch import Tensor

from harness import distributed
from harness.data import Dataset, download
from harness.data.label_maps import LabelMaps, told_digest
from harness.results.store import write_bytes
from harness.supervision import annotate, own, published
from harness.supervision import teacher as teachers
from harness.supervision.convnet import digest as of_weights
from harness.supervision.teacher import Teacher
from harness.training.batches import shown
from harness.training.loop import correct
from harness.training.recipe import ANNOTATE

PATIENCE = 1.0  # seconds between two looks for what another process makes
LOOKED_AT = 2000  # pictures on which a teacher's or an annotator's word is compared with the labels
BY_CHANCE = 2.0  # times a guess: what is right less often has its classes in another order

Made = TypeVar("Made", LabelMaps, Teacher)


def label_maps(words: str, data: Dataset, device: torch.device, workers: int, chosen: Tensor) -> LabelMaps:
    """The label maps of all training images.

    chosen: the numbers int64 [n] of the images that a network may learn from. Raises ValueError where they cannot be
    made, are of other images, or name other classes than the labels.
    """
    cache, folder = download.cache(), Path(words)
    if words.startswith(ANNOTATE):
        by = words.removeprefix(ANNOTATE)
        made = _alone(words, data, chosen, lambda: annotate.annotated(by, data, device, cache, workers, chosen))
    else:
        check(words)
        made = _alone(words, data, chosen, lambda: published.imported(folder, data, cache))
    _check_order(f"what makes the label maps of {words}", agreement(made, data), data)
    return made


def teacher(words: str, data: Dataset, device: torch.device, workers: int, chosen: Tensor) -> Teacher:
    """The teacher on the device. Raises ValueError for one that is not available or does not fit the images."""
    made = _alone(
        words, data, chosen, lambda: teachers.teacher(words, data, device, download.cache(), workers, chosen)
    ).to(device)
    if made.validated is None:
        images = shown(data, data.val_x, data.val_y, data.image_size, device, workers, most=LOOKED_AT)
        made.validated = float(correct(made, images).float().mean())
    _check_order(f"the teacher {words}", made.validated, data)
    return made


def check(words: str, maps: bool = True) -> None:
    """Raises ValueError where words name label maps in a folder, or weights in a file, that are not there."""
    if own.is_own(words):
        own.beside(Path(words.removeprefix(ANNOTATE)))
        own.content(words.removeprefix(ANNOTATE))
    elif maps and not words.startswith(ANNOTATE) and not Path(words).is_dir():
        raise ValueError(f"token_labels={words} is no folder; name one of label maps, or write annotate:MODEL")


def digest(words: str, data: Dataset, chosen: Tensor) -> str:
    """What stands for the content of either, as the cache or the folder says it; "" where it is not made yet."""
    if not words.startswith(ANNOTATE) and (told := told_digest(Path(words))):
        return told
    try:
        return _note(words, data, chosen).read_text()
    except OSError:
        return ""


def described(made: LabelMaps | Teacher, data: Dataset) -> str:
    """How they were made, and how often they name the label."""
    if isinstance(made, Teacher):
        return str(made)
    return f"{made}, whose likeliest class is the label of {100 * agreement(made, data):.1f} % of the training pictures"


@torch.no_grad()
def agreement(maps: LabelMaps, data: Dataset) -> float:
    """For which share of training pictures the likeliest class of the map, by the mean over its cells, is the label."""
    some = data.evenly(len(maps), LOOKED_AT)
    values, indices = maps[some]
    values = values.float()
    top = values.amax(dim=1, keepdim=True).clamp(min=0)
    listed, other = (values - top).exp(), (-top).exp()
    total = listed.sum(dim=1, keepdim=True) + (maps.classes - values.shape[1]) * other
    more = (listed - other) / total  # than a class that is not listed; a share for each class would not fit into memory
    shares = torch.zeros(len(some), maps.classes).scatter_add_(1, indices.flatten(1), more.flatten(1))
    likeliest = shares.argmax(dim=1)
    return float((likeliest == data.train_y[some]).float().mean())


def _check_order(what: str, right: float, data: Dataset) -> None:
    """Raises ValueError where so few are right that the classes must be others, or in another order."""
    if right < BY_CHANCE / len(data.classes) and len(data.classes) > BY_CHANCE:
        often = f"{100 * right:.1f} % of the images of {data.name}, about as often as a guess"
        raise ValueError(
            f"{what} names the label of {often}; it must know the {len(data.classes)} classes in their order"
        )


def _note(words: str, data: Dataset, chosen: Tensor) -> Path:
    """Where the cache says what was made by these words; files count by what is in them."""
    where = words if words.startswith(ANNOTATE) or not Path(words).is_dir() else str(Path(words).resolve())
    if own.is_own(words):
        where = f"{own.content(words.removeprefix(ANNOTATE))} {words.startswith(ANNOTATE)}"
    key = of_weights({f"{where} {data.fingerprint}": chosen})
    return download.cache() / "lessons" / f"{key}.txt"


def _alone(words: str, data: Dataset, chosen: Tensor, make: Callable[[], Made]) -> Made:
    """What `make` makes or finds in the cache, one process at a time: the first one of torchrun's, then the others."""
    note = _note(words, data, chosen)
    note.parent.mkdir(parents=True, exist_ok=True)
    while distributed.slot() and not note.exists():
        time.sleep(PATIENCE)
    with FileLock(note.with_suffix(".lock")):
        made = make()
    write_bytes(note, made.digest.encode())
    return made
