"""sdpa: torch's fused scaled_dot_product_attention, with the bias and the mask as its attn_mask."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from variants import geometry
from variants.backends.eager import keep, pad_kept, prefix_of
from variants.relation import Terms, Unsupported, total_bias

BEYOND = frozenset({"prior", "keys", "queries", "values"})


def attend(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
    """[B, H, P+N, D]. Raises Unsupported for what is more than an addition to the scores."""
    beyond = sorted(terms.present & BEYOND)
    if beyond:
        raise Unsupported(f"the sdpa backend adds to the scores and cannot serve {', '.join(beyond)}; "
                          f"use backend=eager or auto")  # fmt: skip
    p, bias, mask = prefix_of(q.shape[2], terms), total_bias(terms), terms.mask(q.device)
    added = None if mask is None else pad_kept(mask, p)
    if bias is not None:
        pairs = geometry.pad_prefix(geometry.to_pairs(bias, terms.grid).to(q.dtype), p, neutral=0.0)
        added = keep(pairs, terms, p)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=None if added is None else added[None])
