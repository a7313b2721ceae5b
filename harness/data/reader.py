"""Pictures of a set that timm or torchvision opened, read one at a time by index.

timm's own ImageDataset reads the next picture where one is damaged, which would pair it with another one's label; here
a damaged picture is named.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from harness.data.dataset import Dataset, hold_out
from harness.data.download import in_one_line

# what PIL raises for files that are cut off, are no pictures, or unpack to more pixels than it allows
DAMAGE = (OSError, EOFError, SyntaxError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Read:
    """The pictures of a source at some indices [n]; a source is a timm ImageDataset or a torchvision dataset."""

    source: Any
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Image.Image:
        return picture(self.source, int(self.index[index]), "RGB")

    def names(self) -> list[str]:
        """The files' names below the set's folder, where there are files."""
        reader: Any = getattr(self.source, "reader", None)
        return list(reader.filenames()) if hasattr(reader, "samples") else []


def picture(source: Any, index: int, mode: str | None = None) -> Image.Image:
    """One picture of a source, whole, in a mode of PIL or in its own. Raises ValueError where it cannot be read."""
    try:
        if hasattr(source, "reader"):
            with source.reader[index][0] as file:
                return Image.open(file).convert(mode)  # a mode of None copies the picture, which reads it
        found: Image.Image = source[index][0]
        return found.convert(mode)
    except DAMAGE as error:
        raise ValueError(
            f"{_name(source, index)} cannot be read as a picture ({in_one_line(error)}); replace or delete it"
        ) from error


def labels(source: Any) -> Tensor:
    """int64 [n], from the source's own list, which opens no picture; read one by one where it keeps none.

    Raises ValueError for labels that are no numbers of classes.
    """
    reader: Any = getattr(source, "reader", None)
    found: Sequence[Any] | Tensor
    if hasattr(source, "targets"):
        found = source.targets
    elif hasattr(reader, "samples"):
        found = [sample[1] for sample in reader.samples]
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


def streamed(name: str, train: Any, test: Any, known: tuple[str, ...], seed: int) -> Dataset:
    """The dataset of two sources that are read when asked for; mean and std are ImageNet's, as in timm."""
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    train_y, test_y = labels(train), labels(test)
    kept, held = hold_out(train_y, seed)
    return Dataset(
        name, Read(train, kept), train_y[kept], Read(train, held), train_y[held], Read(test, torch.arange(len(test_y))),
        test_y, classes=known, mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD,
    )  # fmt: skip


def _name(source: Any, index: int) -> str:
    if hasattr(source, "reader"):
        return str(source.filename(index, absolute=True))
    samples = getattr(source, "samples", None)
    return str(samples[index][0]) if samples else f"image {index} of {type(source).__name__}"
