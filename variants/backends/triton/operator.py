"""The kernels as operators of torch: `spatial_bias::attention` and its gradients, for autograd, compile and counters.

Shapes: q, k, v and out [B, H, P+N, D]; prior and bias float32 [H or 1, (2h-1)(2w-1)]; context, the table of keys, in
the type of q [H or 1, (2h-1)(2w-1), D]; kept and groups as in Terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from variants.backends.triton import gradients, kernels
from variants.backends.triton.launch import COMPILED, Run, head_stride, strides
from variants.backends.triton.layout import OFFSETS, Layout, layout
from variants.backends.triton.tiles import CHUNKS, contexts_of
from variants.geometry import Grid
from variants.relation import Terms, Unsupported

# A CUDA graph would keep what a layout is made of when it is first asked for in its own memory.
APART = (torch.Tag.cudagraph_unsafe,)


@torch.library.custom_op("spatial_bias::attention", mutates_args=(), tags=APART)
def attention(
    q: Tensor, k: Tensor, v: Tensor, prior: Tensor | None, bias: Tensor | None, context: Tensor | None,
    kept: Tensor | None, groups: Tensor | None, grid: Sequence[int], prefix: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """out [B, H, P+N, D] and the logarithm to base 2 of the sums of softmax, float32 [B, H, P+N]."""
    at = layout(Terms(_grid(grid), kept=kept, groups=groups), prefix, q.device)
    with torch.cuda.device_of(q):
        return _forward(q, k, v, prior, bias, context, at)


def _forward(
    q: Tensor, k: Tensor, v: Tensor, prior: Tensor | None, bias: Tensor | None, context: Tensor | None, at: Layout
) -> tuple[Tensor, Tensor]:
    q, k, v = (_ordered(x, at) for x in (q, k, v))
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    run = Run("forward", q, prior, _masked(bias, at), context, at)
    lists, counts = run.lists()
    kernels.forward[run.grid(run.tile.queries)](
        q, k, v, out, lse, *run.tables, at.place, run.groups, lists, counts, *strides(q, k, v, out),
        *run.head_strides(lists, counts), *run.sizes, LISTS=lists is not run.nothing, **run.constants,
    )  # fmt: skip
    return _back(out, at), _back(lse, at)


@torch.library.custom_op("spatial_bias::attention_backward", mutates_args=(), tags=APART)
def attention_backward(
    above: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, prior: Tensor | None,
    bias: Tensor | None, context: Tensor | None, kept: Tensor | None, groups: Tensor | None, grid: Sequence[int],
    prefix: int, wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of q, k, v, prior, bias and context; empty tensors for those not wanted."""
    at = layout(Terms(_grid(grid), kept=kept, groups=groups), prefix, q.device)
    with torch.cuda.device_of(q):
        return _gradients(above, q, k, v, out, lse, prior, bias, context, at, wanted)


def _gradients(
    above: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, prior: Tensor | None,
    bias: Tensor | None, context: Tensor | None, at: Layout, wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    q, k, v, out, above, lse = (_ordered(x, at) for x in (q, k, v, out, above, lse))
    masked = _masked(bias, at)
    dq = _room(q, wanted[0])
    delta = torch.empty_like(lse)

    run = Run("backward_queries", q, prior, masked, context, at)
    lists, counts = run.lists()
    dq_strides = dq.stride()[:3] if wanted[0] else (0, 0, 0)
    kernels.backward_queries[run.grid(run.tile.queries)](
        q, k, v, out, above, lse, delta, dq, *run.tables, at.place, at.token, run.groups, lists, counts,
        *strides(q, k, v, out, above), *dq_strides, *run.head_strides(lists, counts), *run.sizes, len(at.token),
        LISTS=lists is not run.nothing, WANTED=wanted[0], **run.constants,
    )  # fmt: skip

    keys = wanted[1] or wanted[2]
    dk, dv = _room(q, keys), _room(q, keys)
    if keys:
        run = Run("backward_keys", q, prior, masked, context, at)
        lists, counts = run.lists(turned=True)
        kernels.backward_keys[run.grid(run.tile.keys)](
            q, k, v, above, lse, delta, dk, dv, *run.tables, at.place, run.groups, lists, counts,
            *strides(q, k, v, above, dk, dv), *run.head_strides(lists, counts), *run.sizes,
            LISTS=lists is not run.nothing, **run.constants,
        )  # fmt: skip

    again = (q, k, v, above, lse, delta)
    of_prior, of_bias = _of_tables(again, prior, bias, masked, context, at, wanted[3], wanted[4])
    of_context = _of_context(again, prior, masked, context, at) if wanted[5] else q.new_empty(0)
    dq, dk, dv = (_back(x, at) if one else x for x, one in zip((dq, dk, dv), (wanted[0], keys, keys), strict=True))
    return dq, dk, dv, of_prior, of_bias, of_context


def _of_tables(
    again: tuple[Tensor, ...], prior: Tensor | None, bias: Tensor | None, masked: Tensor | None,
    context: Tensor | None, at: Layout, of_prior: bool, of_bias: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradients of prior and bias; empty where they are not wanted. again: q, k, v, above, lse, delta."""
    q = again[0]
    if not (of_prior or of_bias):
        return q.new_empty(0), q.new_empty(0)
    run = Run("tables", q, prior, masked, context, at)
    heads, pairs = q.shape[1], at.pairs(run.tile.queries, run.tile.keys)
    together, chunks = _chunks(len(q))
    blocks = len(pairs.first)
    room = (chunks, heads, blocks, pairs.span)
    parts = [torch.empty(room, dtype=torch.float32, device=q.device) if one else run.nothing
             for one in (of_prior, of_bias)]  # fmt: skip
    kept = run.nothing if pairs.kept is None else pairs.kept
    gradients.tables[(blocks, heads, chunks)](
        *again, *parts, *run.tables, at.place, at.token, run.groups, pairs.which, kept, pairs.first, pairs.spans,
        *strides(*again[:4]), *run.table_strides, head_stride(pairs.kept), *run.sizes, len(at.token), len(q),
        together, pairs.span, LISTS=pairs.kept is not None, OF_PRIOR=of_prior, OF_BIAS=of_bias, **run.constants,
    )  # fmt: skip
    found = []
    for table, part in zip((prior, bias), parts, strict=True):
        if part is run.nothing or table is None:
            found.append(q.new_empty(0))
            continue
        summed = torch.empty(heads, at.entries, dtype=torch.float32, device=q.device)
        gradients.collect[(-(-at.entries // OFFSETS), heads)](
            part, summed, pairs.first, pairs.spans, pairs.lists, pairs.counts, chunks, heads, blocks, pairs.span,
            at.entries, pairs.lists.shape[-1], OFFSETS=OFFSETS, **COMPILED,
        )  # fmt: skip
        found.append(_as_heads(summed, table))
    return found[0], found[1]


def _of_context(
    again: tuple[Tensor, ...], prior: Tensor | None, masked: Tensor | None, context: Tensor | None, at: Layout
) -> Tensor:
    """The gradient of context. again: q, k, v, above, lse, delta."""
    q = again[0]
    assert context is not None
    (high, wide), heads = at.grid, q.shape[1]
    run = Run(contexts_of(wide), q, prior, masked, context, at)
    together, chunks = _chunks(len(q))
    parts = torch.empty(chunks, heads, at.entries, q.shape[3], dtype=torch.float32, device=q.device)
    runs = -(-(2 * wide - 1) // run.tile.keys)
    gradients.contexts[((2 * high - 1) * runs, heads, chunks)](
        *again, parts, *run.tables, at.place, at.token, run.groups, *strides(*again[:4]), *run.table_strides,
        *run.sizes, len(q), together, high, wide, **run.constants,
    )  # fmt: skip
    return _as_heads(parts.sum(0), context).to(context.dtype)


def _chunks(images: int) -> tuple[int, int]:
    """How many images of a batch go together in the gradients of tables, and how many such chunks there are."""
    together = max(1, -(-images // CHUNKS))
    return together, max(1, -(-images // together))


def _as_heads(found: Tensor, table: Tensor) -> Tensor:
    """Gradients [H, ..] of a table that all heads have, or each its own."""
    return found if len(table) == len(found) else found.sum(0, keepdim=True)


def _room(like: Tensor, wanted: bool) -> Tensor:
    """For the gradient of q, k or v."""
    return torch.empty(like.shape, dtype=like.dtype, device=like.device) if wanted else like.new_empty(0)


def _grid(grid: Sequence[int]) -> Grid:
    return int(grid[0]), int(grid[1])


def _ordered(x: Tensor, at: Layout) -> Tensor:
    """[B, H, P+N, ..] in the order of the layout, numbers of a token side by side."""
    if at.order is not None:
        return x.index_select(2, at.order)
    return x if x.dim() == 3 or x.stride(3) == 1 else x.contiguous()


def _back(x: Tensor, at: Layout) -> Tensor:
    return x if at.back is None else x.index_select(2, at.back)


def _masked(bias: Tensor | None, at: Layout) -> Tensor | None:
    """A bias with -inf at the offsets that a mask does not keep."""
    if at.offsets is None:
        return bias
    kept = at.offsets.flatten(1)
    neutral = torch.zeros(kept.shape, dtype=torch.float32, device=kept.device) if bias is None else bias
    return torch.where(kept, neutral, -torch.inf).contiguous()


@attention.register_fake
def _(q, k, v, prior, bias, context, kept, groups, grid, prefix):
    return torch.empty(q.shape, dtype=q.dtype, device=q.device), q.new_empty(q.shape[:3], dtype=torch.float32)


@attention_backward.register_fake
def _(above, q, k, v, out, lse, prior, bias, context, kept, groups, grid, prefix, wanted):
    keys = wanted[1] or wanted[2]
    made = [_room(q, one) for one in (wanted[0], keys, keys)]
    for one, table in zip(wanted[3:], (prior, bias, context), strict=True):
        made.append(torch.empty_like(table) if one and table is not None else q.new_empty(0))
    return tuple(made)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, prior, bias, context, kept, groups, grid, prefix = inputs
    out, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.save_for_backward(q, k, v, out, lse, prior, bias, context, kept, groups)
    ctx.grid, ctx.prefix = grid, prefix


def _backward(ctx: Any, above: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    if torch.is_grad_enabled():
        raise Unsupported("the triton backend has no second derivative; for create_graph=True use backend=eager")
    wanted = list(ctx.needs_input_grad[:6])
    found = attention_backward(above, *ctx.saved_tensors, ctx.grid, ctx.prefix, wanted)
    return *(x if one else None for x, one in zip(found, wanted, strict=True)), None, None, None, None


attention.register_autograd(_backward, setup_context=_setup)


def _pairs(q: Any) -> int:
    images, heads, tokens, width = q
    return images * heads * tokens * tokens * width


@register_flop_formula(torch.ops.spatial_bias.attention)
def _flops(q, k, v, prior, bias, context, *args, out_shape=None, **kwargs) -> int:
    """Two products over all pairs, as torch counts its own attention: masks are not taken off. A context is a third."""
    return 2 * (2 + (context is not None)) * _pairs(q)


@register_flop_formula(torch.ops.spatial_bias.attention_backward)
def _flops_backward(above, q, k, v, out, lse, prior, bias, context, *args, out_shape=None, **kwargs) -> int:
    """Five products, as torch counts: what is made again is not counted, but for the scores. A context has three."""
    return 2 * (5 + 3 * (context is not None)) * _pairs(above)
