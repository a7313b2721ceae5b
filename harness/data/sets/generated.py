"""Sets that are generated: training images without end, and fixed samples of them for validation and test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from harness.data.dataset import Dataset, moments

SPLITS = {"train": 4096, "val": 1024, "test": 2048}
Draw = Callable[[torch.Generator, Tensor], tuple[Tensor, Tensor]]
Fresh = Callable[[torch.Generator, int], tuple[Tensor, Tensor]]


def generated(name: str, classes: tuple[str, ...], draw: Draw, fresh: Fresh, seed: int) -> Dataset:
    """A set of images that `draw` makes: 4,096 that stand for the training set, 1,024 to validate, 2,048 to test.

    draw(generator, labels): images uint8 [n, c, H, W] of these labels int64 [n], on the generator's device, and bool
    [n, H, W], where the objects are. fresh(generator, n): n new images and labels, a function of the set's own module,
    whose source is part of what trainings are known by. The splits have streams of their own, which `seed` chooses.
    """
    parts = {}
    for k, (split, n) in enumerate(SPLITS.items()):
        stream = int(np.random.SeedSequence([seed, k]).generate_state(1, np.uint64)[0])
        generator = torch.Generator().manual_seed(stream)
        labels = balanced(len(classes), generator, n)
        parts[split] = (*draw(generator, labels), labels)
    (train_x, _, train_y), (val_x, _, val_y), (test_x, masks, test_y) = parts.values()
    mean, std = moments(train_x)
    return Dataset(
        name, train_x, train_y, val_x, val_y, test_x, test_y, classes=classes, mean=mean, std=std,
        fresh=fresh, test_masks=masks,
    )  # fmt: skip


def balanced(classes: int, generator: torch.Generator, n: int) -> Tensor:
    """int64 [n]: labels in a random order, each equally often; which have one more is drawn, too."""
    at = generator.device
    first = torch.randint(classes, (1,), generator=generator, device=at)  # where n is no multiple of the classes
    return (torch.randperm(n, generator=generator, device=at) + first) % classes
