"""Pictures that are read one at a time by index: of files, or of records that timm or torchvision opened.

timm's own ImageDataset reads the next picture where one is damaged, which would pair it with another one's label; here
a damaged picture is named. Neither their labels nor their digests decode a picture.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from harness.data import picture
from harness.data.dataset import Dataset, hold_out
from harness.data.download import in_one_line
from harness.data.examine import examined


class Source(Protocol):
    """Pictures in an order that does not change."""

    def __len__(self) -> int: ...

    def read(self, index: int, behind: picture.Ground) -> Image.Image:
        """In mode L or RGB. Raises ValueError that names the picture where it cannot be read."""
        ...

    def digest(self, index: int) -> bytes:
        """Of the picture's bytes."""
        ...


@dataclass(frozen=True)
class Files:
    """Pictures in files, by names relative to a root; their digests, of 16 bytes each, one after another."""

    root: str
    names: tuple[str, ...]
    joined: bytes

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int, behind: picture.Ground) -> Image.Image:
        path = os.path.join(self.root, self.names[index])
        return picture.read(path, path, behind)

    def digest(self, index: int) -> bytes:
        return self.joined[16 * index : 16 * index + 16]


@dataclass(frozen=True)
class Records:
    """Pictures of a timm ImageDataset, or a torchvision dataset that keeps them in memory."""

    source: Any

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int, behind: picture.Ground) -> Image.Image:
        name = self._name(index)
        if hasattr(self.source, "reader"):
            with self._stored(index) as file:
                return picture.read(file, name, behind)
        try:
            found: Image.Image = self.source[index][0]
            return picture.eight_bit(found, behind)
        except picture.DAMAGE as error:
            raise ValueError(f"{picture.damage(name, error)}; replace or delete it") from error

    def digest(self, index: int) -> bytes:
        if hasattr(self.source, "reader"):
            with self._stored(index) as file:
                content = file.read()
        else:
            found: Image.Image = self.source[index][0]
            content = repr((found.mode, found.size)).encode() + found.tobytes()
        return hashlib.blake2b(content, digest_size=16).digest()

    def _stored(self, index: int) -> IO[bytes]:
        file: IO[bytes] = self.source.reader[index][0]
        return file

    def _name(self, index: int) -> str:
        if hasattr(self.source, "reader"):
            return str(self.source.filename(index, absolute=True))
        return f"image {index} of {type(self.source).__name__}"


@dataclass(frozen=True)
class Read:
    """The pictures of a source at some indices [n], in RGB; what is transparent shows the ground."""

    source: Source
    index: Tensor
    behind: picture.Ground = picture.WHITE

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Image.Image:
        return self.source.read(int(self.index[index]), self.behind).convert("RGB")

    def digests(self) -> list[bytes]:
        return self._digests

    @cached_property
    def _digests(self) -> list[bytes]:
        return [self.source.digest(index) for index in self.index.tolist()]


def pictures(source: Any, decode: bool) -> Source:
    """The pictures of a dataset of torchvision or timm. Raises ValueError for a file that is no picture.

    decode: whether files are decoded now, too.
    """
    paths = _paths(source)
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
    behind: picture.Ground = picture.WHITE, skipped: dict[str, int] | None = None,
) -> Dataset:  # fmt: skip
    """The dataset of two sources and their labels, read when asked for; mean and std are ImageNet's, as in timm."""
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    (train_x, train_y), (test_x, test_y) = train, test
    kept, held = hold_out(train_y, seed, known)
    return Dataset(
        name, Read(train_x, kept, behind), train_y[kept], Read(train_x, held, behind), train_y[held],
        Read(test_x, torch.arange(len(test_y)), behind), test_y, classes=known, mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD, shown="" if behind == picture.WHITE else f"on {behind}", skipped=skipped or {},
    )  # fmt: skip
