"""Accuracy under corruption: the test split with noise, blur, less contrast or an occluded square, in three severities.

The kinds are four of ImageNet-C's (Hendrycks and Dietterich, arXiv 1903.12261), with settings for images of a few
pixels: blur and occlusion are told in shares of the image's shorter side. What is drawn for an image depends on its
number, the corruption and the severity alone, so all variants and seeds meet the same images. Corrupted images are
8-bit again, as a camera's would be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from harness import distributed
from harness.data import Dataset, resize
from harness.measure.subject import Subject
from harness.training import rng
from harness.training.loop import correct

SEVERITIES = (1, 2, 3)
BATCH = 512
NOISE = (0.1, 0.2, 0.4)  # standard deviation, of the range 0..1
BLUR = (0.05, 0.1, 0.2)  # standard deviation, of the shorter side
CONTRAST = (0.5, 0.25, 0.1)  # what is left of it
OCCLUDED = (0.25, 0.375, 0.5)  # the side of the square, of the shorter side


def images(n: int) -> float:
    """How many image forwards it takes."""
    return n * len(CORRUPTIONS) * len(SEVERITIES)


def measure(subject: Subject) -> Iterator[dict[str, Any]]:
    """corrupted_top1 in % of each corruption and severity (params) at the training size.

    Raises ValueError for images that are not in memory or have other channels than one or three.
    """
    if (why := obstacle(subject.data)) is not None:
        raise ValueError(why)
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            right = correct(subject.model, batches(subject, name, severity))
            yield {"metric": "corrupted_top1", "value": 100 * int(right.sum()) / len(right), "unit": "%",
                   "n": len(right), "params": {"corruption": name, "severity": severity}}  # fmt: skip


def obstacle(data: Dataset) -> str | None:
    """Why a dataset's images cannot be corrupted, in a sentence; None where they can."""
    if not isinstance(data.test_x, Tensor):
        return (f"corruption must have images in memory, and {data.name} is read from files; leave corruption out of "
                f"--measure")  # fmt: skip
    if data.channels not in (1, 3):
        return f"corruption must have grey or RGB images, and {data.name} has {data.channels} channels; leave it out"
    return None


def batches(subject: Subject, name: str, severity: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The test split, corrupted, as a model is tested on it, and the labels; those dealt to this process."""
    images, labels = subject.data.test_x, subject.data.test_y
    assert isinstance(images, Tensor)
    device = next(subject.model.parameters()).device
    for places in torch.arange(len(images)).split(BATCH)[distributed.rank() :: distributed.world()]:
        changed = corrupted(images[places], name, severity, places.tolist()).to(device)
        yield resize(subject.data.normalise(changed), subject.image), labels[places].to(device)


def corrupted(images: Tensor, name: str, severity: int, numbers: Sequence[int]) -> Tensor:
    """uint8 [n, c, H, W]: the images of these numbers, corrupted."""
    draws = [rng.generator(0, name, severity, number) for number in numbers]
    return CORRUPTIONS[name](images.float() / 255, severity - 1, draws).clamp(0, 1).mul(255).round().to(torch.uint8)


def noise(images: Tensor, level: int, draws: Sequence[torch.Generator]) -> Tensor:
    return images + NOISE[level] * torch.stack([torch.randn(images.shape[1:], generator=draw) for draw in draws])


def blur(images: Tensor, level: int, draws: Sequence[torch.Generator]) -> Tensor:
    """Gaussian; the kernel reaches three standard deviations, and the border is repeated in a mirror."""
    side = min(images.shape[-2:])
    sigma = BLUR[level] * side
    reach = min(max(1, round(3 * sigma)), (side - 1) // 2)
    return transforms.gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2)


def contrast(images: Tensor, level: int, draws: Sequence[torch.Generator]) -> Tensor:
    return transforms.adjust_contrast(images, CONTRAST[level])


def occlusion(images: Tensor, level: int, draws: Sequence[torch.Generator]) -> Tensor:
    """A grey square at a random whole-pixel place inside each image."""
    h, w = images.shape[-2:]
    side = max(1, round(OCCLUDED[level] * min(h, w)))
    changed = images.clone()
    for image, draw in zip(changed, draws, strict=True):
        top, left = (int(torch.randint(length - side + 1, (), generator=draw)) for length in (h, w))
        image[:, top : top + side, left : left + side] = 0.5
    return changed


CORRUPTIONS: dict[str, Callable[[Tensor, int, Sequence[torch.Generator]], Tensor]] = {
    "noise": noise, "blur": blur, "contrast": contrast, "occlusion": occlusion,
}  # fmt: skip
