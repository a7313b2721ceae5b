"""Sets that timm.data.create_dataset opens: `torch/NAME` (torchvision's), `hfds/NAME` (Hugging Face datasets').

Small images of one size are held in memory, others stay where they are. The training set is split here, by seed; the
validation set of the publisher (`test` where there is none) is the test set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.data.dataset import Dataset, in_memory
from harness.data.download import FAILURES, cache, impatient, in_one_line
from harness.data.picture import WHITE, Ground
from harness.data.reader import classes, labels, pictures, streamed
from harness.data.sources import Source

SMALL = 64  # px; larger images stay where they are
BYTES = 2**31  # and so do small ones that would fill more than this
ORDERED = ("tfds", "wds", "hfids")  # timm reads these from beginning to end only
DOWNLOADED = ("cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist", "qmnist")  # others are tens of gigabytes


def timm_set(name: str, data_dir: Path | None, seed: int, behind: Ground = WHITE) -> Dataset:
    """The set of that name; `torch/cifar10` calls itself cifar10. behind: the ground of transparent pictures.

    Raises ValueError where timm has no such set, where it is not available here, or cannot be read in any order.
    """
    family, _, rest = name.partition("/")
    if family.lower() in ORDERED:
        raise ValueError(
            f"{name} can only be read from beginning to end, and splits and shares of the training images want them "
            f"in any order; unpack it into folders and name these with folder:PATH, or choose torch/NAME or hfds/NAME"
        )
    if family.lower() == "torch":
        train, test = (_of_torchvision(name, split, data_dir or cache()) for split in ("train", "validation"))
    elif family.lower() == "hfds":
        train, test = _of_hugging_face(name, data_dir)
    else:
        raise ValueError(f"{name}: timm has no family {family!r} of sets; choose torch/NAME, hfds/NAME or folder:PATH")
    title = rest if name in ("torch/cifar10", "torch/cifar100") else name
    (of_train, train_y), (of_test, test_y) = (
        (pictures(part, decode), labels(part)) for part, decode in ((train, False), (test, True))
    )
    known = classes(train, int(train_y.max()) + 1)
    if int(min(train_y.min(), test_y.min())) < 0 or int(test_y.max()) >= len(known):
        raise ValueError(f"{name}: the test images have labels that none of the {len(known)} training classes has")
    train_x, test_x = _images(of_train, behind), _images(of_test, behind)
    if train_x is not None and test_x is not None and train_x.shape[2:] == test_x.shape[2:]:
        train_x, test_x = _alike(train_x, test_x)
        return in_memory(title, (train_x, train_y), (test_x, test_y), known, seed)
    return streamed(title, (of_train, train_y), (of_test, test_y), known, seed, behind)


def _of_torchvision(name: str, split: str, root: Path) -> Any:
    from timm.data import create_dataset

    try:
        return create_dataset(name, root=str(root), split=split, download=False)
    except AssertionError as error:
        raise ValueError(f"{name}: {in_one_line(error)}; choose one that timm knows, such as torch/mnist") from error
    except (RuntimeError, OSError) as error:
        if name.partition("/")[2].lower() not in DOWNLOADED:
            raise ValueError(
                f"{name} could not be opened in {root} ({in_one_line(error)}); put the files of torchvision's set of "
                f"that name there, or name another folder with --data-dir"
            ) from error
    try:
        with impatient():
            return create_dataset(name, root=str(root), split=split, download=True)
    except FAILURES as error:
        raise ValueError(
            f"{name} is not whole in {root} and could not be downloaded ({in_one_line(error)}); unpack torchvision's "
            f"archive of it there, or name its folder with --data-dir, or run this once with a network"
        ) from error


def _of_hugging_face(name: str, root: Path | None) -> tuple[Any, Any]:
    from timm.data import create_dataset

    def opened(split: str) -> Any:
        return create_dataset(name, root=None if root is None else str(root), split=split)

    try:
        train = opened("train")
        try:
            return train, opened("validation")
        except ValueError:  # there is no such split
            return train, opened("test")
    except ImportError as error:
        raise ValueError(f"{name} wants a package that is not installed; run pip install datasets") from error
    except (ValueError, KeyError, AssertionError, *FAILURES) as error:
        raise ValueError(
            f"{name} could not be opened ({in_one_line(error)}); it wants the columns image and label, the splits "
            f"train and validation or test, and a network or the cache that --data-dir names"
        ) from error


def _images(source: Source, behind: Ground) -> Tensor | None:
    """uint8 [n, c, H, W] where all are small and of one size, with a single channel where all are grey; else None."""
    first = source.read(0, behind)
    shape = (len(source), first.height, first.width)
    if max(first.size) > SMALL or np.prod(shape) * len(first.mode) > BYTES:
        return None
    images = torch.empty((*shape, len(first.mode)), dtype=torch.uint8)
    for index in range(len(source)):
        image = source.read(index, behind)
        if image.size != first.size:
            return None
        if image.mode == "RGB" and images.shape[-1] == 1:  # those before it were grey
            images = images.repeat(1, 1, 1, 3)
        images[index] = torch.from_numpy(np.array(image)).view(*shape[1:], -1)
    return images.permute(0, 3, 1, 2).contiguous()


def _alike(*parts: Tensor) -> tuple[Tensor, ...]:
    """The images with as many channels as the part that has most."""
    most = max(part.shape[1] for part in parts)
    return tuple(part.expand(-1, most, -1, -1).contiguous() if part.shape[1] < most else part for part in parts)
