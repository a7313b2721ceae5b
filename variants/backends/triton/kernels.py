"""The kernels: flash attention with tables that are read by offset, its gradients, and the tables' gradients.

    logit = prior[h, Delta] <q_i, k_j> scale + bias[h, Delta],   Delta = place(j) - place(i) + centre

A pair with a prefix token in it has prior 1 and bias 0. Softmax runs in base 2, online, in float32 (Dao,
FlashAttention-2, arXiv 2307.08691). The backward makes the map again, twice: by blocks of queries for dq, by blocks of
keys for dk and dv, so that no sum is shared between programs. `tables` makes it once more, a pair of blocks at a time,
and adds up over images before it sorts by offset. There are no atomics: every sum has one order.

Which pairs of blocks have a kept pair stands in lists (variants/backends/triton/layout.py). DOT is the type in which
blocks are multiplied; sums are float32.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _block(base, offs, stride, width, tokens, dtype: tl.constexpr, WIDTH: tl.constexpr):
    """[block, WIDTH]: the rows `offs` of one head, zeros beyond the tokens and the head's width."""
    cols = tl.arange(0, WIDTH)
    at = base + offs[:, None].to(tl.int64) * stride + cols[None, :]
    return tl.load(at, mask=(offs[:, None] < tokens) & (cols[None, :] < width), other=0.0).to(dtype)


@triton.jit
def _write(base, offs, stride, width, tokens, found, WIDTH: tl.constexpr):
    cols = tl.arange(0, WIDTH)
    at = base + offs[:, None].to(tl.int64) * stride + cols[None, :]
    tl.store(at, found.to(base.dtype.element_ty), mask=(offs[:, None] < tokens) & (cols[None, :] < width))


@triton.jit
def _row(base, offs, tokens, other):
    """[block]: a number for each token."""
    return tl.load(base + offs, mask=offs < tokens, other=other)


@triton.jit
def _apart(offs_q, offs_k, place, prefix, tokens, centre, TURNED: tl.constexpr):
    """[q, k]: where a table has the offset of each pair, and whether both are patches; TURNED: [k, q]."""
    of_q, of_k = _row(place, offs_q, tokens, 0), _row(place, offs_k, tokens, 0)
    patch_q, patch_k = (offs_q >= prefix) & (offs_q < tokens), (offs_k >= prefix) & (offs_k < tokens)
    if TURNED:
        return of_k[:, None] - of_q[None, :] + centre, patch_k[:, None] & patch_q[None, :]
    else:
        return of_k[None, :] - of_q[:, None] + centre, patch_q[:, None] & patch_k[None, :]


@triton.jit
def _seen(offs_a, offs_b, patches, groups, tokens, GROUPS: tl.constexpr):
    """[a, b]: the pairs that are kept, as far as groups and the number of tokens say."""
    kept = (offs_a[:, None] < tokens) & (offs_b[None, :] < tokens)
    if GROUPS:
        same = _row(groups, offs_a, tokens, -1)[:, None] == _row(groups, offs_b, tokens, -2)[None, :]
        kept = kept & (same | ~patches)
    return kept


@triton.jit
def _share(heads, tokens, BLOCK: tl.constexpr):
    """This program's image and head, the number of their first token among all, and its block.

    Neighbours share a head.
    """
    pair, block = tl.program_id(0) // tl.cdiv(tokens, BLOCK), tl.program_id(0) % tl.cdiv(tokens, BLOCK)
    return (pair // heads).to(tl.int64), (pair % heads).to(tl.int64), pair.to(tl.int64) * tokens, block


@triton.jit
def _met(lists, counts, lists_head, counts_head, head, block, tokens, OTHER: tl.constexpr, LISTS: tl.constexpr):
    """How many blocks of the other kind a block meets, and where the list of them begins."""
    steps = tl.load(counts + head * counts_head + block) if LISTS else tl.cdiv(tokens, OTHER)
    return steps, lists + head * lists_head + block * tl.cdiv(tokens, OTHER)


@triton.jit
def _scores(a, b, scale, PRECISION: tl.constexpr):
    return tl.dot(a, tl.trans(b), input_precision=PRECISION) * scale


@triton.jit
def _changed(scores, at, patches, prior, bias, PRIOR: tl.constexpr, BIAS: tl.constexpr):
    """The logits of scores, and the prior that each was multiplied by (scores themselves where there is none)."""
    factor = scores
    if PRIOR:
        factor = tl.load(prior + at, mask=patches, other=1.0)
        scores = scores * factor
    if BIAS:
        scores = scores + tl.load(bias + at, mask=patches, other=0.0)
    return scores, factor


@triton.jit
def forward(
    q, k, v, out, lse, prior, bias, place, groups, lists, counts,
    q_image, q_head, q_token, k_image, k_head, k_token, v_image, v_head, v_token, out_image, out_head, out_token,
    prior_head, bias_head, groups_head, lists_head, counts_head,
    heads, tokens, prefix, centre, width, scale,
    WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    PRIOR: tl.constexpr, BIAS: tl.constexpr, GROUPS: tl.constexpr, LISTS: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out [B, H, P+N, D] and lse [B, H, P+N] in base 2, by blocks of queries."""
    image, head, rows, block = _share(heads, tokens, QUERIES)
    offs_q = block * QUERIES + tl.arange(0, QUERIES)
    queries = _block(q + image * q_image + head * q_head, offs_q, q_token, width, tokens, DOT, WIDTH)
    k_base, v_base = k + image * k_image + head * k_head, v + image * v_image + head * v_head
    most = tl.full([QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    mixed = tl.zeros([QUERIES, WIDTH], tl.float32)
    steps, row = _met(lists, counts, lists_head, counts_head, head, block, tokens, KEYS, LISTS)
    for step in range(0, steps):
        other = tl.load(row + step) if LISTS else step
        offs_k = other * KEYS + tl.arange(0, KEYS)
        keys = _block(k_base, offs_k, k_token, width, tokens, DOT, WIDTH)
        logits = _scores(queries, keys, scale, PRECISION)
        if PRIOR or BIAS or GROUPS:
            at, patches = _apart(offs_q, offs_k, place, prefix, tokens, centre, False)
            logits, _ = _changed(logits, at, patches, prior + head * prior_head, bias + head * bias_head, PRIOR, BIAS)
            kept = _seen(offs_q, offs_k, patches, groups + head * groups_head, tokens, GROUPS)
        else:
            kept = (offs_q[:, None] < tokens) & (offs_k[None, :] < tokens)
        logits = tl.where(kept, logits * 1.4426950408889634, float("-inf"))
        now = tl.maximum(most, tl.max(logits, 1))
        safe = tl.where(now == float("-inf"), 0.0, now)
        weights = tl.exp2(logits - safe[:, None])
        shrunk = tl.exp2(most - safe)
        total = total * shrunk + tl.sum(weights, 1)
        values = _block(v_base, offs_k, v_token, width, tokens, DOT, WIDTH)
        mixed = mixed * shrunk[:, None] + tl.dot(weights.to(DOT), values, input_precision=PRECISION)
        most = now
    total = tl.where(total == 0.0, 1.0, total)
    _write(out + image * out_image + head * out_head, offs_q, out_token, width, tokens, mixed / total[:, None], WIDTH)
    tl.store(lse + rows + offs_q, most + tl.log2(total), mask=offs_q < tokens)


@triton.jit
def _slopes(
    queries, keys, values, above, lse, delta, offs_q, offs_k, prior, bias, place, groups,
    tokens, prefix, centre, scale, TURNED: tl.constexpr,
    PRIOR: tl.constexpr, BIAS: tl.constexpr, GROUPS: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """[queries, keys] each: the map again, the gradient of the logits, that of the scores, the scores.

    TURNED: [keys, queries], so that a product over queries needs no block to be turned in registers.
    """
    at, patches = _apart(offs_q, offs_k, place, prefix, tokens, centre, TURNED)
    if TURNED:
        scores, slopes = _scores(keys, queries, scale, PRECISION), _scores(values, above, 1.0, PRECISION)
        kept, most, drop = _seen(offs_k, offs_q, patches, groups, tokens, GROUPS), lse[None, :], delta[None, :]
    else:
        scores, slopes = _scores(queries, keys, scale, PRECISION), _scores(above, values, 1.0, PRECISION)
        kept, most, drop = _seen(offs_q, offs_k, patches, groups, tokens, GROUPS), lse[:, None], delta[:, None]
    logits, factor = _changed(scores, at, patches, prior, bias, PRIOR, BIAS)
    weights = tl.where(kept, tl.exp2(logits * 1.4426950408889634 - most), 0.0)
    slopes = weights * (slopes - drop)
    of_scores = slopes
    if PRIOR:
        of_scores = slopes * factor
    return weights, slopes, of_scores, scores


@triton.jit
def backward_queries(
    q, k, v, out, above, lse, delta, dq, prior, bias, place, groups, lists, counts,
    q_image, q_head, q_token, k_image, k_head, k_token, v_image, v_head, v_token, out_image, out_head, out_token,
    above_image, above_head, above_token, dq_image, dq_head, dq_token,
    prior_head, bias_head, groups_head, lists_head, counts_head,
    heads, tokens, prefix, centre, width, scale,
    WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    PRIOR: tl.constexpr, BIAS: tl.constexpr, GROUPS: tl.constexpr, LISTS: tl.constexpr, WANTED: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """delta [B, H, P+N], the sum of out * above over the width, and where it is WANTED dq, by blocks of queries."""
    image, head, rows, block = _share(heads, tokens, QUERIES)
    offs_q = block * QUERIES + tl.arange(0, QUERIES)
    above_base = above + image * above_image + head * above_head
    slope = _block(above_base, offs_q, above_token, width, tokens, tl.float32, WIDTH)
    found = _block(out + image * out_image + head * out_head, offs_q, out_token, width, tokens, tl.float32, WIDTH)
    drop = tl.sum(slope * found, 1)
    tl.store(delta + rows + offs_q, drop, mask=offs_q < tokens)
    if WANTED:
        slope = slope.to(DOT)
        queries = _block(q + image * q_image + head * q_head, offs_q, q_token, width, tokens, DOT, WIDTH)
        most = _row(lse + rows, offs_q, tokens, 0.0)
        k_base, v_base = k + image * k_image + head * k_head, v + image * v_image + head * v_head
        sums = tl.zeros([QUERIES, WIDTH], tl.float32)
        steps, row = _met(lists, counts, lists_head, counts_head, head, block, tokens, KEYS, LISTS)
        for step in range(0, steps):
            other = tl.load(row + step) if LISTS else step
            offs_k = other * KEYS + tl.arange(0, KEYS)
            keys = _block(k_base, offs_k, k_token, width, tokens, DOT, WIDTH)
            values = _block(v_base, offs_k, v_token, width, tokens, DOT, WIDTH)
            _, _, of_scores, _ = _slopes(
                queries, keys, values, slope, most, drop, offs_q, offs_k,
                prior + head * prior_head, bias + head * bias_head, place, groups + head * groups_head,
                tokens, prefix, centre, scale, False, PRIOR, BIAS, GROUPS, DOT, PRECISION,
            )  # fmt: skip
            sums += tl.dot(of_scores.to(DOT), keys, input_precision=PRECISION)
        _write(dq + image * dq_image + head * dq_head, offs_q, dq_token, width, tokens, sums * scale, WIDTH)


@triton.jit
def backward_keys(
    q, k, v, above, lse, delta, dk, dv, prior, bias, place, groups, lists, counts,
    q_image, q_head, q_token, k_image, k_head, k_token, v_image, v_head, v_token,
    above_image, above_head, above_token, dk_image, dk_head, dk_token, dv_image, dv_head, dv_token,
    prior_head, bias_head, groups_head, lists_head, counts_head,
    heads, tokens, prefix, centre, width, scale,
    WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    PRIOR: tl.constexpr, BIAS: tl.constexpr, GROUPS: tl.constexpr, LISTS: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dk and dv, by blocks of keys; the lists are those of the blocks of queries that see a block of keys."""
    image, head, rows, block = _share(heads, tokens, KEYS)
    offs_k = block * KEYS + tl.arange(0, KEYS)
    keys = _block(k + image * k_image + head * k_head, offs_k, k_token, width, tokens, DOT, WIDTH)
    values = _block(v + image * v_image + head * v_head, offs_k, v_token, width, tokens, DOT, WIDTH)
    q_base, above_base = q + image * q_image + head * q_head, above + image * above_image + head * above_head
    of_keys = tl.zeros([KEYS, WIDTH], tl.float32)
    of_values = tl.zeros([KEYS, WIDTH], tl.float32)
    steps, row = _met(lists, counts, lists_head, counts_head, head, block, tokens, QUERIES, LISTS)
    for step in range(0, steps):
        other = tl.load(row + step) if LISTS else step
        offs_q = other * QUERIES + tl.arange(0, QUERIES)
        queries = _block(q_base, offs_q, q_token, width, tokens, DOT, WIDTH)
        slope = _block(above_base, offs_q, above_token, width, tokens, DOT, WIDTH)
        most, drop = _row(lse + rows, offs_q, tokens, 0.0), _row(delta + rows, offs_q, tokens, 0.0)
        weights, _, of_scores, _ = _slopes(
            queries, keys, values, slope, most, drop, offs_q, offs_k,
            prior + head * prior_head, bias + head * bias_head, place, groups + head * groups_head,
            tokens, prefix, centre, scale, True, PRIOR, BIAS, GROUPS, DOT, PRECISION,
        )  # fmt: skip
        of_values += tl.dot(weights.to(DOT), slope, input_precision=PRECISION)
        of_keys += tl.dot(of_scores.to(DOT), queries, input_precision=PRECISION)
    _write(dk + image * dk_image + head * dk_head, offs_k, dk_token, width, tokens, of_keys * scale, WIDTH)
    _write(dv + image * dv_image + head * dv_head, offs_k, dv_token, width, tokens, of_values, WIDTH)


@triton.jit
def tables(
    q, k, v, above, lse, delta, of_prior, of_bias, prior, bias, place, groups, token, which, pairs, first, spans,
    q_image, q_head, q_token, k_image, k_head, k_token, v_image, v_head, v_token,
    above_image, above_head, above_token, prior_head, bias_head, groups_head, pairs_head,
    images, heads, tokens, prefix, centre, width, scale, together, span, places,
    WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    PRIOR: tl.constexpr, BIAS: tl.constexpr, GROUPS: tl.constexpr, LISTS: tl.constexpr,
    OF_PRIOR: tl.constexpr, OF_BIAS: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The share of one pair of blocks and `together` images in the gradients of a head's tables, `span` offsets each.

    A program owns its row of of_prior and of_bias [chunks of images, heads, pairs of blocks, span]; its offsets begin
    at first[pair of blocks], and which[pair of blocks] is its number among all. Over images it adds up pair by pair.
    Then it lays the sums side by side by offset, the key that a query has there, if it has one, and adds up over
    queries. token[place] is the patch at a place, or -1.
    """
    slot, head, chunk = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    blocks, block = tl.num_programs(0), tl.load(which + slot)
    offs_q = (block // tl.cdiv(tokens, KEYS)) * QUERIES + tl.arange(0, QUERIES)
    offs_k = (block % tl.cdiv(tokens, KEYS)) * KEYS + tl.arange(0, KEYS)
    with_prior = tl.zeros([QUERIES, KEYS], tl.float32)
    with_bias = tl.zeros([QUERIES, KEYS], tl.float32)
    start, stop = chunk * together, tl.minimum(images, (chunk + 1) * together)
    begin = start.to(tl.int64)
    if LISTS:
        stop = tl.where(tl.load(pairs + head * pairs_head + slot) != 0, stop, start)
    for number in range(start, stop):
        image = begin + (number - start)
        rows = (image * heads + head) * tokens
        queries = _block(q + image * q_image + head * q_head, offs_q, q_token, width, tokens, DOT, WIDTH)
        keys = _block(k + image * k_image + head * k_head, offs_k, k_token, width, tokens, DOT, WIDTH)
        values = _block(v + image * v_image + head * v_head, offs_k, v_token, width, tokens, DOT, WIDTH)
        slope = _block(above + image * above_image + head * above_head, offs_q, above_token, width, tokens, DOT, WIDTH)
        most, drop = _row(lse + rows, offs_q, tokens, 0.0), _row(delta + rows, offs_q, tokens, 0.0)
        _, slopes, _, scores = _slopes(
            queries, keys, values, slope, most, drop, offs_q, offs_k,
            prior + head * prior_head, bias + head * bias_head, place, groups + head * groups_head,
            tokens, prefix, centre, scale, False, PRIOR, BIAS, GROUPS, DOT, PRECISION,
        )  # fmt: skip
        if OF_PRIOR:
            with_prior += slopes * scores
        if OF_BIAS:
            with_bias += slopes
    least = tl.load(first + slot)
    mine = ((chunk * heads + head) * blocks + slot) * span
    own = _row(place, offs_q, tokens, 0) - centre
    patch = (offs_q >= prefix) & (offs_q < tokens)
    for part in range(0, tl.cdiv(tl.load(spans + slot), KEYS)):
        offsets = part * KEYS + tl.arange(0, KEYS)
        at = own[:, None] + (least + offsets)[None, :]  # the place of the key that a query has at each offset
        there = patch[:, None] & (at >= 0) & (at < places)
        key = tl.load(token + at, mask=there, other=-1) - (block % tl.cdiv(tokens, KEYS)) * KEYS
        there = (key >= 0) & (key < KEYS)
        key = tl.where(there, key, 0)
        if OF_PRIOR:
            shares = tl.where(there, tl.gather(with_prior, key, 1), 0.0)
            tl.store(of_prior + mine + offsets, tl.sum(shares, 0), mask=offsets < span)
        if OF_BIAS:
            shares = tl.where(there, tl.gather(with_bias, key, 1), 0.0)
            tl.store(of_bias + mine + offsets, tl.sum(shares, 0), mask=offsets < span)


@triton.jit
def collect(
    parts, found, first, spans, lists, counts, chunks, heads, blocks, span, entries, longest, OFFSETS: tl.constexpr
):
    """found [heads, entries]: the shares of `tables`, summed by offset, the chunks of images in their order."""
    part, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    at = part * OFFSETS + tl.arange(0, OFFSETS)
    total = tl.zeros([OFFSETS], tl.float32)
    for chunk in range(0, chunks):
        for step in range(0, tl.load(counts + part)):
            block = tl.load(lists + part * longest + step)
            own = at - tl.load(first + block)
            row = parts + ((chunk * heads + head) * blocks + block) * span
            total += tl.load(row + own, mask=(own >= 0) & (own < tl.load(spans + block)), other=0.0)
    tl.store(found + head * entries + at, total, mask=at < entries)
