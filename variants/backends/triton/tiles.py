"""The sizes of the blocks: how many queries and keys a program works on at once, by kernel and width of a head.

They were chosen so that no program spills registers (harness/kernels.py compiles them ahead of time); on a card they
are to be timed.
"""

from __future__ import annotations

from typing import NamedTuple


class Tile(NamedTuple):
    """Tokens in a block of queries and of keys; warps of a program; stages of its loads."""

    queries: int
    keys: int
    warps: int
    stages: int


KERNELS = ("forward", "backward_queries", "backward_keys", "tables")


def tile(kernel: str, width: int, half: bool) -> Tile:
    """The tile of a kernel for heads of so many numbers; half: in float16 or bfloat16."""
    wide = width > 64
    if not half:
        return Tile(32, 32, 4, 1) if wide else Tile(64, 32, 4, 1)
    return {
        "forward": Tile(128, 64, 8, 2) if wide else Tile(128, 64, 8, 3),
        "backward_queries": Tile(64, 64, 4, 1) if wide else Tile(64, 64, 4, 2),
        "backward_keys": Tile(64, 64, 8, 1) if wide else Tile(64, 64, 4, 2),
        "tables": Tile(64, 64, 8, 1) if wide else Tile(64, 64, 8, 2),
    }[kernel]
