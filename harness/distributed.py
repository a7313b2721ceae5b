"""Several processes that train one model together, as torchrun starts them; one process is the usual case.

A global batch is dealt to the ranks in mirrored pairs: mixup mixes image i with image B-1-i, so both go to one rank,
and every rank mixes what a single process would. Rank 0 alone writes and speaks.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeVar

import timm.layers
import torch
from torch import Tensor, distributed, nn

Thing = TypeVar("Thing")
PATIENCE = timedelta(days=1)  # rank 0 may time for hours; that a rank has died, torchrun sees at once


def world() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


class Ended(RuntimeError):
    """Another process of the job has ended, and so torchrun ends this one."""


@contextlib.contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Joins the processes that torchrun started; nothing where there is one. Raises Ended where torchrun ends it."""
    if asked() == 1:
        yield
        return

    def end(*_: Any) -> None:
        raise Ended("torchrun ends this process")

    signal.signal(signal.SIGTERM, end)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    yield
    distributed.destroy_process_group()  # not after an error, when it would wait for those that are gone


def asked() -> int:
    """How many processes torchrun was asked for: its environment says so, before they have met."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def slot() -> int:
    """The number of this process on its machine, and of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0)) if asked() > 1 else 0


def mine(batch_size: int, ranks: int | None = None) -> Tensor:
    """int64 [batch_size / ranks]: this rank's places in a global batch, the mirror image of each among them.

    Raises ValueError where the batch cannot be dealt so.
    """
    ranks = world() if ranks is None else ranks
    if ranks == 1:
        return torch.arange(batch_size)
    if batch_size % (2 * ranks):
        raise ValueError(f"a batch of {batch_size} cannot be dealt to {ranks} processes in pairs; choose a multiple "
                         f"of {2 * ranks}")  # fmt: skip
    half = batch_size // 2 // ranks
    front = torch.arange(rank() * half, (rank() + 1) * half)
    return torch.cat([front, (batch_size - 1 - front).flip(0)])


def wrapped(model: nn.Module, device: torch.device) -> nn.Module:
    """The model as it is trained: its gradients are averaged over the ranks, and so are its batch norms' moments.

    Raises ValueError for batch norm on CPUs, where torch does not synchronise it.
    """
    if world() == 1:
        return model
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        if device.type != "cuda":
            raise ValueError("the convolutional stem's batch norm is synchronised between GPUs only; use one process, "
                             "or a size without it")  # fmt: skip
        for name, child in model.named_children():
            setattr(model, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
    return nn.parallel.DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def mean(total: Tensor) -> Tensor:
    """The mean of a tensor over the ranks."""
    if world() > 1:
        distributed.all_reduce(total)
        total = total / world()
    return total


def agreed(thing: Thing) -> Thing:
    """Rank 0's word, on every rank."""
    if world() == 1:
        return thing
    said: list[Any] = [thing]
    distributed.broadcast_object_list(said)
    return said[0]


def gathered(thing: Thing) -> list[Thing]:
    """What every rank has, by rank."""
    if world() == 1:
        return [thing]
    every: list[Any] = [None] * world()
    distributed.all_gather_object(every, thing)
    return every


class DropPath(timm.layers.DropPath):
    """timm's stochastic depth, drawn for the global batch: x [B / world, P+N, C] meets its own share of the draws."""

    def forward(self, x: Tensor) -> Tensor:
        if world() == 1 or not self.training or self.drop_prob == 0:
            return super().forward(x)
        whole = len(x) * world()
        kept = super().forward(x.new_ones(whole, *[1] * (x.dim() - 1)))
        return x * kept[mine(whole).to(x.device)]
