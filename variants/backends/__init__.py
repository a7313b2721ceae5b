"""How an attention is executed: `eager` defines the numbers, the others reach the same numbers faster.

Every backend is a function (q, k, v, terms) -> out with q, k, v, out of shape [B, H, P+N, D], q and k not yet scaled.
It does all of what it is asked or raises Unsupported with a sentence; nothing falls back silently. A pair with one of
the P prefix tokens in it is neutral: prior 1, bias 0, no keys, kept.

    eager    the plain formula; every term, every device
    sdpa     torch's fused attention; bias, mask and groups as its attn_mask
    tiled    tiles of the map in the cache, the map made again in the backward; all but queries and values
    grouped  windows as a batch of small attentions
    flex     torch's FlexAttention; prior, bias, mask and groups inside one compiled kernel
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from variants.backends import eager, flex, grouped, sdpa, tiled
from variants.recording import recorded
from variants.relation import Terms

AttentionFunction = Callable[[Tensor, Tensor, Tensor, Terms], Tensor]


def _windows(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
    def inner(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
        return BACKENDS[choose("auto", q.device, q.shape[:3], terms)](q, k, v, terms)

    return grouped.attend(q, k, v, terms, inner)


BACKENDS: dict[str, AttentionFunction] = {
    "eager": eager.attend,
    "sdpa": sdpa.attend,
    "tiled": tiled.attend,
    "grouped": _windows,
    "flex": flex.attend,
}

OFFSETS = frozenset({"prior", "bias", "keys", "queries", "values"})
# What `auto` takes: the first on the device's list whose terms include all that a layer has. Measured on the CPU
# (tests/benchmarks); on CUDA torch's own kernel comes first wherever it serves, and no order has been measured yet.
AUTO: dict[str, dict[str, frozenset[str]]] = {
    "cpu": {
        "sdpa": frozenset(),
        "grouped": OFFSETS | {"groups"},  # where there are groups, and nothing is in their way
        "eager": OFFSETS | {"kept", "groups"},  # where the map is small, see below
        "tiled": frozenset({"prior", "bias", "keys", "kept", "groups"}),
    },
    "cuda": {
        "grouped": OFFSETS | {"groups"},
        "sdpa": frozenset({"bias", "kept", "groups"}),
    },
}
# the scores B H (P+N)^2 up to which the plain formula is the faster one on the CPU: in training it keeps them, so only
# where this is next to nothing (0.5 MiB a tensor), in inference as long as they stay in the cache
SMALL = {"training": 2**17, "inference": 2**20}


def serving(terms: Terms, tokens: int) -> list[str]:
    """The backends that can be asked by name for a layer of so many tokens, prefix tokens included.

    flex has limits beside the terms: no float64, no gradients on the CPU.
    """
    refused = {
        name for name, module in (("sdpa", sdpa), ("tiled", tiled), ("flex", flex)) if terms.present & module.BEYOND
    }
    if grouped.obstacle(terms, tokens):
        refused.add("grouped")
    return [name for name in BACKENDS if name not in refused]


def check(backend: str) -> None:
    """Raises ValueError unless there is such a backend."""
    if backend != "auto" and backend not in BACKENDS:
        raise ValueError(f"there is no backend {backend!r}; choose auto, {', '.join(BACKENDS)}")


def choose(backend: str, device: torch.device, shape: Sequence[int], terms: Terms) -> str:
    """The name behind `auto` for maps of (images, heads, tokens); any other name stands for itself."""
    check(backend)
    if backend != "auto":
        return backend
    images, heads, tokens = shape
    fits = {"grouped": not grouped.obstacle(terms, tokens)}
    if recorded():  # for any batch, by operations that every tool knows
        fits["tiled"] = False
    else:
        fits["eager"] = images * heads * tokens**2 <= SMALL["training" if torch.is_grad_enabled() else "inference"]
    table = AUTO.get(device.type, AUTO["cuda"])
    return next((name for name, serves in table.items() if terms.present <= serves and fits.get(name, True)), "eager")
