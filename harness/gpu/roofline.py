"""What a kernel can do at best on a card, by formula: products, bytes, and the time that the larger of both takes.

A prediction, to which a measurement is held later. The roofline counts each operand once from memory and tensor cores
at their peak; reading tables by offset goes through the first-level cache, and is not in it.
Source: Williams et al., Roofline, doi 10.1145/1498765.1498785; NVIDIA's data sheets of the cards.
"""

from __future__ import annotations

from dataclasses import dataclass

from variants import geometry
from variants.backends.triton.tiles import CHUNKS, Tile, contexts_of, tile


@dataclass(frozen=True)
class Card:
    """Dense products in half precision, FLOP/s; memory, bytes/s; bytes of shared memory of a multiprocessor."""

    flops: float
    memory: float
    shared: int


CARDS = {
    "A100": Card(312e12, 2.04e12, 164 * 1024),
    "H100": Card(989e12, 3.35e12, 228 * 1024),
    "H200": Card(989e12, 4.8e12, 228 * 1024),
}
CAPABILITY = {"A100": 80, "H100": 90, "H200": 90}
REGISTERS, THREADS, WARP = 65536, 2048, 32  # of a multiprocessor, of all three cards
# Products over all pairs, and tensors of tokens that are read or written once. `plain` is flash attention, whose
# backward is one kernel; ours makes the map again for each of its three.
PRODUCTS = {"forward": 2, "backward_queries": 3, "backward_keys": 4, "tables": 2, "plain backward": 5}
TENSORS = {"forward": 4, "backward_queries": 6, "backward_keys": 6, "tables": 4, "plain backward": 8}
OURS = {"forward": ("forward",), "training": ("forward", "backward_queries", "backward_keys", "tables")}
# With keys, whose gradient has a kernel of its own; and how often queries meet vectors in each kernel.
WITH_KEYS = {"forward": ("forward",), "training": ("forward", "backward_queries", "backward_keys", "contexts")}
VECTORS = {"forward": 1, "backward_queries": 2, "backward_keys": 1}
PLAIN = {"forward": ("forward",), "training": ("forward", "plain backward")}


@dataclass(frozen=True)
class Layer:
    """A layer's shape: images, heads, grid, numbers of a head; in half precision."""

    images: int
    heads: int
    grid: tuple[int, int]
    width: int = 64

    @property
    def tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def entries(self) -> int:
        return (2 * self.grid[0] - 1) * (2 * self.grid[1] - 1)


def flops(kernel: str, layer: Layer) -> int:
    return 2 * PRODUCTS[kernel] * layer.images * layer.heads * layer.tokens**2 * layer.width


def moved(kernel: str, layer: Layer, tables: bool) -> int:
    """Bytes from and to memory: tensors of tokens in half precision, sums of softmax and tables in float32."""
    tokens = layer.images * layer.heads * layer.tokens
    return 2 * TENSORS[kernel] * tokens * layer.width + 4 * tokens + (4 * layer.heads * layer.entries if tables else 0)


def products_with_keys(kernel: str, layer: Layer, capability: int) -> float:
    """The work of a kernel of a layer with keys, as so many products over all pairs.

    Queries meet whole runs of vectors. A run is as long as a block of keys. The offsets between two blocks are as many
    as the places that both span, with the gaps between rows. What a block lacks to be full is counted in `contexts`
    alone, whose blocks are rows.
    """
    if kernel == "contexts":
        of_row = tile(contexts_of(layer.grid[1]), layer.width, True, capability, True)
        return layer.grid[0] ** 2 * _of_rows(layer.grid[1], of_row) / layer.tokens**2
    of_kernel = tile(kernel, layer.width, True, capability, True)
    place, _ = geometry.places(layer.grid)
    far_q, far_k = (
        [int(block[-1] - block[0]) for block in place.split(size)] for size in (of_kernel.queries, of_kernel.keys)
    )
    runs = sum(-(-(one + other + 1) // of_kernel.keys) for one in far_q for other in far_k)
    made = runs * of_kernel.queries * of_kernel.keys / layer.tokens**2
    return PRODUCTS[kernel] + VECTORS[kernel] * made


def _of_rows(wide: int, of_row: Tile) -> int:
    """Multiply-adds of `contexts` for one row of queries and one of keys, over the width of a head.

    Its own loops: the map and the gradient, vectors for the map, and the gradient of a run of vectors.
    """
    block, total = of_row.queries, 0
    for run in range(-(-(2 * wide - 1) // of_row.keys)):
        least = run * of_row.keys - (wide - 1)
        for first in range(0, wide, block):
            nearest = max(first + least, 0) // block
            furthest = min(first + block - 1 + least + of_row.keys - 1, wide - 1) // block
            for other in range(nearest, furthest + 1):
                far = min(block, wide - first) + min(block, wide - other * block) - 2
                vectors = -(-(far + 1) // of_row.keys) * of_row.keys
                total += 2 * block * block + block * vectors + block * of_row.keys
    return total


def seconds_with_keys(kernel: str, layer: Layer, card: Card, capability: int) -> float:
    """Vectors are read once, in half precision. Their gradients are written once a chunk of images, and read again."""
    products = products_with_keys(kernel, layer, capability)
    vectors = layer.heads * layer.entries * layer.width
    tokens = "tables" if kernel == "contexts" else kernel  # which reads the same tensors
    copies = min(CHUNKS, layer.images) if kernel == "contexts" else 0
    bytes_moved = moved(tokens, layer, False) + 2 * vectors + 2 * 4 * copies * vectors
    return max(products * flops("forward", layer) / PRODUCTS["forward"] / card.flops, bytes_moved / card.memory)


def ratio_with_keys(phase: str, layer: Layer, name: str) -> float:
    """The time with keys over that of plain flash attention on a card of CARDS."""
    card = CARDS[name]
    ours = sum(seconds_with_keys(kernel, layer, card, CAPABILITY[name]) for kernel in WITH_KEYS[phase])
    return ours / sum(seconds(kernel, layer, card, tables=False) for kernel in PLAIN[phase])


def seconds(kernel: str, layer: Layer, card: Card, tables: bool) -> float:
    return max(flops(kernel, layer) / card.flops, moved(kernel, layer, tables) / card.memory)


def ratio(phase: str, layer: Layer, card: Card) -> float:
    """The time of a learned prior's kernels over that of plain flash attention: forward, or a step of training."""
    ours = sum(seconds(kernel, layer, card, tables=True) for kernel in OURS[phase])
    return ours / sum(seconds(kernel, layer, card, tables=False) for kernel in PLAIN[phase])


def programs(registers: int, shared: int, tile: Tile, card: Card) -> int:
    """How many programs a multiprocessor holds at once, by registers, shared memory and threads."""
    threads = WARP * tile.warps
    by_registers = REGISTERS // (-(-registers // 8) * 8 * threads)
    by_shared = card.shared // (shared + 1024) if shared else THREADS
    return min(by_registers, by_shared, THREADS // threads)


def occupancy(registers: int, shared: int, tile: Tile, card: Card) -> float:
    """The share of a multiprocessor's threads that are in use."""
    return programs(registers, shared, tile, card) * WARP * tile.warps / THREADS
