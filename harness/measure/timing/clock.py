"""Seconds that a piece of work takes, by the clock that sees the device: the host's, or events in a GPU's stream."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

Work = Callable[[], object]


def seconds(work: Work, repeats: int, device: torch.device) -> float:
    """Seconds a call, over `repeats` calls in a row; what the device was given before is waited for first."""
    return _in_stream(work, repeats, device) if device.type == "cuda" else _on_host(work, repeats)


def _on_host(work: Work, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats


def _in_stream(work: Work, repeats: int, device: torch.device) -> float:
    """Between two events in the stream: gaps in which the device waits for the host count, the host's own wait not."""
    torch.cuda.synchronize(device)
    stream = torch.cuda.current_stream(device)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record(stream)
    for _ in range(repeats):
        work()
    end.record(stream)
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / repeats
