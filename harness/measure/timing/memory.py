"""Peak memory of one piece of work: the most bytes that torch's allocator had given out at once.

On CUDA it is the device's own counter, reset before, less what belongs to others. On the CPU it is the running sum of
the allocations and frees that torch's profiler records, on top of what the subject holds to begin with (weights,
optimizer state, batch).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

MIB = 2**20


def peak(metric: str, work: Callable[[], object], held: Iterable[Tensor], device: torch.device) -> dict[str, Any]:
    """The peak of `work()` as a fact, MiB."""
    return {"metric": metric, "value": peak_mib(work, held, device), "unit": "MiB"}


def peak_mib(work: Callable[[], object], held: Iterable[Tensor], device: torch.device) -> float:
    """MiB at the peak of `work()`, what it holds included. `work` has run before, so that nothing is set up in it."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in held}
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        others = torch.cuda.memory_allocated(device) - sum(storages.values())
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - others) / MIB
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    events = recorded.profiler.kineto_results.events()
    moves = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return (sum(storages.values()) + max(accumulate((size for _, size in moves), initial=0))) / MIB
