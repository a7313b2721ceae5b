"""`noise:CLASSES`: images of noise in ImageNet's shape, for costs and timings, which no picture changes."""

from __future__ import annotations

import torch

from harness.data.dataset import Dataset

SHAPE = (3, 224, 224)
EACH = 4  # images of a split; a batch repeats them


def noise(classes: str) -> Dataset:
    """Twelve images [3, 224, 224] of so many classes. Raises ValueError for a number of classes that is none."""
    if not classes.isdecimal() or int(classes) < 1:
        raise ValueError(f"noise:{classes} is not available; write the number of classes, as in noise:1000")
    generator = torch.Generator().manual_seed(0)
    train, val, test = torch.randint(0, 256, (3, EACH, *SHAPE), generator=generator, dtype=torch.uint8)
    labels = torch.arange(EACH) % int(classes)
    names = tuple(str(number) for number in range(int(classes)))
    return Dataset(
        f"noise:{classes}", train, labels, val, labels, test, labels, classes=names, mean=(0.5,) * 3, std=(0.29,) * 3,
        learnable=False,
    )  # fmt: skip
