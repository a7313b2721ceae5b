"""A trained model as a measurement meets it: what it may ask for, and what it may leave beside its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness import distributed
from harness.backbone.vit import ViT, grid_for
from harness.data import Dataset
from harness.training.batches import Batch
from harness.training.checkpoint import load_weights
from harness.training.loop import answers, rounded
from variants.geometry import Grid


@dataclass
class Subject:
    """A trained model and its data. Sizes in pixels (height, width).

    build: the model as its training began; show(split, size, dealt=True, most=None): batches of images as the model is
    tested on them and their labels, dealt out over processes or not, at most so many spread evenly.
    """

    data: Dataset
    image: tuple[int, int]
    patch_size: int
    seed: int
    build: Callable[[], ViT]
    show: Callable[..., Iterator[Batch]]
    weights: Path
    kept_log_probabilities: Path
    snapshots: Path
    files: dict[str, bytes] = field(default_factory=dict)  # ending -> contents, to be written beside the rows

    @cached_property
    def model(self) -> ViT:
        """The trained model, in eval mode. Raises ValueError where there are no weights or they do not fit."""
        model = self.build()
        load_weights(self.weights, model)
        return model.eval()

    @property
    def grid(self) -> Grid:
        return grid_for(self.image, self.patch_size)

    def test_images(self, most: int | None = None) -> Iterator[Batch]:
        """Batches of the test split at the training size, the same on every process; `most` of them, spread evenly."""
        return self.show("test", self.image, dealt=False, most=most)

    @cached_property
    def log_probabilities(self) -> Tensor:
        """float64 [n, classes] of the whole test split: those that the training kept, else the model's.

        Both are rounded to float16, so that a figure does not depend on what was kept: bins have other images where the
        last digits of a confidence differ.
        """
        logs = distributed.agreed(self._kept())  # all processes do the same, though one alone may see the file
        if logs is None:
            logs = rounded(answers(self.model, self.show("test", self.image))[1])
        return logs.double() - logs.double().logsumexp(dim=1, keepdim=True)  # what rounding took

    def _kept(self) -> Tensor | None:
        if distributed.rank() or not self.kept_log_probabilities.exists():
            return None
        return torch.from_numpy(np.load(self.kept_log_probabilities, allow_pickle=False))
