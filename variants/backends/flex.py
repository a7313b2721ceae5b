"""flex: torch's FlexAttention, compiled: prior and bias are read from their tables inside the fused kernel.

    logit = prior[h, Delta] <q_i, k_j> / sqrt(D) + bias[h, Delta],  Delta = place(j) - place(i) in rows of 2w-1 offsets

so that no N x N tensor exists on a GPU either; windows and masks become blocks that are left out, the patches in the
order that leaves out most (variants/backends/order.py). Source: Dong et al., Flex Attention, arXiv 2412.05496;
torch.nn.attention.flex_attention. The gradients of captured tables are added up with atomics: not deterministic. It
compiles once for each shape, for seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch._dynamo
import torch.nn.functional as F
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed, FailOnRecompileLimitHit
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.utils.weak import WeakTensorKeyDictionary

from variants import geometry
from variants.backends import order
from variants.backends.eager import prefix_of
from variants.relation import Terms, Unsupported, total_bias, total_prior

BEYOND = frozenset({"keys", "queries", "values"})
# Tokens of a block. On CUDA the kernel's own tiles, up to 128 tokens, have to divide it; not timed there, so torch's
# default stays. On the CPU a block is the tile, of any size: 16 was the fastest of 8 to 128, or level with it, for
# masks of 6 to 55 % of the pairs at 14x14 and 32x32.
BLOCK = {"cpu": 16, "cuda": 128}
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
    masked, places = blocks(terms, q, prefix)
    if places is not None:
        q, k, v = (x.index_select(2, places) for x in (q, k, v))
    # past its limit of shapes dynamo would go on uncompiled, with all scores in memory: more shapes, and then an error
    with torch._dynamo.config.patch(recompile_limit=256, fail_on_recompile_limit_hit=True):
        try:
            out = compiled()(q, k, v, score_mod=score_mod(terms, q.device, prefix, places), block_mask=masked)
        except (BackendCompilerFailed, FailOnRecompileLimitHit) as error:
            first = str(error).strip().splitlines()[0]
            raise Unsupported(f"the flex backend could not be compiled: {first}. It may lack a C++ compiler on "
                              f"the CPU, or Triton on a GPU; use backend=auto") from error  # fmt: skip
    return out if places is None else _back(out, places)


@cache
def compiled() -> Callable[..., Tensor]:
    """FlexAttention; uncompiled it would make all scores."""
    return torch.compile(flex_attention, dynamic=False)


def score_mod(terms: Terms, device: torch.device, prefix: int, places: Tensor | None) -> Callable[..., Tensor] | None:
    """(score, image, head, query, key) -> score, with prior and bias read at the offset; None where there are none.

    places [P+N]: where a token comes from, where they are not in their own order.
    """
    tables = (total_prior(terms), total_bias(terms))
    prior, bias = (None if table is None else geometry.flat(table, terms.grid) for table in tables)
    if prior is None and bias is None:
        return None
    place, centre = geometry.places(terms.grid, device, prefix)  # in memory: dividing a token's number costs more
    place = place if places is None else place[places]

    def changed(score: Tensor, image: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        at = place[key] - place[query] + centre
        found = score
        if prior is not None:
            found = found * prior[head if len(prior) > 1 else 0, at]
        if bias is not None:
            found = found + bias[head if len(bias) > 1 else 0, at]
        return found if prefix == 0 else torch.where((query >= prefix) & (key >= prefix), found, score)

    return changed


def blocks(terms: Terms, q: Tensor, prefix: int) -> tuple[BlockMask | None, Tensor | None]:
    """The blocks of pairs that are kept, and the order of the tokens [P+N] that leaves the fewest.

    None for blocks that are all kept, and for tokens that stay where they are.
    """
    if terms.kept is None and terms.groups is None:
        return None, None
    key = terms.groups if terms.kept is None else terms.kept
    sizes = (q.shape[2], q.device, terms.kept is None, None if terms.groups is None else id(terms.groups))
    found = _blocks.setdefault(key, {})
    if sizes not in found:
        with torch.inference_mode(False):  # what is kept here serves a later backward as well
            found[sizes] = _arranged(terms, q.device, prefix)
    return found[sizes]


def _arranged(terms: Terms, device: torch.device, prefix: int) -> tuple[BlockMask, Tensor | None]:
    whole = terms.mask(device)
    assert whole is not None
    block = BLOCK.get(device.type, BLOCK["cuda"])
    patches = order.best(whole, terms.grid, block, prefix)
    # a view of the mask would keep its base alive, and that is the key
    mask = whole.clone() if patches is None else whole[:, patches][:, :, patches]
    mask = F.pad(mask, (prefix, 0, prefix, 0), value=True)

    def kept(image: Tensor, head: Tensor, query: Tensor, token: Tensor) -> Tensor:
        return mask[head if len(mask) > 1 else 0, query, token]

    heads, tokens = None if len(mask) == 1 else len(mask), mask.shape[1]
    masked = create_block_mask(kept, None, heads, tokens, tokens, device=device, BLOCK_SIZE=block)
    if patches is None:
        return masked, None
    return masked, torch.cat([torch.arange(prefix, device=device), patches + prefix])


def _back(out: Tensor, places: Tensor) -> Tensor:
    """[B, H, P+N, D] in the tokens' own order."""
    return out.index_select(2, places.argsort())


def _no_backward(*tensors: Tensor) -> bool:
    """Whether a gradient is asked for where FlexAttention has none."""
    return tensors[0].device.type == "cpu" and torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
