"""How an attention is executed: `eager` defines the numbers, the others reach the same numbers faster.

Every backend is a function (q, k, v, terms) -> out with q, k, v, out of shape [B, H, P+N, D], q and k not yet scaled.
It does all of what it is asked or raises Unsupported with a sentence; nothing falls back silently. A pair with one of
the P prefix tokens in it is neutral: prior 1, bias 0, no keys, kept.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from variants import geometry
from variants.relation import Terms, Unsupported, total_bias, total_prior

AttentionFunction = Callable[[Tensor, Tensor, Tensor, Terms], Tensor]


def prefix_of(tokens: int, terms: Terms) -> int:
    """P: the number of tokens before the patches, read off and never guessed."""
    h, w = terms.grid
    if tokens < h * w:
        raise ValueError(f"{tokens} tokens are too few for a {h}x{w} grid, which needs {h * w}; pass the grid of x")
    return tokens - h * w


def logits(q: Tensor, k: Tensor, terms: Terms) -> Tensor:
    """[B, H, P+N, P+N]: the scores that softmax sees, -inf where a pair is not kept."""
    p, scale = prefix_of(q.shape[2], terms), q.shape[-1] ** -0.5
    q = q * scale
    scores = q @ k.transpose(-2, -1)
    prior, bias = total_prior(terms), total_bias(terms)
    if prior is not None:
        pairs = geometry.pad_prefix(geometry.to_pairs(prior, terms.grid), p, neutral=1.0)
        scores = scores * pairs.to(scores.dtype)
    added = [] if bias is None else [geometry.to_pairs(bias, terms.grid).to(scores.dtype)]
    added += [contextual(q[:, :, p:], table, terms.grid) for table in terms.keys]
    added += [contextual(k[:, :, p:] * scale, _reversed(table), terms.grid).mT for table in terms.queries]
    if added:
        scores = scores + geometry.pad_prefix(sum(added[1:], start=added[0]), p, neutral=0.0)
    return keep(scores, terms, p)


def keep(scores: Tensor, terms: Terms, prefix: int) -> Tensor:
    """Scores [..., H, P+N, P+N] with -inf where a pair is not kept."""
    mask = terms.mask()
    return scores if mask is None else scores.masked_fill(~_pad_kept(mask, prefix), -torch.inf)


def contextual(x: Tensor, table: Tensor, grid: geometry.Grid) -> Tensor:
    """<x_i, table_h(Delta_ij)>: x [B, H, N, D], table [H or 1, D, 2h-1 or 1, 2w-1 or 1] -> [B, H, N, N]."""
    h, w = grid
    places = x.unflatten(2, (h, w))
    met = torch.einsum("bhyxd,hdyxkl->bhyxkl", places, geometry.windows(table, grid).to(x.dtype))
    return met.expand(*x.shape[:2], h, w, h, w).reshape(*x.shape[:2], h * w, h * w)


def weighted_values(weights: Tensor, table: Tensor, grid: geometry.Grid) -> Tensor:
    """sum_j weights_ij table_h(Delta_ij): weights [B, H, N, N] -> [B, H, N, D]."""
    h, w = grid
    pairs = geometry.windows(table, grid).to(weights.dtype)
    places = weights.unflatten(3, (h, w)).unflatten(2, (h, w))
    axes = [axis for axis, size in ((4, pairs.shape[4]), (5, pairs.shape[5])) if size == 1]
    if axes:  # a factorised table: what it does not tell apart is summed first
        places = places.sum(axes, keepdim=True)
    return torch.einsum("bhyxkl,hdyxkl->bhyxd", places, pairs).flatten(2, 3)


def apply(weights: Tensor, v: Tensor, terms: Terms) -> Tensor:
    """sum_j weights_ij (v_j + values_h(Delta_ij)): [B, H, P+N, D]."""
    out = weights @ v
    p = prefix_of(v.shape[2], terms)
    for table in terms.values:
        out = out + F.pad(weighted_values(weights[:, :, p:, p:], table, terms.grid), (0, 0, p, 0))
    return out


def eager(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
    """The plain formula. It serves every term and every device, and defines correctness."""
    return apply(logits(q, k, terms).softmax(dim=-1), v, terms)


def sdpa(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
    """torch's fused scaled_dot_product_attention, with the bias and the mask as its attn_mask."""
    beyond = sorted(terms.present & {"prior", "keys", "queries", "values"})
    if beyond:
        raise Unsupported(f"the sdpa backend adds to the scores and cannot serve {', '.join(beyond)}; "
                          f"use backend=eager or auto")  # fmt: skip
    p, bias, mask = prefix_of(q.shape[2], terms), total_bias(terms), terms.mask()
    added = None if mask is None else _pad_kept(mask, p)
    if bias is not None:
        pairs = geometry.pad_prefix(geometry.to_pairs(bias, terms.grid).to(q.dtype), p, neutral=0.0)
        added = keep(pairs, terms, p)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=None if added is None else added[None])


BACKENDS: dict[str, AttentionFunction] = {"eager": eager, "sdpa": sdpa}


def check(backend: str) -> None:
    """Raises ValueError unless there is such a backend."""
    if backend != "auto" and backend not in BACKENDS:
        raise ValueError(f"there is no backend {backend!r}; choose auto, {', '.join(BACKENDS)}")


def choose(backend: str, device: torch.device, present: frozenset[str]) -> str:
    """The name behind `auto`, by device and terms; any other name stands for itself."""
    check(backend)
    if backend != "auto":
        return backend
    return "sdpa" if present <= {"bias", "kept", "groups"} else "eager"


def _reversed(table: Tensor) -> Tensor:
    """A table over key - query as one over query - key."""
    return table.flip(-2, -1)


def _pad_kept(mask: Tensor, prefix: int) -> Tensor:
    return F.pad(mask, (prefix, 0, prefix, 0), value=True) if prefix else mask
