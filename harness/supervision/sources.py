"""What a study's training learns from beside its labels, by the words of its settings: label maps, or a teacher.

    annotate:MODEL    label maps that a network makes (harness/supervision/annotate.py)
    a folder          label maps that were made elsewhere (harness/supervision/published.py)

Both are made once and kept in the cache. What they are is part of the key of a cell, so a note in the cache says it to
the processes that plan the same cells.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness import distributed
from harness.data import Dataset, download
from harness.data.label_maps import LabelMaps
from harness.results.store import write_bytes
from harness.supervision import annotate, published
from harness.supervision import teacher as teachers
from harness.supervision.convnet import digest as of_weights
from harness.supervision.teacher import Teacher

ANNOTATE = "annotate:"
PATIENCE = 1.0  # seconds between two looks for what another process makes
_made: dict[str, Any] = {}  # in this process, by note


def label_maps(words: str, data: Dataset, device: torch.device, workers: int, chosen: Tensor) -> LabelMaps:
    """The label maps of all training images. Raises ValueError where they cannot be made, or are of other images.

    chosen: the numbers int64 [n] of the images that a network may learn from.
    """
    cache = download.cache()
    if words.startswith(ANNOTATE):
        by = words.removeprefix(ANNOTATE)
        made: LabelMaps = _once(
            _note(words, data, chosen), lambda: annotate.annotated(by, data, device, cache, workers, chosen)
        )
        return made
    if not Path(words).is_dir():
        raise ValueError(f"token_labels={words} is no folder; name one of label maps, or write annotate:MODEL")
    found: LabelMaps = _once(_note(words, data, chosen), lambda: published.imported(Path(words), data, cache))
    return found


def teacher(words: str, data: Dataset, device: torch.device, workers: int, chosen: Tensor) -> Teacher:
    """The teacher on the device. Raises ValueError for one that is not available or does not fit the images."""
    cache = download.cache()
    made: Teacher = _once(
        _note(words, data, chosen), lambda: teachers.teacher(words, data, device, cache, workers, chosen)
    )
    return made.to(device)


def digest(words: str, data: Dataset, chosen: Tensor) -> str:
    """What stands for the content of either, or "" where it is not made yet."""
    note = _note(words, data, chosen)
    if note.name in _made:
        return str(_made[note.name].digest)
    try:
        return note.read_text()
    except OSError:
        return ""


def _note(words: str, data: Dataset, chosen: Tensor) -> Path:
    """Where the cache says what was made by these words."""
    where = str(Path(words).resolve()) if not words.startswith(ANNOTATE) and Path(words).is_dir() else words
    key = of_weights({f"{where} {data.fingerprint}": chosen})
    return download.cache() / "lessons" / f"{key}.txt"


def _once(note: Path, make: Callable[[], Any]) -> Any:
    """What `make` makes, once a process; of torchrun's processes on a machine the first one makes, the others wait."""
    if note.name not in _made:
        while distributed.slot() and not note.exists():
            time.sleep(PATIENCE)
        _made[note.name] = make()
        write_bytes(note, _made[note.name].digest.encode())
    return _made[note.name]
