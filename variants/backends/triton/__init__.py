"""triton: flash attention with tables that are read by offset, forward and backward, in Triton kernels.

    logit = prior_h(Delta) <q_i, k_j> / sqrt(D) + bias_h(Delta) + <q_i, keys_h(Delta)> / sqrt(D)

Nothing of B x H x N x N is made, neither forward nor backward. Masks by offset are a bias of -inf, windows are groups;
pairs of blocks that are wholly masked are left out. All gradients are sums in a fixed order, those of the tables too:
two runs give the same bits. It has no second derivative.

On CUDA, in float32, float16 and bfloat16. Without a GPU Triton's interpreter runs the same kernels, slowly, where
TRITON_INTERPRET=1 was in the environment from the start. Method: Dao, FlashAttention-2, arXiv 2307.08691.

    blocks     what the kernels share
    kernels    what runs on the card: forward, and the gradients of q, k and v
    gradients  and those of the tables
    tiles      the sizes of their blocks
    layout     places, groups, and which blocks meet, by grid and mask
    launch     what each launch hands over
    operator   the operators of torch that launch them
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.weak import WeakTensorKeyDictionary

from variants import geometry
from variants.backends.eager import prefix_of
from variants.geometry import Grid
from variants.recording import real_numbers
from variants.relation import Terms, Unsupported, total_bias, total_keys, total_prior

BEYOND = frozenset({"queries", "values"})
INSTALLED = importlib.util.find_spec("triton") is not None
WIDEST = 128  # of a head
_known: Any = WeakTensorKeyDictionary()  # by_offset, of masks, which live as long as their layer remembers them
DTYPES = frozenset({torch.float32, torch.float16, torch.bfloat16})


def attend(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> Tensor:
    """[B, H, P+N, D]. Raises Unsupported for what `obstacle` names."""
    prefix = prefix_of(q.shape[2], terms)
    why = obstacle(terms, q.device, q.dtype, q.shape[3])
    if why:
        raise Unsupported(f"the triton backend {why}; use backend=eager or auto")
    _check(q, k, v, terms)
    from variants.backends.triton.operator import attention

    casts = q.device.type == "cuda" and torch.is_autocast_enabled("cuda")
    if casts:
        q, k, v = (x.to(torch.get_autocast_dtype("cuda")) for x in (q, k, v))
    tables = (total_prior(terms), total_bias(terms))
    prior, bias = (None if x is None else geometry.flat(x, terms.grid).float().contiguous() for x in tables)
    context = None
    if len(terms.keys):
        context = geometry.flat(total_keys(terms), terms.grid).mT.to(q.dtype).contiguous()
    return attention(q, k, v, prior, bias, context, terms.kept, terms.groups, list(terms.grid), prefix)[0]


def obstacle(terms: Terms, device: torch.device, dtype: torch.dtype, width: int) -> str | None:
    """Why these terms cannot be served for heads of so many numbers of this type; None where they can."""
    beyond = sorted(terms.present & BEYOND)
    if beyond:
        return f"cannot serve {', '.join(beyond)}"
    if dtype not in DTYPES:
        return f"has no {str(dtype).removeprefix('torch.')}"
    if width > WIDEST:
        return f"serves heads of up to {WIDEST} numbers, and these have {width}"
    if forward_ad._current_level >= 0:
        return "has no forward-mode derivative"
    if not INSTALLED:
        return "wants Triton, which comes with torch for CUDA on Linux"
    if device.type == "cuda" and (torch.version.hip or torch.cuda.get_device_capability(device) < (8, 0)):
        return "wants an NVIDIA GPU of capability 8.0 or newer"
    if device.type != "cuda" and not interpreted():
        return f"runs on a GPU, and this is on {device.type}"
    if terms.kept is not None and not by_offset(terms.kept, terms.grid):
        return "serves masks by offset and windows, and this mask is neither"
    return None


def interpreted() -> bool:
    """Whether Triton's interpreter was asked for, which runs on the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _check(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> None:
    """Raises ValueError for shapes that a kernel would read beyond."""
    if not q.shape == k.shape == v.shape:
        raise ValueError(f"q {list(q.shape)}, k {list(k.shape)} and v {list(v.shape)} are to have one shape")
    for table in terms.keys:
        if table.shape[1] != q.shape[3]:
            raise ValueError(f"keys of {table.shape[1]} numbers meet queries of {q.shape[3]}; they are to have as many")
    for term in (*terms.prior, *terms.bias, *terms.keys, terms.kept, terms.groups):
        if term is not None and len(term) not in (1, q.shape[1]):
            raise ValueError(f"a term of {len(term)} heads meets queries of {q.shape[1]}; it is of one or of as many")


@torch.compiler.assume_constant_result  # reads numbers, which no input changes
def by_offset(kept: Tensor, grid: Grid) -> bool:
    """Whether a mask [H or 1, N, N] is a function of the offset."""
    known = _known.setdefault(kept, {})
    if grid not in known:
        from variants.backends.triton.layout import offsets_of

        with real_numbers():
            known[grid] = offsets_of(kept, grid) is not None
    return known[grid]
