"""`digits`: scikit-learn's copy of the UCI handwritten digits (Alpaydin and Kaynak, 1998), nothing to download.

1,797 real 8x8 scans in 17 grey levels, inside the wheel.
"""

from __future__ import annotations

from pathlib import Path

import torch

from harness.data.dataset import Dataset, moments


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
    mean, std = moments(images[train])
    return Dataset(
        "digits", images[train], labels[train], images[val], labels[val], images[test], labels[test],
        classes=tuple(str(name) for name in bunch.target_names),
        mean=mean, std=std,
    )  # fmt: skip
