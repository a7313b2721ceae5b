"""eager: the plain formula, which defines correctness. It serves every term and every device.

Under autocast the products are in half precision. What the terms change in a score is computed in float32, up to the
softmax: near a bias of 8, bfloat16 has steps of 1/32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from variants import geometry
from variants.recording import recorded
from variants.relation import Terms, total_bias, total_prior

HALF = frozenset({torch.bfloat16, torch.float16})
CHANGING = frozenset({"prior", "bias", "keys", "queries"})  # terms that change a score


def prefix_of(tokens: int, terms: Terms) -> int:
    """P: the number of tokens before the patches, read off and never guessed."""
    h, w = terms.grid
    if tokens < h * w:
        raise ValueError(f"{tokens} tokens are too few for a {h}x{w} grid, which needs {h * w}; pass the grid of x")
    return tokens - h * w


def logits(q: Tensor, k: Tensor, terms: Terms) -> Tensor:
    """[B, H, P+N, P+N]: the scores that softmax sees, -inf where a pair is not kept.

    In float32 at least, but for q and k in half precision without any prior, bias, keys and queries, in theirs.
    """
    p, scale = prefix_of(q.shape[2], terms), q.shape[-1] ** -0.5
    q = q * scale
    scores = q @ k.transpose(-2, -1)
    prior, bias = total_prior(terms), total_bias(terms)
    if terms.present & CHANGING and scores.dtype in HALF:
        scores = scores.float()
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
    mask = terms.mask(scores.device)
    return scores if mask is None else scores.masked_fill(~pad_kept(mask, prefix), -torch.inf)


def contextual(x: Tensor, table: Tensor, grid: geometry.Grid) -> Tensor:
    """<x_i, table_h(Delta_ij)>: x [B, H, N, D], table [H or 1, D, 2h-1 or 1, 2w-1 or 1] -> [B, H, N, N]."""
    h, w = grid
    return met(x, table, grid).expand(*x.shape[:2], h, w, h, w).reshape(*x.shape[:2], h * w, h * w)


def met(x: Tensor, table: Tensor, grid: geometry.Grid) -> Tensor:
    """The same by places, [B, H, h, w, h or 1, w or 1]: of size 1 where the table is."""
    places = x.unflatten(2, grid)
    return torch.einsum("bhyxd,hdyxkl->bhyxkl", places, geometry.windows(table, grid).to(x.dtype))


def weighted_values(weights: Tensor, table: Tensor, grid: geometry.Grid) -> Tensor:
    """sum_j weights_ij table_h(Delta_ij): weights [B, H, N, N] -> [B, H, N, D]."""
    h, w = grid
    pairs = geometry.windows(table, grid).to(weights.dtype)
    places = weights.unflatten(3, (h, w)).unflatten(2, (h, w))
    axes = [axis for axis, size in ((4, pairs.shape[4]), (5, pairs.shape[5])) if size == 1]
    if axes:  # a factorised table: what it does not tell apart is summed first
        places = places.sum(axes, keepdim=True)
    return torch.einsum("bhyxkl,hdyxkl->bhyxd", places, pairs).flatten(2, 3)


def apply(weights: Tensor, v: Tensor, terms: Terms, one_map: bool = False) -> Tensor:
    """sum_j weights_ij (v_j + values_h(Delta_ij)): [B, H, P+N, D], in the precision of v.

    one_map: whether weights are [1, H, P+N, P+N], for all images.
    """
    weights = weights.to(v.dtype)
    if one_map and (recorded() or len(v) > 1):  # one product a head
        out = torch.einsum("hij,bhjd->bhid", weights[0], v)
    else:
        out = weights @ v
    p = prefix_of(v.shape[2], terms)
    for table in terms.values:
        out = out + F.pad(weighted_values(weights[:, :, p:, p:], table, terms.grid), (0, 0, p, 0))
    return out


def attend(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
    """softmax(logits) @ v, q, k, v and the output [B, H, P+N, D]."""
    return apply(logits(q, k, terms).softmax(dim=-1), v, terms)


def _reversed(table: Tensor) -> Tensor:
    """A table over key - query as one over query - key."""
    return table.flip(-2, -1)


def pad_kept(mask: Tensor, prefix: int) -> Tensor:
    """bool [..., N, N] -> [..., P+N, P+N]: a pair with a prefix token in it is kept."""
    return F.pad(mask, (prefix, 0, prefix, 0), value=True) if prefix else mask
