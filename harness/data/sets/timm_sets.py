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

from harness.data.dataset import Dataset, Images, in_memory
from harness.data.download import FAILURES, cache, impatient, in_one_line
from harness.data.reader import Read, classes, labels, picture, streamed

SMALL = 64  # px; larger images stay where they are
BYTES = 2**31  # and so do small ones that would fill more than this
ORDERED = ("tfds", "wds", "hfids")  # timm reads these from beginning to end only
DOWNLOADED = ("cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist", "qmnist")  # others are tens of gigabytes


def timm_set(name: str, data_dir: Path | None, seed: int) -> Dataset:
    """The set of that name; `torch/cifar10` calls itself cifar10.

    Raises ValueError where timm has no such set, where it is not to be had here, or cannot be read in any order.
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
    (train_x, train_y), (test_x, test_y) = ((_images(part), labels(part)) for part in (train, test))
    known = classes(train, int(train_y.max()) + 1)
    if int(min(train_y.min(), test_y.min())) < 0 or int(test_y.max()) >= len(known):
        raise ValueError(f"{name}: the test images have labels that none of the {len(known)} training classes has")
    if isinstance(train_x, Tensor) and isinstance(test_x, Tensor) and train_x.shape[1:] == test_x.shape[1:]:
        return in_memory(title, (train_x, train_y), (test_x, test_y), known, seed)
    return streamed(title, train, test, known, seed)


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


def _images(source: Any) -> Images:
    """uint8 [n, c, H, W] where all are small and of one size, grey ones with a single channel; else the pictures."""
    pictures = Read(source, torch.arange(len(source)))
    first = picture(source, 0)
    mode = "L" if first.mode in ("L", "1") else "RGB"
    shape = (len(pictures), first.height, first.width, len(mode))
    if max(first.size) > SMALL or np.prod(shape) > BYTES:
        return pictures
    images = torch.empty(shape, dtype=torch.uint8)
    for index in range(len(pictures)):
        image = picture(source, index, mode)
        if image.size != first.size:
            return pictures
        images[index] = torch.from_numpy(np.array(image)).view(shape[1:])
    return images.permute(0, 3, 1, 2).contiguous()
