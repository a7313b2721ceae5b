"""flex: torch's FlexAttention, compiled: prior and bias are read from their tables inside the fused kernel.

    logit = prior[h, Delta] <q_i, k_j> / sqrt(D) + bias[h, Delta],  Delta = place(j) - place(i) in rows of 2w-1 offsets

so that no N x N tensor exists on a GPU either; windows and masks become blocks that are left out. Source: Dong et al.,
Flex Attention, arXiv 2412.05496; torch.nn.attention.flex_attention. The gradients of captured tables are added up with
atomics: not deterministic. It compiles once for each shape, for seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch._dynamo
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed, FailOnRecompileLimitHit
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.utils.weak import WeakTensorKeyDictionary

from variants.backends.eager import prefix_of
from variants.relation import Terms, Unsupported, total_bias, total_prior

BEYOND = frozenset({"keys", "queries", "values"})
_blocks: Any = WeakTensorKeyDictionary()  # of a mask, which lives as long as its layer remembers it


def attend(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
    """[B, H, P+N, D]. Raises Unsupported for keys, queries and values, for float64, and for gradients on the CPU."""
    beyond = sorted(terms.present & BEYOND)
    if beyond:
        raise Unsupported(f"the flex backend cannot serve {', '.join(beyond)}; use backend=eager or auto")
    if q.dtype == torch.float64:
        raise Unsupported("the flex backend has no float64; use backend=eager")
    if _no_backward(q, k, v, *terms.prior, *terms.bias):
        raise Unsupported("FlexAttention has no backward on the CPU; use backend=tiled or auto")
    prefix = prefix_of(q.shape[2], terms)
    masked = block_mask(terms, q, prefix)
    # past its limit of shapes dynamo would go on uncompiled, with all scores in memory: more shapes, and then an error
    with torch._dynamo.config.patch(recompile_limit=256, fail_on_recompile_limit_hit=True):
        try:
            return compiled()(q, k, v, score_mod=score_mod(terms, prefix), block_mask=masked)
        except (BackendCompilerFailed, FailOnRecompileLimitHit) as error:
            first = str(error).strip().splitlines()[0]
            raise Unsupported(f"the flex backend could not be compiled: {first}. It needs a C++ compiler on the CPU "
                              f"and Triton on a GPU; use backend=auto") from error  # fmt: skip


@cache
def compiled() -> Callable[..., Tensor]:
    """FlexAttention; uncompiled it would make all scores."""
    return torch.compile(flex_attention, dynamic=False)


def score_mod(terms: Terms, prefix: int) -> Callable[..., Tensor] | None:
    """(score, image, head, query, key) -> score, with prior and bias read at the offset; None where there are none."""
    h, w = terms.grid
    prior, bias = (_spread(table, terms) for table in (total_prior(terms), total_bias(terms)))
    if prior is None and bias is None:
        return None
    centre = (h - 1) * (2 * w - 1) + w - 1

    def place(token: Tensor) -> Tensor:
        patch = (token - prefix).clamp(min=0)
        return patch // w * (2 * w - 1) + patch % w

    def changed(score: Tensor, image: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        at = place(key) - place(query) + centre
        found = score
        if prior is not None:
            found = found * prior[head if len(prior) > 1 else 0, at]
        if bias is not None:
            found = found + bias[head if len(bias) > 1 else 0, at]
        return found if prefix == 0 else torch.where((query >= prefix) & (key >= prefix), found, score)

    return changed


def block_mask(terms: Terms, q: Tensor, prefix: int) -> BlockMask | None:
    """The blocks of pairs that are kept; None where all are."""
    if terms.kept is None and terms.groups is None:
        return None
    key = terms.groups if terms.kept is None else terms.kept
    sizes = (q.shape[2], q.device, terms.kept is None, None if terms.groups is None else id(terms.groups))
    found = _blocks.setdefault(key, {})
    if sizes not in found:
        whole = terms.mask(q.device)
        assert whole is not None
        mask = whole.clone()  # a view would keep its base alive, and that is the key

        def kept(image: Tensor, head: Tensor, query: Tensor, token: Tensor) -> Tensor:
            of_head = mask[head if len(mask) > 1 else 0]
            inside = of_head[(query - prefix).clamp(min=0), (token - prefix).clamp(min=0)]
            return inside | (query < prefix) | (token < prefix)

        heads = None if len(mask) == 1 else len(mask)
        found[sizes] = create_block_mask(kept, None, heads, q.shape[2], q.shape[2], device=q.device)
    return found[sizes]


def _no_backward(*tensors: Tensor) -> bool:
    """Whether a gradient is asked for where FlexAttention has none."""
    return tensors[0].device.type == "cpu" and torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def _spread(table: Tensor | None, terms: Terms) -> Tensor | None:
    """[H or 1, 2h-1 or 1, 2w-1 or 1] -> [H or 1, (2h-1)(2w-1)]"""
    if table is None:
        return None
    h, w = terms.grid
    return table.expand(-1, 2 * h - 1, 2 * w - 1).flatten(1)
