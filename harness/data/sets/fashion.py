"""`fashion_mnist`: 70,000 grey 28x28 photographs of clothes in 10 classes (Xiao, Rasul and Vollgraf, arXiv 1708.07747).

Four idx files are looked for under --data-dir, then where Debian's package dataset-fashion-mnist puts them, then in the
cache, and are downloaded by torchvision where they are nowhere. What was read is checked by its MD5.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.data.dataset import Dataset, in_memory
from harness.data.download import FAILURES, cache, impatient, in_one_line

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
RAW = "FashionMNIST/raw"  # torchvision's layout

# Of the unpacked contents: Debian packs the files anew, so the sums of torchvision's .gz files would not match there.
MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}


def fashion_mnist(data_dir: Path | None, seed: int) -> Dataset:
    """54,000 images for training and 6,000 for validation, drawn in proportion from the official 60,000; 10,000 test.

    Raises ValueError where the files are nowhere and cannot be downloaded, or where one is damaged.
    """
    from torchvision.datasets import FashionMNIST

    folder = _found(data_dir) or _downloaded(data_dir or cache())
    train, test = ((_images(folder, part), _labels(folder, part)) for part in ("train", "t10k"))
    return in_memory("fashion_mnist", train, test, tuple(FashionMNIST.classes), seed)


def _found(data_dir: Path | None) -> Path | None:
    """The first folder that has all four files."""
    mine = [] if data_dir is None else [data_dir, data_dir / RAW]
    for folder in (*mine, DEBIAN, cache() / RAW):
        if all(_file(folder, name).is_file() for name in MD5):
            return folder
    return None


def _downloaded(root: Path) -> Path:
    from torchvision.datasets import FashionMNIST

    try:
        with impatient():
            FashionMNIST(root, download=True)
    except FAILURES as error:
        raise ValueError(
            f"Fashion-MNIST is not here and could not be downloaded into {root} ({in_one_line(error)}); run "
            f"apt-get install dataset-fashion-mnist, or name the folder of its four idx files with --data-dir, or "
            f"run this once with a network"
        ) from error
    return root / RAW


def _file(folder: Path, name: str) -> Path:
    """The unpacked file where there is one, else the packed one."""
    return folder / name if (folder / name).is_file() else folder / f"{name}.gz"


def _contents(folder: Path, name: str) -> bytes:
    """The unpacked file. Raises ValueError where it is not the published one."""
    path = _file(folder, name)
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    except (OSError, EOFError, zlib.error) as error:
        found = f"none ({in_one_line(error)})"
    if found != MD5[name]:
        raise ValueError(
            f"{path} is damaged: the MD5 of its contents is {found}, Fashion-MNIST's is {MD5[name]}; delete the file "
            f"and install or download it again"
        )
    return content


def _images(folder: Path, part: str) -> Tensor:
    """uint8 [n, 1, 28, 28]; 16 bytes of header."""
    content = np.frombuffer(_contents(folder, f"{part}-images-idx3-ubyte"), np.uint8, offset=16)
    return torch.from_numpy(content.reshape(-1, 1, 28, 28).copy())


def _labels(folder: Path, part: str) -> Tensor:
    """int64 [n]; 8 bytes of header."""
    return torch.from_numpy(
        np.frombuffer(_contents(folder, f"{part}-labels-idx1-ubyte"), np.uint8, offset=8).astype(int)
    )
