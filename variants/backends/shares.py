"""Shares of a batch on threads of their own, a core each.

Where each of many small operations is divided among all threads, these wait for each other after every one of them; if
another program has one of the cores, that takes ten times as long as the work. Here they wait for each other once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from variants.recording import watched

Found = TypeVar("Found")


def shares(x: Tensor) -> list[slice]:
    """The images of x [B, ...], an equal share for each thread of the CPU; one share where there are fewer images.

    One share, too, where something looks at the operations of this thread: it would miss those of the others.
    """
    images, threads = len(x), torch.get_num_threads()
    if x.device.type != "cpu" or images < threads or watched():
        return [slice(0, images)]
    ends = [images * number // threads for number in range(threads + 1)]
    return [slice(first, last) for first, last in pairwise(ends)]


def together(work: Callable[[slice], Found], parts: list[slice]) -> list[Found]:
    """What the work makes of each share, in their order, all at once, without gradients.

    In the meantime torch has one thread; MKL, which multiplies, has one number of threads for the whole process.
    """
    if len(parts) == 1:
        return [work(parts[0])]
    threads, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()

    def alone(part: slice) -> Found:
        torch.set_num_threads(1)
        with torch.inference_mode(inference), torch.no_grad():
            return work(part)

    others: list[Future[Found]] = []
    try:
        torch.set_num_threads(1)
        others += [_pool(len(parts) - 1).submit(alone, part) for part in parts[1:]]
        own = work(parts[0])
    finally:
        wait(others)  # they write into the same tensors
        torch.set_num_threads(threads)
    return [own, *(other.result() for other in others)]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "shares")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of the threads
