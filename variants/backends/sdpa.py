"""sdpa: torch's fused scaled_dot_product_attention, with the bias and the mask as its attn_mask.

Keys of rows and of columns make heads wider, see variants/backends/separable.py.

In half precision torch's CPU kernels take a bias in float32, which they add in float32. CUDA's want it in the precision
of the queries: there each head's bias is shifted by its largest value, which softmax does not see, so that rounding is
finest where the attention is.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend

from variants import geometry
from variants.backends import separable
from variants.backends.eager import HALF, keep, pad_kept, prefix_of
from variants.relation import Terms, Unsupported, total_bias

BEYOND = frozenset({"prior", "queries", "values"})
TOGETHER = "keys of row and column together"


def beyond(terms: Terms) -> list[str]:
    """The terms that are more than an addition to the scores, and keys of pairs of a row and a column."""
    unserved = terms.present & BEYOND
    return sorted(unserved if separable.separable(terms.keys) else unserved | {TOGETHER})


def attend(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
    """[B, H, P+N, D]. Raises Unsupported for what `beyond` names."""
    unserved = beyond(terms)
    if unserved:
        raise Unsupported(f"the sdpa backend adds to the scores and cannot serve {', '.join(unserved)}; "
                          f"use backend=eager or auto")  # fmt: skip
    width = q.shape[-1]
    q, k, v, added, autocasts = _operands(q, k, v, terms)
    device = q.device.type
    with nullcontext() if autocasts else torch.autocast(device, enabled=False):
        if len(terms.keys):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=width**-0.5)[..., :width]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=added)
        if torch.compiler.is_exporting() and added is not None and added.requires_grad:
            # else torch.onnx.export cannot view the merged heads (findings/onnx_wants_no_grad_for_some_biases.sh)
            mixed = mixed.clone(memory_format=torch.contiguous_format)
        return mixed


def kernel(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> str:
    """The kernel that torch chooses for `attend`: flash, efficient or cudnn, which are fused, or math, which is not.

    It depends on whether gradients are enabled: on the CPU a bias that needs one is served by math alone.
    """
    q, k, v, added, _ = _operands(q, k, v, terms)
    chosen = SDPBackend(torch._fused_sdp_choice(q, k, v, added))
    return chosen.name.lower().removesuffix("_attention")


def _operands(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> tuple[Tensor, Tensor, Tensor, Tensor | None, bool]:
    """q, k, v, attn_mask [1, H or 1, P+N, P+N], and whether the call may be made under autocast as it is."""
    p, bias, mask = prefix_of(q.shape[2], terms), total_bias(terms), terms.mask(q.device)
    if len(terms.keys):
        q, k, v = separable.widened(q, k, v, terms)
    if bias is None:
        return q, k, v, None if mask is None else pad_kept(mask, p)[None], True
    pairs = geometry.pad_prefix(geometry.to_pairs(bias, terms.grid), p, neutral=0.0)
    device = q.device.type
    casts = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device) and q.dtype != torch.float64
    dtype = torch.get_autocast_dtype(device) if casts else q.dtype
    if dtype not in HALF:
        return q, k, v, keep(pairs.to(dtype), terms, p)[None], True
    if device != "cpu":
        return q, k, v, keep(shifted(pairs).to(dtype), terms, p)[None], True
    q, k, v = (x.to(dtype) for x in (q, k, v))  # autocast would round the bias as well
    return q, k, v, keep(pairs.float(), terms, p)[None], not casts


def shifted(pairs: Tensor) -> Tensor:
    """A bias [H or 1, P+N, P+N] less the largest of each head: for softmax the same, prefix tokens included."""
    return pairs - pairs.detach().amax((-2, -1), keepdim=True)
