"""Pictures that are read one at a time by index: of files, or of records that timm or torchvision opened.

timm's own ImageDataset reads the next picture where one is damaged, which would pair it with another one's label; here
a damaged picture is named.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any, Protocol

from PIL import Image
from torch import Tensor

from harness.data import picture


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
    """Pictures of a timm ImageDataset, or a torchvision dataset that keeps them in memory.

    joined: their digests, of 16 bytes each, one after another; b"" where none is known yet.
    """

    source: Any
    joined: bytes = b""

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
        if self.joined:
            return self.joined[16 * index : 16 * index + 16]
        found: Image.Image = self.source[index][0]
        return hashlib.blake2b(repr((found.mode, found.size)).encode() + found.tobytes(), digest_size=16).digest()

    def record(self, index: int) -> tuple[str, bytes]:
        """The name and the bytes of a picture of a timm ImageDataset."""
        with self._stored(index) as file:
            return self._name(index), file.read()

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
