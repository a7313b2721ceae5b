"""What a launch of a kernel hands over: pointers, strides, sizes, and the constants that it is compiled for."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from variants.backends.triton.layout import Layout
from variants.backends.triton.tiles import INTERPRETED, Tile, tile

HALF = frozenset({torch.float16, torch.bfloat16})
COMPILED = {"enable_fp_fusion": True}  # a product and a sum are one instruction; from Triton 3.10 on not unless said


class Run:
    """What every launch of a kernel hands over in the same way."""

    def __init__(
        self, kernel: str, q: Tensor, prior: Tensor | None, bias: Tensor | None, context: Tensor | None, at: Layout
    ):
        self.at, self.q = at, q
        self.tile: Tile = tile(kernel, q.shape[3], q.dtype in HALF, capability(q.device), context is not None)
        self.nothing = q.new_empty(0, dtype=torch.int32)  # for a pointer that is not read
        self.tables = [self.nothing if x is None else x for x in (prior, bias, context)]
        self.groups = self.nothing if at.groups is None else at.groups
        self.table_strides = tuple(head_stride(x) for x in (*self.tables, self.groups))
        width = q.shape[3]
        self.sizes = (q.shape[1], q.shape[2], at.prefix, at.centre, at.entries, width, width**-0.5)
        self.constants: dict[str, Any] = {
            "WIDTH": width_of_block(width), "QUERIES": self.tile.queries, "KEYS": self.tile.keys,
            "PRIOR": prior is not None, "BIAS": bias is not None, "CONTEXT": context is not None,
            "GROUPS": at.groups is not None, **numbers(q.dtype),
            "num_warps": self.tile.warps, "num_stages": self.tile.stages, **COMPILED,
        }  # fmt: skip

    def grid(self, block: int) -> tuple[int]:
        return (-(-self.q.shape[2] // block) * self.q.shape[0] * self.q.shape[1],)

    def lists(self, turned: bool = False) -> tuple[Tensor, Tensor]:
        found = self.at.blocks(self.tile.queries, self.tile.keys, turned)
        if found.lists is None or found.counts is None:
            return self.nothing, self.nothing
        return found.lists, found.counts

    def head_strides(self, lists: Tensor, counts: Tensor) -> tuple[int, ...]:
        return *self.table_strides, head_stride(lists), head_stride(counts)


@cache
def capability(device: torch.device) -> int:
    """90 of a H100, 80 of an A100."""
    if device.type != "cuda":
        return INTERPRETED
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def width_of_block(width: int) -> int:
    """The power of two, 16 at least, that a head of so many numbers fills or does not fill."""
    return max(16, 1 << (width - 1).bit_length())


def numbers(dtype: torch.dtype) -> dict[str, Any]:
    """DOT and PRECISION: the type in which blocks are multiplied, and how float32 is."""
    import triton.language as tl
    from triton import knobs

    exact = "tf32x3"
    if dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32":
        exact = "tf32"
    types = {torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}
    if knobs.runtime.interpret:  # it multiplies bfloat16 as integers
        types[torch.bfloat16] = tl.float32
    return {"DOT": types.get(dtype, tl.float32), "PRECISION": exact}


def strides(*tensors: Tensor) -> list[int]:
    return [stride for x in tensors for stride in x.stride()[:3]]


def head_stride(x: Tensor | None) -> int:
    """Of what is [heads or 1, ..]; one that all heads have begins at the same place."""
    return 0 if x is None or x.dim() < 2 or len(x) == 1 else x.stride(0)
