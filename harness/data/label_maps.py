"""Label maps: what a network says of each cell of a grid over each training picture, kept in a folder of shards.

    maps.json                    what they are of, and the digest of each shard
    00000-DIGEST.safetensors     of 1,000 pictures: values float16 [m, k, h, w] and indices int16 or int32 [m, k, h, w]

A cell has the k classes with the largest logits. Listed classes have their value, all others 0, and a softmax over all
classes gives the labels: the reading of token labelling's authors (LV-ViT, arXiv 2104.10858, which keeps the top 5).
Departure: they keep raw logits. Of 1,000 classes and large logits that is nearly the network's word; of ten classes a
listed logit below 0 would fall under those that are not listed. Here values are shifted (`top_logits`), so that the
reading gives each listed class the network's probability.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors import torch as tensors_file
from torch import Tensor

from harness.results.store import write_bytes

FORMAT = 1
LISTED = 5  # classes of a cell, or all where there are fewer
SHARD = 1000  # pictures
IN_MEMORY = 2**30  # bytes; maps of less are read whole
ABOUT = "maps.json"


@dataclass(frozen=True)
class About:
    """What label maps are of: so many pictures, k classes of each cell, the grid (h, w), how many classes there are.

    made_by: what made them, in words. dataset: the fingerprint of the dataset whose training pictures they are of.
    """

    pictures: int
    k: int
    grid: tuple[int, int]
    classes: int
    made_by: str
    dataset: str

    @property
    def index_type(self) -> torch.dtype:
        return torch.int16 if self.classes <= 2**15 else torch.int32

    @property
    def bytes(self) -> int:
        """Of all values and indices."""
        return self.pictures * self.k * math.prod(self.grid) * (2 + self.index_type.itemsize)

    @property
    def parts(self) -> list[range]:
        """The numbers of the pictures of each shard."""
        return [range(start, min(start + SHARD, self.pictures)) for start in range(0, self.pictures, SHARD)]


@dataclass(frozen=True)
class LabelMaps:
    """The maps in a folder, read when asked for; digests: of the shards. A copy in another process reads for itself."""

    folder: Path
    about: About
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return self.about.pictures

    def __str__(self) -> str:
        h, w = self.grid
        return f"label maps by {self.about.made_by}: {self.about.k} of {self.classes} classes in each of {h}x{w} cells"

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) cells."""
        return self.about.grid

    @property
    def classes(self) -> int:
        return self.about.classes

    @property
    def digest(self) -> str:
        """Ten hexadecimal digits of the content."""
        return _digest(_json(self.about, self.digests))[:10]

    def __getitem__(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Values float16 [B, k, h, w] and classes int64 [B, k, h, w] of the training pictures int64 [B]."""
        if self._whole is not None:
            values, indices = self._whole
            return values[numbers], indices[numbers].long()
        rows = [divmod(number, SHARD) for number in numbers.tolist()]
        found = ([self._shards[shard][which][row] for shard, row in rows] for which in (0, 1))
        values, indices = (torch.stack(tensors) for tensors in found)
        return values, indices.long()

    @cached_property
    def _shards(self) -> list[tuple[Tensor, Tensor]]:
        """Of each shard values and indices; both stay on the disk until a row is read."""
        shards = []
        for path in _paths(self.folder, self.digests):
            with safetensors.safe_open(path, framework="pt") as file:
                shards.append((file.get_tensor("values"), file.get_tensor("indices")))
        return shards

    @cached_property
    def _whole(self) -> tuple[Tensor, Tensor] | None:
        """Values and indices of all pictures, where they fit into memory."""
        if self.about.bytes > IN_MEMORY or not self._shards:
            return None
        values, indices = zip(*self._shards, strict=True)
        return torch.cat(values), torch.cat(indices)

    def __getstate__(self) -> dict[str, Any]:
        """Without what was read."""
        return {"folder": self.folder, "about": self.about, "digests": self.digests}


def told_digest(folder: Path) -> str:
    """The digest of the maps in a folder, by what it says of itself; "" where it has none. No shard is read."""
    about = folder / ABOUT
    return _digest(about.read_bytes())[:10] if about.is_file() else ""


def open_maps(folder: Path) -> LabelMaps:
    """The label maps in a folder, every shard checked.

    Raises ValueError where it has none, or those of another format, and where a shard is missing or damaged.
    """
    if not (folder / ABOUT).is_file():
        raise ValueError(f"{folder} is no folder of label maps, since it has no {ABOUT}; name one that has")
    try:
        told = json.loads((folder / ABOUT).read_bytes())
        form = told.pop("format")
        digests = tuple(told.pop("shards")) if form == FORMAT else ()
        about = About(**{**told, "grid": tuple(told["grid"])}) if form == FORMAT else None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"{folder / ABOUT} is damaged; delete {folder} and make the maps again") from error
    if about is None:
        raise ValueError(f"the label maps in {folder} have the format {form}, and {FORMAT} is read; make them again")
    if len(digests) != len(about.parts):
        raise ValueError(f"{folder / ABOUT} names {len(digests)} shards, and {about.pictures:,} pictures have "
                         f"{len(about.parts)}; delete {folder} and make the maps again")  # fmt: skip
    for path, digest in zip(_paths(folder, digests), digests, strict=True):
        if not path.is_file():
            raise ValueError(f"{path} is missing; delete {folder} and make the maps again")
        if not _whole(path, digest):
            raise ValueError(f"{path} is damaged: its contents are not those that its name promises; delete {folder}, "
                             f"and the maps are made again")  # fmt: skip
    return LabelMaps(folder, about, digests)


@dataclass(frozen=True)
class Writer:
    """Writes label maps into a folder; shards that are there and whole are kept, so it goes on where it was ended."""

    folder: Path
    about: About

    def missing(self) -> list[range]:
        """The pictures of each shard that is not there yet."""
        return [part for number, part in enumerate(self.about.parts) if self._found(number, part) is None]

    def write(self, part: range, values: Tensor, indices: Tensor) -> None:
        """The maps [m, k, h, w] of one shard, its pictures in order. Raises ValueError where they are not like that."""
        shape = (len(part), self.about.k, *self.about.grid)
        for tensor in (values, indices):
            if tuple(tensor.shape) != shape:
                raise ValueError(f"maps of {tuple(tensor.shape)} are not the {shape} of this shard; give all of its "
                                 f"pictures")  # fmt: skip
        if not values.half().isfinite().all():
            raise ValueError(f"values of {self.about.made_by} are not finite in float16; make the maps by another "
                             f"network")  # fmt: skip
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < self.about.classes:
            raise ValueError(f"classes {int(indices.min())} to {int(indices.max())} are not among the "
                             f"{self.about.classes} of the maps; name their number")  # fmt: skip
        kept = {"values": values.half(), "indices": indices.to(self.about.index_type)}
        contents = tensors_file.save({n: t.cpu().contiguous() for n, t in kept.items()}, self._header(part))
        write_bytes(self.folder / _name(part.start // SHARD, _digest(contents)), contents)

    def finish(self) -> LabelMaps:
        """All maps, once their shards are there. Raises ValueError where one is not."""
        digests = tuple(self._found(number, part) or "" for number, part in enumerate(self.about.parts))
        if "" in digests:
            raise ValueError(f"{digests.count('')} of {len(digests)} shards in {self.folder} are not written yet; "
                             f"write those that are missing")  # fmt: skip
        write_bytes(self.folder / ABOUT, _json(self.about, digests))
        return LabelMaps(self.folder, self.about, digests)

    def _found(self, number: int, part: range) -> str | None:
        """The digest of a shard that is there, whole, and of these very maps."""
        for path in sorted(self.folder.glob(_name(number, "*"))):
            digest = path.stem.rpartition("-")[2]
            if _whole(path, digest):
                with safetensors.safe_open(path, framework="pt") as file:
                    if file.metadata() == self._header(part):
                        return digest
        return None

    def _header(self, part: range) -> dict[str, str]:
        """One entry alone, since safetensors writes several in an order that changes, and so would the digest."""
        return {"about": f"{part} of {_json(self.about, ()).decode()}"}


def top_logits(logits: Tensor, k: int = LISTED) -> tuple[Tensor, Tensor]:
    """The k largest logits of [B, C, h, w], or all: values float16 [B, k, h, w], and their classes int64 [B, k, h, w].

    Each value is the logit less the log of the mean of exp of the classes that are not listed. With 0 for these, a
    softmax over all classes gives each listed class its probability, and spreads the rest evenly. Where all classes
    are listed, the mean of the logits is taken off. In float32; float16 then moves a value below 1 by 1/4096 at most,
    and one below 32 by 1/128.
    """
    logits = logits.float()
    classes = logits.shape[1]
    values, indices = logits.topk(min(k, classes), dim=1)
    if values.shape[1] == classes:
        values = values - values.mean(dim=1, keepdim=True)
    else:
        others = logits.scatter(1, indices, -math.inf)
        values = values - (others.logsumexp(dim=1, keepdim=True) - math.log(classes - values.shape[1]))
    return values.half(), indices


def _json(about: About, digests: tuple[str, ...]) -> bytes:
    return json.dumps({"format": FORMAT, **asdict(about), "shards": digests}, indent=1).encode()


def _name(number: int, digest: str) -> str:
    return f"{number:05d}-{digest}.safetensors"


def _paths(folder: Path, digests: tuple[str, ...]) -> Iterator[Path]:
    return (folder / _name(number, digest) for number, digest in enumerate(digests))


def _digest(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()[:16]


def _whole(path: Path, digest: str) -> bool:
    """Whether a file has the contents that its name promises."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16] == digest
