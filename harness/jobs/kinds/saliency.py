"""The cell that asks a trained model where it looks, on the same test images for every variant and seed.

Beside its rows it leaves CELL.saliency.npz for the report: a few images (uint8), their relevance maps, and the curves.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harness import distributed
from harness.backbone.vit import grid_for
from harness.jobs.cell import Cell, Tick
from harness.jobs.experiment import Bench
from harness.measure.saliency import STEPS, area, coverage, curve, order, relevance
from harness.results import store
from harness.training.checkpoint import load_weights

IMAGES = 128  # that the scores are a mean over, spread evenly over the test split
ORDERS = 3  # random ones
SHOWN = 6  # images in the report's panel
SIDE = 72  # px at most, of an image in the panel: a file stays below 200 KB
TIMES = 2 * STEPS + ORDERS * STEPS + 3  # forwards of an image


def saliency_cell(bench: Bench, trained: Cell) -> Cell:
    """Deletion, insertion, a random order's deletion, and coverage where the data has masks, of trained weights."""
    variant, seed, fraction = trained.variant, trained.seed, trained.fraction
    key = bench.key([variant], "saliency", trained.key, IMAGES, ORDERS)
    common = {"seed": seed, "train_fraction": fraction, "epoch": bench.study.recipe.total_epochs}

    def rows(tick: Tick, folder: Path) -> tuple[list[store.Row], Tensor | None]:
        model = bench.model(variant, seed or 0)
        load_weights(trained.weights(folder), model)
        found = measured(bench, model)
        tick()
        if distributed.rank() == 0:
            packed = io.BytesIO()
            np.savez_compressed(packed, allow_pickle=False, **panel(found))
            store.write_bytes(cell.path(folder).with_suffix(".saliency.npz"), packed.getvalue())
        return [bench.row(variant, key, **common, **fact) for fact in facts(found)], None

    def failed(note: str) -> list[store.Row]:
        return [bench.row(variant, key, metric="deletion", value=None, unit="1", note=note, **common)]

    number = min(IMAGES, len(bench.data.test_y))
    cell = Cell(
        f"{trained.name} saliency", key, 1, rows, failed, variant, seed, fraction,
        number * TIMES / 3 / bench.study.recipe.batch_size, trained.key,
    )  # fmt: skip
    return cell


def measured(bench: Bench, model: Any) -> dict[str, Tensor]:
    """By name: images, relevance [n, h, w], chosen and labels [n], curves [n, steps+1], and where there are masks
    coverage and object_area [n]. All on the CPU."""
    found: dict[str, list[Tensor]] = {}
    draw = torch.Generator().manual_seed(0)  # one fixed set of random orders for all variants
    h, w = grid_for(bench.image, bench.study.patch_size)
    for images, labels in bench.shown("test", bench.image, dealt=False, most=IMAGES):
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
    if (objects := masks(bench)) is not None:
        whole["coverage"], whole["object_area"] = coverage(whole["relevance"], objects)
    return whole


def masks(bench: Bench) -> Tensor | None:
    """bool [n, H, W]: where the object is on the images that are shown; None for data that do not say."""
    every = bench.data.test_masks
    if every is None:
        return None
    places = torch.arange(len(every))[:: -(-len(every) // IMAGES)]  # as harness.training.batches.shown takes them
    return F.interpolate(every[places, None].float(), size=bench.image, mode="nearest")[:, 0].bool()


def facts(found: dict[str, Tensor]) -> list[dict[str, Any]]:
    """The scores as means over the images."""
    n = len(found["labels"])
    notes = {
        "deletion": "area under the probability of the chosen class; the most relevant patches go first; low is good",
        "insertion": "the same area while patches come, the most relevant ones first; high is good",
        "random_deletion": f"patches go in {ORDERS} random orders; their insertion has the same expectation",
    }
    facts = [
        {"metric": name, "value": float(area(found[name]).mean()), "unit": "1", "n": n, "note": note}
        for name, note in notes.items()
    ]
    if "coverage" in found:
        words = {"coverage": "relevance that lies on the object", "object_area": "what the object takes of the image"}
        facts += [
            {"metric": name, "value": 100 * float(found[name].mean()), "unit": "%", "n": n, "note": note}
            for name, note in words.items()
        ]
    return facts


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
