"""Opens a set of torchvision or timm: its pictures, its labels, the names of its classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.data.dataset import Dataset, hold_out
from harness.data.download import in_one_line
from harness.data.examine import examined, examined_records
from harness.data.picture import WHITE, Ground
from harness.data.sources import Files, Read, Records, Source


def pictures(source: Any, decode: bool) -> Source:
    """The pictures of a dataset of torchvision or timm. Raises ValueError for those that are none.

    decode: whether they are decoded now, too.
    """
    paths = _paths(source)
    if not paths and hasattr(source, "reader"):
        records = Records(source)
        rows = getattr(source.reader, "dataset", None)  # of Hugging Face, which knows its content by a fingerprint
        key = getattr(rows, "_fingerprint", "")
        return Records(source, b"".join(examined_records(key, len(records), records.record, decode)))
    if not paths:
        return Records(source)
    root = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))
    names = tuple(os.path.relpath(path, root) for path in paths)
    known = examined(root, names, frozenset(names) if decode else frozenset())
    return Files(str(root), names, b"".join(known[name] for name in names))


def _paths(source: Any) -> list[str]:
    """The files of a torchvision dataset, in its order; [] where it keeps its pictures otherwise."""
    samples = getattr(source, "samples", None) or getattr(source, "imgs", None)  # ImageFolder, ImageNet; Places365
    if samples:
        return [os.path.abspath(sample[0]) for sample in samples]
    if hasattr(source, "all_categories"):  # INaturalist: (category, file)
        return [os.path.abspath(os.path.join(source.root, source.all_categories[c], file)) for c, file in source.index]
    return []


def labels(source: Any) -> Tensor:
    """int64 [n], from the source's own list, which opens no picture; read one by one where it keeps none.

    Raises ValueError for labels that are no numbers of classes.
    """
    reader: Any = getattr(source, "reader", None)
    found: Sequence[Any] | Tensor
    if hasattr(source, "targets"):
        found = source.targets
    elif hasattr(reader, "iter_targets"):
        found = list(reader.iter_targets())
    elif hasattr(source, "index"):  # INaturalist: (class, file)
        found = [pair[0] for pair in source.index]
    else:
        found = [source[index][1] for index in range(len(source))]
    try:
        numbers = torch.as_tensor(found).long().reshape(len(source), -1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"a label such as {found[0]!r} is no number of a class; choose a set with those ({in_one_line(error)})"
        ) from error
    return numbers[:, 0]  # QMNIST adds who wrote it to the class


def classes(source: Any, count: int) -> tuple[str, ...]:
    """Names of the classes 0..count-1: the source's own, else the numbers."""
    own = getattr(source, "classes", None)
    if own is not None:
        return tuple(name if isinstance(name, str) else ", ".join(name) for name in own)  # ImageNet has synonyms
    indices = getattr(getattr(source, "reader", None), "class_to_idx", None) or {}
    names = {index: name for name, index in indices.items()}
    return tuple(str(names.get(index, index)) for index in range(count))


def streamed(
    name: str, train: tuple[Source, Tensor], test: tuple[Source, Tensor], known: tuple[str, ...], seed: int,
    behind: Ground = WHITE, skipped: dict[str, int] | None = None,
) -> Dataset:  # fmt: skip
    """The dataset of two sources and their labels, read when asked for; mean and std are ImageNet's, as in timm."""
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    (train_x, train_y), (test_x, test_y) = train, test
    kept, held = hold_out(train_y, seed, known)
    return Dataset(
        name, Read(train_x, kept, behind), train_y[kept], Read(train_x, held, behind), train_y[held],
        Read(test_x, torch.arange(len(test_y)), behind), test_y, classes=known, mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD, shown="" if behind == WHITE else f"on {behind}", skipped=skipped or {},
    )  # fmt: skip
