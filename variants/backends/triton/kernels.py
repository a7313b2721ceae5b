"""The kernels: flash attention with tables that are read by offset, and the gradients of queries, keys and values.

Softmax runs in base 2, online, in float32 (Dao, FlashAttention-2, arXiv 2307.08691). The backward makes the map again,
twice: by blocks of queries for dq, by blocks of keys for dk and dv, so that no sum is shared between programs. There
are no atomics: every sum has one order.

Which pairs of blocks have a kept pair stands in lists (variants/backends/triton/layout.py).
"""

from __future__ import annotations

import triton
import triton.language as tl

from variants.backends.triton.blocks import (
    apart,
    changed,
    keys_at,
    met,
    products,
    read_block,
    read_row,
    remade,
    seen,
    share,
    spanned,
    write_block,
)


@triton.jit
def forward(
    q, k, v, out, lse, prior, bias, context, place, groups, lists, counts,
    q_image, q_head, q_token, k_image, k_head, k_token, v_image, v_head, v_token, out_image, out_head, out_token,
    prior_head, bias_head, context_head, groups_head, lists_head, counts_head,
    heads, tokens, prefix, centre, entries, width, scale,
    WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    PRIOR: tl.constexpr, BIAS: tl.constexpr, CONTEXT: tl.constexpr, GROUPS: tl.constexpr, LISTS: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out [B, H, P+N, D] and lse [B, H, P+N] in base 2, by blocks of queries."""
    image, head, rows, block = share(heads, tokens, QUERIES)
    offs_q = block * QUERIES + tl.arange(0, QUERIES)
    queries = read_block(q + image * q_image + head * q_head, offs_q, q_token, width, tokens, DOT, WIDTH)
    k_base, v_base = k + image * k_image + head * k_head, v + image * v_image + head * v_head
    most = tl.full([QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    mixed = tl.zeros([QUERIES, WIDTH], tl.float32)
    steps, row = met(lists, counts, lists_head, counts_head, head, block, tokens, KEYS, LISTS)
    for step in range(0, steps):
        other = tl.load(row + step) if LISTS else step
        offs_k = other * KEYS + tl.arange(0, KEYS)
        keys = read_block(k_base, offs_k, k_token, width, tokens, DOT, WIDTH)
        scores = products(queries, keys, scale, False, PRECISION)
        at, patches = apart(offs_q, offs_k, place, prefix, tokens, centre, False)
        logits, _ = changed(
            scores, queries, at, patches, offs_q, offs_k, prior + head * prior_head, bias + head * bias_head,
            context + head * context_head, place, tokens, prefix, centre, width, entries, scale,
            False, PRIOR, BIAS, CONTEXT, WIDTH, KEYS, DOT, PRECISION,
        )  # fmt: skip
        kept = seen(offs_q, offs_k, patches, groups + head * groups_head, tokens, GROUPS)
        logits = tl.where(kept, logits * 1.4426950408889634, float("-inf"))
        now = tl.maximum(most, tl.max(logits, 1))
        safe = tl.where(now == float("-inf"), 0.0, now)
        weights = tl.exp2(logits - safe[:, None])
        shrunk = tl.exp2(most - safe)
        total = total * shrunk + tl.sum(weights, 1)
        values = read_block(v_base, offs_k, v_token, width, tokens, DOT, WIDTH)
        mixed = mixed * shrunk[:, None] + tl.dot(weights.to(DOT), values, input_precision=PRECISION)
        most = now
    total = tl.where(total == 0.0, 1.0, total)
    out_base = out + image * out_image + head * out_head
    write_block(out_base, offs_q, out_token, width, tokens, mixed / total[:, None], WIDTH)
    tl.store(lse + rows + offs_q, most + tl.log2(total), mask=offs_q < tokens)


@triton.jit
def backward_queries(
    q, k, v, out, above, lse, delta, dq, prior, bias, context, place, token, groups, lists, counts,
    q_image, q_head, q_token, k_image, k_head, k_token, v_image, v_head, v_token, out_image, out_head, out_token,
    above_image, above_head, above_token, dq_image, dq_head, dq_token,
    prior_head, bias_head, context_head, groups_head, lists_head, counts_head,
    heads, tokens, prefix, centre, entries, width, scale, places,
    WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    PRIOR: tl.constexpr, BIAS: tl.constexpr, CONTEXT: tl.constexpr, GROUPS: tl.constexpr, LISTS: tl.constexpr,
    WANTED: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """delta [B, H, P+N], the sum of out * above over the width, and where it is WANTED dq, by blocks of queries."""
    image, head, rows, block = share(heads, tokens, QUERIES)
    offs_q = block * QUERIES + tl.arange(0, QUERIES)
    above_base = above + image * above_image + head * above_head
    slope = read_block(above_base, offs_q, above_token, width, tokens, tl.float32, WIDTH)
    found = read_block(out + image * out_image + head * out_head, offs_q, out_token, width, tokens, tl.float32, WIDTH)
    drop = tl.sum(slope * found, 1)
    tl.store(delta + rows + offs_q, drop, mask=offs_q < tokens)
    if WANTED:
        slope = slope.to(DOT)
        queries = read_block(q + image * q_image + head * q_head, offs_q, q_token, width, tokens, DOT, WIDTH)
        most = read_row(lse + rows, offs_q, tokens, 0.0)
        k_base, v_base = k + image * k_image + head * k_head, v + image * v_image + head * v_head
        own_context = context + head * context_head
        sums = tl.zeros([QUERIES, WIDTH], tl.float32)
        steps, row = met(lists, counts, lists_head, counts_head, head, block, tokens, KEYS, LISTS)
        for step in range(0, steps):
            other = tl.load(row + step) if LISTS else step
            offs_k = other * KEYS + tl.arange(0, KEYS)
            keys = read_block(k_base, offs_k, k_token, width, tokens, DOT, WIDTH)
            values = read_block(v_base, offs_k, v_token, width, tokens, DOT, WIDTH)
            _, slopes, of_scores, _ = remade(
                queries, keys, values, slope, most, drop, offs_q, offs_k,
                prior + head * prior_head, bias + head * bias_head, own_context, place, groups + head * groups_head,
                tokens, prefix, centre, width, entries, scale,
                False, PRIOR, BIAS, CONTEXT, GROUPS, WIDTH, KEYS, DOT, PRECISION,
            )  # fmt: skip
            sums += tl.dot(of_scores.to(DOT), keys, input_precision=PRECISION)
            if CONTEXT:
                first, span = spanned(offs_q, offs_k, place, prefix, tokens, centre)
                for part in range(0, tl.cdiv(span, KEYS)):
                    offsets = first + part * KEYS + tl.arange(0, KEYS)
                    key, there = keys_at(
                        offs_q, offsets, other * KEYS, place, token, prefix, tokens, centre, places, KEYS
                    )
                    laid = tl.where(there, tl.gather(slopes, key, 1), 0.0)
                    vectors = read_block(own_context, offsets, width, width, entries, DOT, WIDTH)
                    sums += tl.dot(laid.to(DOT), vectors, input_precision=PRECISION)
        write_block(dq + image * dq_image + head * dq_head, offs_q, dq_token, width, tokens, sums * scale, WIDTH)


@triton.jit
def backward_keys(
    q, k, v, above, lse, delta, dk, dv, prior, bias, context, place, groups, lists, counts,
    q_image, q_head, q_token, k_image, k_head, k_token, v_image, v_head, v_token,
    above_image, above_head, above_token, dk_image, dk_head, dk_token, dv_image, dv_head, dv_token,
    prior_head, bias_head, context_head, groups_head, lists_head, counts_head,
    heads, tokens, prefix, centre, entries, width, scale,
    WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    PRIOR: tl.constexpr, BIAS: tl.constexpr, CONTEXT: tl.constexpr, GROUPS: tl.constexpr, LISTS: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dk and dv, by blocks of keys; the lists are those of the blocks of queries that see a block of keys."""
    image, head, rows, block = share(heads, tokens, KEYS)
    offs_k = block * KEYS + tl.arange(0, KEYS)
    keys = read_block(k + image * k_image + head * k_head, offs_k, k_token, width, tokens, DOT, WIDTH)
    values = read_block(v + image * v_image + head * v_head, offs_k, v_token, width, tokens, DOT, WIDTH)
    q_base, above_base = q + image * q_image + head * q_head, above + image * above_image + head * above_head
    of_keys = tl.zeros([KEYS, WIDTH], tl.float32)
    of_values = tl.zeros([KEYS, WIDTH], tl.float32)
    steps, row = met(lists, counts, lists_head, counts_head, head, block, tokens, QUERIES, LISTS)
    for step in range(0, steps):
        other = tl.load(row + step) if LISTS else step
        offs_q = other * QUERIES + tl.arange(0, QUERIES)
        queries = read_block(q_base, offs_q, q_token, width, tokens, DOT, WIDTH)
        slope = read_block(above_base, offs_q, above_token, width, tokens, DOT, WIDTH)
        most, drop = read_row(lse + rows, offs_q, tokens, 0.0), read_row(delta + rows, offs_q, tokens, 0.0)
        weights, _, of_scores, _ = remade(
            queries, keys, values, slope, most, drop, offs_q, offs_k, prior + head * prior_head,
            bias + head * bias_head, context + head * context_head, place, groups + head * groups_head,
            tokens, prefix, centre, width, entries, scale,
            True, PRIOR, BIAS, CONTEXT, GROUPS, WIDTH, KEYS, DOT, PRECISION,
        )  # fmt: skip
        of_values += tl.dot(weights.to(DOT), slope, input_precision=PRECISION)
        of_keys += tl.dot(of_scores.to(DOT), queries, input_precision=PRECISION)
    write_block(dk + image * dk_image + head * dk_head, offs_k, dk_token, width, tokens, of_keys * scale, WIDTH)
    write_block(dv + image * dv_image + head * dv_head, offs_k, dv_token, width, tokens, of_values, WIDTH)
