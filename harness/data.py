"""Images: a small set lives in memory as uint8, split once by a fixed seed into train, validation and test.

`digits` is scikit-learn's copy of the UCI handwritten digits (Alpaydin and Kaynak, 1998): 1,797 real 8x8 scans in 17
grey levels, inside the wheel, nothing to download.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Dataset:
    """Images uint8 [n, c, H, W] and labels int64 [n] of three disjoint splits; mean and std a channel, of 0..1."""

    name: str
    train_x: Tensor
    train_y: Tensor
    val_x: Tensor
    val_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def image_size(self) -> tuple[int, int]:
        return self.train_x.shape[-2], self.train_x.shape[-1]

    @property
    def channels(self) -> int:
        return self.train_x.shape[1]

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [n, c, H, W] -> float32 of mean 0 and standard deviation 1 over the training split."""
        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1)
        return (images.float() / 255 - mean) / std


def load(name: str, data_dir: str | Path | None = None, seed: int = 0) -> Dataset:
    """The dataset of that name; `seed` draws the splits. Raises ValueError for one that does not exist."""
    if name not in DATASETS:
        raise ValueError(f"there is no dataset {name!r}; choose {', '.join(DATASETS)}")
    return DATASETS[name](None if data_dir is None else Path(data_dir), seed)


def digits(data_dir: Path | None, seed: int) -> Dataset:
    """60 % train, 20 % validation, 20 % test, each class in proportion."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = torch.from_numpy(bunch.images * (255 / 16)).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(bunch.target).long()
    index = range(len(labels))
    rest, test = train_test_split(index, test_size=360, random_state=seed, stratify=labels)
    train, val = train_test_split(rest, test_size=360, random_state=seed, stratify=labels[rest])
    parts: dict[str, Tensor] = {}
    for split, chosen in (("train", train), ("val", val), ("test", test)):
        parts |= {f"{split}_x": images[chosen], f"{split}_y": labels[chosen]}
    of_train = parts["train_x"].float() / 255
    classes = tuple(str(name) for name in bunch.target_names)
    return Dataset("digits", **parts, classes=classes, mean=(float(of_train.mean()),), std=(float(of_train.std()),))


DATASETS: dict[str, Callable[[Path | None, int], Dataset]] = {"digits": digits}


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Normalised images at another (height, width), bicubic and antialiased; the same images where nothing changes."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)
