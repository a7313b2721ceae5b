"""A dataset: images of three disjoint splits, small ones in memory as uint8, large ones read when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.data.fingerprint import Facts, facts, fingerprint

if TYPE_CHECKING:
    from PIL import Image

    from harness.data.canvas import Canvas

STREAMED = (224, 224)  # pictures have sizes of their own; a study that names no size trains on this one


class Pictures(Protocol):
    """Images that stay where they are."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Image.Image:
        """The picture in RGB. Raises ValueError that names the file where it cannot be read."""
        ...


Images = Tensor | Pictures


@cache
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """[c, 1, 1], brought to a device once: each copy would make a GPU wait."""
    return torch.tensor(values, device=device).view(-1, 1, 1)


@dataclass(frozen=True)
class Dataset:
    """Images (uint8 [n, c, H, W] or pictures) and labels int64 [n] of three splits; mean and std a channel, of 0..1.

    fresh: draws n new training images (uint8) and labels from a generator, on its device; train_x is a sample of
    these. placed: how images lie on a canvas, drawn anew each time that they are seen; train_x is a sample of these.
    test_masks: bool [n, H, W], where the object is, for images that say so. learnable: whether there is something to
    learn. shown: what about the reading changes the pictures, "" for nothing. skipped: how many files of the set's
    folder were not read, by kind.
    """

    name: str
    train_x: Images
    train_y: Tensor
    val_x: Images
    val_y: Tensor
    test_x: Images
    test_y: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fresh: Callable[[torch.Generator, int], tuple[Tensor, Tensor]] | None = None
    placed: Canvas | None = None
    test_masks: Tensor | None = None
    learnable: bool = True
    shown: str = ""
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def streamed(self) -> bool:
        """Whether the images are pictures that are read when asked for."""
        return not isinstance(self.train_x, Tensor)

    @cached_property
    def fingerprint(self) -> str:
        """Ten hexadecimal digits of its content: class names, labels, and the pixels or the files' bytes."""
        return fingerprint(self)

    @cached_property
    def facts(self) -> Facts:
        """How many classes and images it has, and how many images of one split are in another, too."""
        return facts(self) if self.placed is None else replace(self.placed.originals.facts, places=self.places)

    @property
    def places(self) -> int:
        """How many of the test images, one after another, show the same image: a unit of the statistics."""
        return 1 if self.placed is None else self.placed.places

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width): of a tensor its own, of pictures 224 x 224."""
        if not isinstance(self.train_x, Tensor):
            return STREAMED
        return self.train_x.shape[-2], self.train_x.shape[-1]

    @property
    def channels(self) -> int:
        return self.train_x.shape[1] if isinstance(self.train_x, Tensor) else 3

    def evenly(self, n: int, most: int | None) -> Tensor:
        """int64: the numbers of at most so many of n images, spread evenly: all of them, or one place of each image."""
        step = 1 if most is None or n <= most else -(-n // (most * self.places)) * self.places
        return torch.arange(n)[::step]

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [n, c, H, W] -> float32 of mean 0 and standard deviation 1 over the training split."""
        return (images.float() / 255 - _channels(self.mean, images.device)) / _channels(self.std, images.device)


def moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel of uint8 [n, c, H, W], of 0..1; from counts, no float copy."""
    grey = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in images.unbind(1):
        share = torch.bincount(channel.reshape(-1), minlength=256).double() / channel.numel()
        mean = (share * grey).sum()
        means.append(float(mean))
        deviations.append(float((share * (grey - mean) ** 2).sum().sqrt()))
    return tuple(means), tuple(deviations)


def hold_out(labels: Tensor, seed: int, names: tuple[str, ...] = ()) -> tuple[Tensor, Tensor]:
    """Indices (train, val) of labels [n]: a tenth, at most 10,000, is held out, each class in proportion.

    names: of the classes. Raises ValueError where there is one class alone, or too few images for both to have every
    class.
    """
    from sklearn.model_selection import train_test_split

    counts = torch.bincount(labels)
    present = int((counts > 0).sum())
    if present < 2:
        raise ValueError(f"all {len(labels):,} training images are of one class; a classifier wants at least 2")
    single = [names[label] if names else str(label) for label in (counts == 1).nonzero().flatten().tolist()]
    if single:
        more = f" and {len(single) - 5:,} more" if len(single) > 5 else ""
        raise ValueError(
            f"{'the classes' if single[1:] else 'the class'} {', '.join(single[:5])}{more} "
            f"{'have' if single[1:] else 'has'} a single training image, and one is held out for validation; every "
            f"class wants at least 2"
        )
    size = max(min(10_000, len(labels) // 10), present)
    train, val = train_test_split(range(len(labels)), test_size=size, random_state=seed, stratify=labels)
    return torch.tensor(train), torch.tensor(val)


def in_memory(name: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: tuple[str, ...],
              seed: int) -> Dataset:  # fmt: skip
    """The dataset of (images, labels) for training, of which a part is held out for validation, and for the test."""
    (images, labels), (kept, held) = train, hold_out(train[1], seed, classes)
    mean, std = moments(images[kept])
    return Dataset(
        name, images[kept], labels[kept], images[held], labels[held], *test, classes=classes, mean=mean, std=std
    )  # fmt: skip


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Normalised images at another (height, width), bicubic and antialiased; the same images where nothing changes."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)
