"""A teacher: a network that says what a picture shows, as a whole and cell by cell.

    timm:NAME            timm's pretrained weights as they are
    NAME                 a network of timm's that is trained on the dataset first, and kept in the cache
    FILE.safetensors     what a training of this harness ended with, in its study's folder

It takes images as a training's feeds give them. Source: distillation, DeiT, arXiv 2012.12877, section 4, whose teacher
is a convolutional network too (RegNetY-16GF); token labelling, arXiv 2104.10858, whose annotator is one (NFNet-F6).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from harness.backbone.start import TIMM
from harness.data import Dataset, resize
from harness.data.download import in_one_line
from harness.supervision import cells, convnet, own
from harness.supervision.cells import Size

Moments = tuple[Sequence[float], Sequence[float]]


class Teacher(nn.Module):
    """A network in eval mode, for good, whose weights ask for no gradient.

    words: what named it. size: (height, width) of the pictures that it sees; all others are resized. data: whose mean,
    std and channels its images have. moments: the mean and std that the network wants, by default the data's. grid:
    (h, w) of `dense`. validated: the share of validation images that it gets right, where that is known.
    """

    scale: Tensor  # [C, 1, 1], as shift is
    shift: Tensor

    def __init__(
        self, words: str, network: nn.Module, data: Dataset, size: Size, channels: int, moments: Moments | None = None,
        validated: float | None = None,
    ):  # fmt: skip
        super().__init__()
        self.words, self.size, self.channels, self.validated = words, size, channels, validated
        self.classes = len(data.classes)
        self.grid = cells.grid(network, words, channels, self.classes, size)
        self.network = network.requires_grad_(False)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.mean, data.std))
        own_mean, own_std = (torch.tensor(values).view(-1, 1, 1) for values in (moments or (data.mean, data.std)))
        self.register_buffer("scale", std / own_std, persistent=False)
        self.register_buffer("shift", (mean - own_mean) / own_std, persistent=False)
        self.eval()

    def __str__(self) -> str:
        right = "" if self.validated is None else f", {100 * self.validated:.1f} % of the validation images right"
        return f"teacher {self.words}{right}"

    def train(self, mode: bool = True) -> Teacher:
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of normalised images [B, c, H, W]."""
        logits: Tensor = self.network(self._own(images))
        return logits

    @torch.no_grad()
    def dense(self, images: Tensor) -> Tensor:
        """Logits [B, classes, h, w]: of each cell of the last feature map."""
        return cells.dense(self.network, self._own(images))

    @cached_property
    def digest(self) -> str:
        """Ten hexadecimal digits of its weights, of how it sees pictures, and of what else its words depend on."""
        about = (self.network.about,) if isinstance(self.network, own.OfPatches) else ()
        weights = convnet.digest(self.network.state_dict())
        seen = repr((weights, self.size, self.scale.tolist(), self.shift.tolist(), *about))
        return hashlib.sha256(seen.encode()).hexdigest()[:10]

    def _own(self, images: Tensor) -> Tensor:
        """The images as the network has learned them: at its size, with its channels and moments."""
        return resize((images * self.scale + self.shift).expand(-1, self.channels, -1, -1), self.size)


def teacher(
    words: str, data: Dataset, device: torch.device, cache: Path, workers: int = 0, chosen: Tensor | None = None
) -> Teacher:
    """The teacher of these words; NAME is trained on the training images `chosen`, int64 [n], all by default.

    Raises ValueError for a name that timm does not have, for a network that is no convolutional one, for pretrained
    weights of other classes or channels, where these cannot be downloaded, and for a file as `own.trained`.
    """
    if words.startswith(TIMM):
        return pretrained(words, data).to(device)
    if own.is_own(words):
        network, size = own.trained(words, data, None if chosen is None else len(chosen))
        return Teacher(f"{network.model.spec} of this harness", network, data, size, data.channels).to(device)
    chosen = torch.arange(len(data.train_y)) if chosen is None else chosen
    found = convnet.trained(words, data, device, cache, workers, chosen)
    return Teacher(words, found.network, data, found.size, data.channels, validated=found.validated).to(device)


def pretrained(words: str, data: Dataset) -> Teacher:
    """timm's own weights. Raises ValueError where they do not fit the dataset, or cannot be had."""
    name = words.removeprefix(TIMM)
    if not timm.is_model(name.partition(".")[0]):
        raise ValueError(f"timm has no model {name!r}; print its names with timm.list_models(pretrained=True)")
    try:
        told = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise ValueError(f"timm has no weights {name!r}: {in_one_line(error)}; print their names with "
                         f"timm.list_models(pretrained=True)") from error  # fmt: skip
    if told is None or not told.has_weights:
        raise ValueError(f"timm has no weights of {name!r}; print the names of those that it has with "
                         f"timm.list_models(pretrained=True)")  # fmt: skip
    classes, (channels, *size) = len(data.classes), told.test_input_size or told.input_size
    if told.num_classes != classes:
        raise ValueError(f"{words} knows {told.num_classes:,} classes, and {data.name} has {classes:,}; name a network "
                         f"without timm:, which is trained on {data.name} first")  # fmt: skip
    if data.channels not in (1, channels):
        raise ValueError(f"{words} wants {channels} channels, and {data.name} has {data.channels}; choose another")
    try:
        network = timm.create_model(name, pretrained=True)
    except Exception as error:  # of the network, the hub or the file: they share no class
        raise ValueError(f"the weights of {words} cannot be had: {type(error).__name__}: {in_one_line(error)}; name "
                         f"a network without timm:, which is trained on {data.name} first") from error  # fmt: skip
    return Teacher(words, network, data, (size[0], size[1]), channels, (told.mean, told.std))
