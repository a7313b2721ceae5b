"""The batch that fits: one size for all subjects, halved for all of them where one runs out of memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

Found = TypeVar("Found")


def halved(attempt: Callable[[int], Found], batch_size: int) -> tuple[Found | None, int]:
    """What `attempt(batch_size)` gives, and the batch size at which it did; (None, 1) where one image is too many.

    An attempt that runs out of memory is made anew with half of the batch. Any other error is the caller's.
    """
    while True:
        try:
            return attempt(batch_size), batch_size
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        release()  # not in the handler, where the error holds the frames, and these the tensors, of what failed
        if batch_size == 1:
            return None, 1
        batch_size //= 2


def unless_hopeless(attempt: Callable[[int], Found], batch_size: int) -> Found | None:
    """What `attempt(batch_size)` gives; None where one image is too many. Where fewer would fit, the error goes on."""
    try:
        return attempt(batch_size)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        without_frames = error.with_traceback(None)
    release()
    if batch_size > 1 and halved(attempt, 1)[0] is not None:
        raise without_frames
    return None


def release() -> None:
    """Gives back what nobody holds any more."""
    gc.collect()
    torch.cuda.empty_cache()


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocator gave up: a GPU's has an error of its own, the CPU's says it in words.

    Linux may end a process that takes too much memory instead; that leaves no error to see.
    """
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
