"""What a study's largest step takes in memory, at least: said before any work where the machine has less.

A lower bound, so that nothing is refused that would run: the images of a batch and what a layer makes of their patches,
attention apart. Timings halve their batch where memory is short, so one image counts for them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from harness import distributed
from harness.backbone.sizes import size_of
from harness.jobs.experiment import Experiment, Size
from harness.training.batches import TEST_BATCH

GIB = 2**30
PROCESS = GIB  # torch, its libraries and small images, in a process that trains


@dataclass(frozen=True)
class Step:
    """A step of the study: what it is, on how many images of which size, and the least that it holds, in bytes."""

    what: str
    images: int
    size: Size
    held: int


def check(experiment: Experiment) -> None:
    """Raises ValueError where the largest step takes more than the device has."""
    largest, there = max(steps(experiment), key=lambda step: step.held), capacity(experiment.device)
    if largest.held > there:
        h, w = largest.size
        flags = "--img-size or --batch-size" if largest.size == experiment.image else "--resolutions"
        raise ValueError(f"{largest.what} {largest.images} image{'s' * (largest.images > 1)} of {h}x{w} px takes at "
                         f"least {largest.held / GIB:,.0f} GiB, and this {_name(experiment.device)} has "
                         f"{there / GIB:,.0f}; choose smaller {flags}, or a larger --patch-size")  # fmt: skip


def at_once(experiment: Experiment) -> int:
    """How many processes that train it fit into the memory, each with a step twice as large as the least."""
    return int(capacity(experiment.device) // (PROCESS + 2 * max(step.held for step in steps(experiment))))


def steps(experiment: Experiment) -> list[Step]:
    """A test at each resolution, and a training step where the study trains."""
    trains = "accuracy" in experiment.study.measure
    test = experiment.data.test_x
    batch = min(len(test), TEST_BATCH if isinstance(test, Tensor) else TEST_BATCH // 4) if trains else 1
    found = [Step("testing", batch, size, batch * held(experiment, size)) for size in experiment.resolutions]
    if trains:
        own = experiment.study.recipe.batch_size // distributed.asked()
        layers = size_of(experiment.study.size).depth
        trained = experiment.resolutions if experiment.study.finetune_epochs else [experiment.image]
        found += [Step("training on", own, size, own * held(experiment, size, layers)) for size in trained]
    return found


def held(experiment: Experiment, size: Size, layers: int = 1) -> int:
    """Bytes that one image takes: its pixels, and in each layer the tokens, their queries, keys and values."""
    study = experiment.study
    tokens = prod(side // study.patch_size for side in size)
    number = torch.finfo(getattr(torch, study.precision)).bits // 8
    return 4 * experiment.data.channels * prod(size) + layers * 4 * tokens * size_of(study.size).width * number


def capacity(device: torch.device) -> int:
    """Bytes of memory that the device has in all."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _name(device: torch.device) -> str:
    return "GPU" if device.type == "cuda" else "machine"
