"""Saliency: where a trained model looks, on the same test images for every variant and seed, and what that is worth.

Deletion, insertion and a random order's deletion; where the data has masks, coverage of the object. Beside the rows
lies CELL.saliency.npz, what the report draws.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.measure.rollout import STEPS, area, coverage, curve, order, relevance
from harness.measure.subject import Subject

IMAGES = 128  # that the scores are a mean over, spread evenly over the test split
ORDERS = 3  # random ones
SHOWN = 6  # images in the report's panel
SIDE = 72  # px at most, of an image in the panel: a file stays below 200 KB
FORWARDS = 2 * STEPS + ORDERS * STEPS + 3  # forwards of an image


def images(n: int) -> float:
    """How many image forwards it takes."""
    return FORWARDS * min(IMAGES, n)


def measure(subject: Subject) -> Iterator[dict[str, Any]]:
    """The scores of a trained model; leaves the panel that the report draws."""
    found = looked_at(subject)
    packed = io.BytesIO()
    arrays: Any = panel(found)
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    subject.files[".saliency.npz"] = packed.getvalue()
    yield from scores(found)


def looked_at(subject: Subject) -> dict[str, Tensor]:
    """By name: images, relevance [n, h, w], chosen and labels [n], curves [n, steps+1], and where there are masks
    coverage and object_area [n]. All on the CPU."""
    found: dict[str, list[Tensor]] = {}
    draw = torch.Generator().manual_seed(0)  # one fixed set of random orders for all variants
    model, (h, w) = subject.model, subject.grid
    for images, labels in subject.test_images(IMAGES):
        relevances, chosen = relevance(model, images)
        best = order(relevances)
        batch: dict[str, Tensor] = {
            "images": images, "labels": labels, "chosen": chosen, "relevance": relevances,
            "deletion": curve(model, images, chosen, best),
            "insertion": curve(model, images, chosen, best, insert=True),
        }  # fmt: skip
        randoms = []
        for _ in range(ORDERS):
            shuffled = torch.rand(len(images), h * w, generator=draw).argsort(dim=1).to(images.device)
            randoms.append(curve(model, images, chosen, shuffled))
        batch["random_deletion"] = torch.stack(randoms).mean(dim=0)
        for name, tensor in batch.items():
            found.setdefault(name, []).append(tensor.cpu())
    whole = {name: torch.cat(parts) for name, parts in found.items()}
    if (objects := masks(subject)) is not None:
        whole["coverage"], whole["object_area"] = coverage(whole["relevance"], objects)
    return whole


def masks(subject: Subject) -> Tensor | None:
    """bool [n, H, W]: where the object is on the images that are shown; None for data that do not say."""
    every = subject.data.test_masks
    if every is None:
        return None
    places = subject.data.evenly(len(every), IMAGES)  # as Subject.test_images takes them
    return F.interpolate(every[places, None].float(), size=subject.image, mode="nearest")[:, 0].bool()


def scores(found: dict[str, Tensor]) -> Iterator[dict[str, Any]]:
    """The scores as means over the images."""
    n = len(found["labels"])
    for name in ("deletion", "insertion", "random_deletion"):
        yield {"metric": name, "value": float(area(found[name]).mean()), "unit": "1", "n": n}
    if "coverage" in found:
        for name in ("coverage", "object_area"):
            yield {"metric": name, "value": 100 * float(found[name].mean()), "unit": "%", "n": n}


def panel(found: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """What the report draws: images uint8 [k, c, h, w], relevance float16 [k, gh, gw], classes, mean curves float32."""
    n = len(found["labels"])
    some = torch.arange(n)[:: max(1, n // SHOWN)][:SHOWN]
    images = found["images"][some]
    side = max(images.shape[-2:])
    if side > SIDE:
        size = [max(1, round(SIDE * length / side)) for length in images.shape[-2:]]
        images = F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    pixels = ((images - low) / (high - low).clamp(min=1e-6) * 255).round().clamp(0, 255).to(torch.uint8)
    curves = {name: found[name].mean(dim=0).numpy().astype(np.float32) for name in
              ("deletion", "insertion", "random_deletion")}  # fmt: skip
    maps = found["relevance"][some]
    scaled = maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)  # of the largest in each map; float16 keeps it
    return curves | {
        "images": pixels.numpy(), "relevance": scaled.numpy().astype(np.float16),
        "chosen": found["chosen"][some].numpy().astype(np.int16),
        "labels": found["labels"][some].numpy().astype(np.int16),
    }  # fmt: skip
