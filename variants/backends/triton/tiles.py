"""The sizes of the blocks: how many queries and keys a program works on at once, by kernel and width of a head.

In half precision they are the largest tried for which no program spills registers, whatever terms a layer has
(harness/gpu/ahead.py compiles them without a card; results/kernels has the report). In float32, which takes three
products of tensor cores for one, some spill. On a card they are to be timed.
"""

from __future__ import annotations

from typing import NamedTuple


class Tile(NamedTuple):
    """Tokens in a block of queries and of keys; warps of a program; stages of its loads.

    For `contexts`, `queries` counts patches of a row, of queries and of keys alike; `keys` counts vectors of a row of
    offsets.
    """

    queries: int
    keys: int
    warps: int
    stages: int


KERNELS = ("forward", "backward_queries", "backward_keys", "tables", "contexts16", "contexts32", "contexts64")
WIDTHS = (32, 64, 128)  # of a head: up to these
CHUNKS = 4  # of a batch, for the gradients of tables: programs that work on the same entries
INTERPRETED = 0  # the capability of no card
# each without keys, and with them
HOPPER = (
    {
        "forward": (Tile(128, 64, 8, 3), Tile(128, 64, 8, 3), Tile(128, 64, 8, 3)),
        "backward_queries": (Tile(128, 64, 8, 2), Tile(128, 64, 8, 2), Tile(64, 32, 4, 2)),
        "backward_keys": (Tile(64, 64, 8, 2), Tile(64, 64, 8, 2), Tile(32, 32, 8, 2)),
        "tables": (Tile(64, 64, 8, 2), Tile(64, 64, 8, 2), Tile(64, 64, 8, 2)),
    },
    {
        "forward": (Tile(64, 64, 8, 2), Tile(64, 64, 8, 2), Tile(64, 64, 8, 2)),
        "backward_queries": (Tile(64, 64, 8, 2), Tile(64, 64, 8, 2), Tile(32, 64, 8, 2)),
        "backward_keys": (Tile(32, 64, 8, 2), Tile(64, 32, 8, 2), Tile(64, 32, 8, 2)),
        "tables": (Tile(64, 64, 8, 2), Tile(64, 64, 8, 2), Tile(64, 64, 8, 2)),
        "contexts16": (Tile(16, 32, 2, 2), Tile(16, 32, 2, 2), Tile(16, 32, 2, 2)),
        "contexts32": (Tile(32, 64, 4, 2), Tile(32, 64, 8, 2), Tile(16, 32, 2, 2)),
        "contexts64": (Tile(64, 64, 8, 2), Tile(32, 64, 8, 2), Tile(16, 32, 2, 2)),
    },
)
OTHERS = (  # within the shared memory of an RTX card, too
    {
        "forward": (Tile(128, 64, 8, 3), Tile(64, 32, 4, 2), Tile(64, 64, 8, 2)),
        "backward_queries": (Tile(64, 32, 4, 2), Tile(64, 32, 4, 2), Tile(64, 32, 4, 2)),
        "backward_keys": (Tile(32, 32, 4, 2), Tile(32, 32, 4, 1), Tile(32, 32, 8, 2)),
        "tables": (Tile(64, 64, 8, 2), Tile(64, 32, 4, 2), Tile(32, 32, 8, 2)),
    },
    {
        "forward": (Tile(64, 32, 8, 2), Tile(64, 32, 8, 2), Tile(64, 32, 8, 2)),
        "backward_queries": (Tile(64, 32, 8, 2), Tile(64, 32, 8, 2), Tile(64, 32, 8, 2)),
        "backward_keys": (Tile(32, 64, 8, 2), Tile(64, 32, 8, 2), Tile(64, 32, 8, 2)),
        "tables": (Tile(64, 32, 8, 2), Tile(64, 32, 8, 2), Tile(32, 64, 8, 2)),
        "contexts16": (Tile(16, 64, 4, 2), Tile(16, 32, 2, 2), Tile(16, 32, 4, 2)),
        "contexts32": (Tile(32, 64, 4, 2), Tile(32, 64, 8, 2), Tile(16, 32, 4, 2)),
        "contexts64": (Tile(32, 64, 8, 2), Tile(32, 64, 8, 2), Tile(16, 32, 4, 2)),
    },
)
FLOAT32 = (
    {
        "forward": (Tile(32, 32, 8, 1), Tile(32, 32, 8, 1), Tile(16, 16, 4, 1)),
        "backward_queries": (Tile(32, 16, 4, 1), Tile(16, 16, 4, 1), Tile(16, 16, 4, 1)),
        "backward_keys": (Tile(16, 16, 4, 1), Tile(16, 16, 4, 1), Tile(16, 16, 4, 1)),
        "tables": (Tile(32, 32, 8, 1), Tile(32, 32, 8, 1), Tile(32, 16, 4, 1)),
    },
    {
        "forward": (Tile(32, 32, 8, 1), Tile(32, 32, 8, 1), Tile(16, 16, 4, 1)),
        "backward_queries": (Tile(16, 16, 4, 1), Tile(16, 16, 4, 1), Tile(16, 16, 4, 1)),
        "backward_keys": (Tile(16, 16, 4, 1), Tile(16, 16, 4, 1), Tile(16, 16, 4, 1)),
        "tables": (Tile(32, 32, 8, 1), Tile(32, 32, 8, 1), Tile(32, 16, 4, 1)),
        "contexts16": (Tile(16, 32, 4, 1), Tile(16, 32, 4, 1), Tile(16, 32, 4, 1)),
        "contexts32": (Tile(16, 32, 4, 1), Tile(16, 32, 4, 1), Tile(16, 32, 4, 1)),
        "contexts64": (Tile(16, 32, 4, 1), Tile(16, 32, 4, 1), Tile(16, 32, 4, 1)),
    },
)


def tile(kernel: str, width: int, half: bool, capability: int, context: bool = False) -> Tile:
    """The tile of a kernel for heads of so many numbers.

    half: in float16 or bfloat16; capability: 90 for Hopper; context: whether the layer has keys.
    """
    if capability == INTERPRETED:
        return Tile(16, 32, 4, 1) if kernel.startswith("contexts") else Tile(64, 32, 4, 1)
    table = (FLOAT32 if not half else HOPPER if capability == 90 else OTHERS)[context]
    return table[kernel][next(place for place, most in enumerate(WIDTHS) if width <= most)]


def contexts_of(wide: int) -> str:
    """Whose tile `contexts` has on a grid so many patches wide: that for rows of up to 16, up to 32, or more."""
    return "contexts16" if wide <= 16 else "contexts32" if wide <= 32 else "contexts64"
