"""How an attention is executed: `eager` defines the numbers, the others reach the same numbers faster.

Every backend is a function (q, k, v, terms) -> out with q, k, v, out of shape [B, H, P+N, D], q and k not yet scaled.
It does all of what it is asked or raises Unsupported with a sentence; nothing falls back silently. A pair with one of
the P prefix tokens in it is neutral: prior 1, bias 0, no keys, kept.

    eager    the plain formula; every term, every device
    sdpa     torch's fused attention; bias, mask and groups as its attn_mask, keys of rows and columns in wider heads
    tiled    tiles of the map in the cache, the map made again in the backward; all but queries and values
    grouped  windows as a batch of small attentions
    flex     torch's FlexAttention; prior, bias, mask and groups inside one compiled kernel
    triton   kernels of our own for CUDA; prior, bias, keys, masks by offset and groups inside, sums in a fixed order
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from variants.backends import eager, flex, grouped, sdpa, separable, tiled, triton
from variants.recording import recorded
from variants.relation import Terms

AttentionFunction = Callable[[Tensor, Tensor, Tensor, Terms], Tensor]


def _windows(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
    def inner(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
        return BACKENDS[choose("auto", q, q.shape, terms)](q, k, v, terms)

    return grouped.attend(q, k, v, terms, inner)


BACKENDS: dict[str, AttentionFunction] = {
    "eager": eager.attend,
    "sdpa": sdpa.attend,
    "tiled": tiled.attend,
    "grouped": _windows,
    "flex": flex.attend,
    "triton": triton.attend,
}

OFFSETS = frozenset({"prior", "bias", "keys", "queries", "values"})
# What `auto` takes: the first on the device's list whose terms include all that a layer has. Measured on the CPU
# (tests/benchmarks); on CUDA no order has been measured yet. There torch's own kernel serves plain attention, and keys
# of rows and columns as wider heads; ours serves what is read by offset, whose dense mask would be of all pairs.
AUTO: dict[str, list[tuple[str, frozenset[str]]]] = {
    "cpu": [
        ("sdpa", frozenset()),
        ("grouped", OFFSETS | {"groups"}),  # where there are groups, and nothing is in their way
        ("eager", OFFSETS | {"kept", "groups"}),  # where the map is small, see below
        ("sdpa", frozenset({"keys"})),  # of rows and of columns; heads twice as wide at most
        ("tiled", frozenset({"prior", "bias", "keys", "kept", "groups"})),
    ],
    "cuda": [
        ("sdpa", frozenset()),
        ("grouped", OFFSETS | {"groups"}),
        ("sdpa", frozenset({"keys"})),
        (
            "triton",
            frozenset({"prior", "bias", "keys", "kept", "groups"}),
        ),  # in half precision: else it spills registers
        ("sdpa", frozenset({"bias", "keys", "kept", "groups"})),
    ],
}
# the scores B H (P+N)^2 up to which the plain formula is the faster one on the CPU: as long as they stay in the cache,
# 4 MiB a tensor; in training it keeps a few such tensors a layer
SMALL = {"training": 2**20, "inference": 2**20}
WIDEST = 256  # of the heads that torch's flash attention takes on CUDA


def serving(terms: Terms, tokens: int) -> list[str]:
    """The backends that can be asked by name for a layer of so many tokens, prefix tokens included.

    flex and triton have limits beside the terms: no float64; on the CPU flex has no gradients, triton an interpreter.
    """
    fused = (("tiled", tiled), ("flex", flex), ("triton", triton))
    refused = {name for name, module in fused if terms.present & module.BEYOND}
    if sdpa.beyond(terms):
        refused.add("sdpa")
    if terms.kept is not None and not triton.by_offset(terms.kept, terms.grid):
        refused.add("triton")
    if grouped.obstacle(terms, tokens):
        refused.add("grouped")
    return [name for name in BACKENDS if name not in refused]


def check(backend: str) -> None:
    """Raises ValueError unless there is such a backend."""
    if backend != "auto" and backend not in BACKENDS:
        raise ValueError(f"there is no backend {backend!r}; choose auto, {', '.join(BACKENDS)}")


def choose(backend: str, like: Tensor, shape: Sequence[int], terms: Terms) -> str:
    """The name behind `auto` for queries of a shape [B, H, P+N, D]; any other name stands for itself.

    like: a tensor of their device and type.
    """
    check(backend)
    if backend != "auto":
        return backend
    images, heads, tokens, width = shape
    device, scores = like.device, images * heads * tokens**2
    most = 2 * width if device.type == "cpu" else WIDEST
    fits = {  # keys are counted, since Dynamo has no `not` of a tuple
        "grouped": not grouped.obstacle(terms, tokens),
        "sdpa": len(terms.keys) == 0 or (separable.separable(terms.keys) and separable.width(width, terms) <= most),
    }
    if recorded():  # for any batch, by operations that every tool knows
        fits["tiled"] = fits["triton"] = False
    else:
        fits["eager"] = scores <= SMALL["training" if torch.is_grad_enabled() else "inference"]
        dtype = _multiplied(like)
        fits["triton"] = (
            device.type == "cuda" and dtype in eager.HALF and not triton.obstacle(terms, device, dtype, width)
        )
    table = AUTO.get(device.type, AUTO["cuda"])
    return next((name for name, serves in table if terms.present <= serves and fits.get(name, True)), "eager")


def _multiplied(like: Tensor) -> torch.dtype:
    """The type of queries that are computed from x: autocast's, where it casts."""
    device = like.device.type
    casts = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if casts and like.dtype != torch.float64 else like.dtype
