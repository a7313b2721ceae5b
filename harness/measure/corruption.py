"""Accuracy under corruption: the test split with noise, blur, less contrast or an occluded square, in three severities.

The kinds are four of ImageNet-C's (Hendrycks and Dietterich, arXiv 1903.12261), with settings for images of a few
pixels: blur and occlusion are told in shares of the image's shorter side. What is drawn for an image depends on its
number, the corruption and the severity alone, so all variants and seeds meet the same images. Corrupted images are
8-bit again, as a camera's would be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from harness.data import resize
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

    Raises ValueError for pictures that are read from files: they are no tensor that could be corrupted at once.
    """
    test, labels = subject.data.test_x, subject.data.test_y
    if not isinstance(test, Tensor):
        raise ValueError(f"corruption wants images in memory, and {subject.data.name} is read from files; "
                         f"leave corruption out of --measure")  # fmt: skip
    device = next(subject.model.parameters()).device
    for name, corrupt in CORRUPTIONS.items():
        for severity in SEVERITIES:

            def batches(corrupt: Any = corrupt, severity: int = severity, name: str = name) -> Iterator[Any]:
                for places in torch.arange(len(test)).split(BATCH):
                    changed = torch.stack([corrupted(test[i], corrupt, severity, name, int(i)) for i in places])
                    shown = resize(subject.data.normalise(changed.to(device)), subject.image)
                    yield shown, labels[places].to(device)

            right = correct(subject.model, batches())
            yield {"metric": "corrupted_top1", "value": 100 * int(right.sum()) / len(right), "unit": "%",
                   "n": len(right), "params": {"corruption": name, "severity": severity}}  # fmt: skip


def corrupted(image: Tensor, corrupt: Callable[..., Tensor], severity: int, name: str, number: int) -> Tensor:
    """uint8 [c, H, W]: an image of that number, corrupted."""
    draw = rng.generator(0, name, severity, number)
    return corrupt(image.float() / 255, severity - 1, draw).clamp(0, 1).mul(255).round().to(torch.uint8)


def noise(image: Tensor, level: int, draw: torch.Generator) -> Tensor:
    return image + NOISE[level] * torch.randn(image.shape, generator=draw)


def blur(image: Tensor, level: int, draw: torch.Generator) -> Tensor:
    """Gaussian; the kernel reaches three standard deviations, and the border is repeated in a mirror."""
    side = min(image.shape[-2:])
    sigma = BLUR[level] * side
    reach = min(max(1, round(3 * sigma)), (side - 1) // 2)
    return transforms.gaussian_blur(image, [2 * reach + 1] * 2, [sigma] * 2)


def contrast(image: Tensor, level: int, draw: torch.Generator) -> Tensor:
    return transforms.adjust_contrast(image, CONTRAST[level])


def occlusion(image: Tensor, level: int, draw: torch.Generator) -> Tensor:
    """A grey square at a random whole-pixel place inside the image."""
    h, w = image.shape[-2:]
    side = max(1, round(OCCLUDED[level] * min(h, w)))
    top, left = (int(torch.randint(length - side + 1, (), generator=draw)) for length in (h, w))
    return transforms.erase(image, top, left, side, side, torch.full((1, 1, 1), 0.5))


CORRUPTIONS: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "noise": noise, "blur": blur, "contrast": contrast, "occlusion": occlusion,
}  # fmt: skip
