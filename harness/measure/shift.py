"""Shift consistency: the share of predictions that stay when the image moves by a few pixels.

Averaged over the four directions; what comes in at the border repeats the border. It needs no labels. (As a measure of
networks: Zhang, Making convolutional networks shift-invariant again, arXiv 1904.11486.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.measure.subject import Subject
from variants import keep_terms

MOST = 2000  # images to show it: a share of so many is known to within about a point
WAYS = ((1, 0), (-1, 0), (0, 1), (0, -1))  # (dy, dx)


def images(n: int) -> float:
    """How many image forwards it takes."""
    return min(MOST, n) * (1 + 2 * len(WAYS))


def measure(subject: Subject) -> Iterator[dict[str, Any]]:
    """`shift_px_consistency` and `shift_patch_consistency` in %: images move by a pixel, and by a patch."""
    steps = {"px": 1, "patch": subject.patch_size}
    yield from consistency(subject.model, subject.test_images(MOST), steps)


@torch.inference_mode()
def consistency(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], steps: dict[str, int]
) -> list[dict[str, Any]]:
    """A fact for each name in `steps`, which says by how many pixels images move: `shift_NAME_consistency` in %.

    batches: normalised images [B, c, H, W] and labels.
    """
    model.eval()
    stay, number = dict.fromkeys(steps, 0), 0
    with keep_terms(model):
        for images, _ in batches:
            still = model(images).argmax(dim=1)
            for name, pixels in steps.items():
                moved = (model(move(images, dy * pixels, dx * pixels)).argmax(dim=1) for dy, dx in WAYS)
                stay[name] += sum(int((guess == still).sum()) for guess in moved)
            number += len(images)
    return [
        {"metric": f"shift_{name}_consistency", "value": 100 * count / (len(WAYS) * number), "unit": "%", "n": number}
        for name, count in stay.items()
    ]


def move(images: Tensor, dy: int, dx: int) -> Tensor:
    """images [B, c, H, W] moved down by dy and right by dx pixels; the border is repeated."""
    h, w = images.shape[-2:]
    padded = F.pad(images, (max(dx, 0), max(-dx, 0), max(dy, 0), max(-dy, 0)), mode="replicate")
    return padded[..., max(-dy, 0) : max(-dy, 0) + h, max(-dx, 0) : max(-dx, 0) + w]
