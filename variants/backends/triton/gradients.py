"""The kernels of the tables' gradients. The map is made once more, a pair of blocks at a time.

A prior's and a bias's are numbers: `tables` adds up over images before it sorts by offset, and `collect` adds up what
the pairs of blocks have found. A context's are vectors, products with each image's queries: `contexts` goes by rows of
the grid, so that nothing is kept for pairs. There are no atomics: every sum has one order.
"""

from __future__ import annotations

import triton
import triton.language as tl

from variants.backends.triton.blocks import keys_at, read_block, read_row, remade, write_block


@triton.jit
def tables(
    q, k, v, above, lse, delta, of_prior, of_bias, prior, bias, context, place, token, groups,
    which, pairs, first, spans,
    q_image, q_head, q_token, k_image, k_head, k_token, v_image, v_head, v_token,
    above_image, above_head, above_token, prior_head, bias_head, context_head, groups_head, pairs_head,
    heads, tokens, prefix, centre, entries, width, scale, places, images, together, span,
    WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    PRIOR: tl.constexpr, BIAS: tl.constexpr, CONTEXT: tl.constexpr, GROUPS: tl.constexpr, LISTS: tl.constexpr,
    OF_PRIOR: tl.constexpr, OF_BIAS: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The share of one pair of blocks and `together` images in the gradients of a head's tables, `span` offsets each.

    A program owns its row of of_prior and of_bias [chunks of images, heads, pairs of blocks, span]; its offsets begin
    at first[pair of blocks], and which[pair of blocks] is its number among all. Over images it adds up pair by pair.
    Then it lays the sums side by side by offset and adds up over queries.
    """
    slot, head, chunk = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    blocks, block = tl.num_programs(0), tl.load(which + slot)
    first_key = (block % tl.cdiv(tokens, KEYS)) * KEYS
    offs_q = (block // tl.cdiv(tokens, KEYS)) * QUERIES + tl.arange(0, QUERIES)
    offs_k = first_key + tl.arange(0, KEYS)
    with_prior = tl.zeros([QUERIES, KEYS], tl.float32)
    with_bias = tl.zeros([QUERIES, KEYS], tl.float32)
    start, stop = chunk * together, tl.minimum(images, (chunk + 1) * together)
    begin = start.to(tl.int64)
    if LISTS:
        stop = tl.where(tl.load(pairs + head * pairs_head + slot) != 0, stop, start)
    for number in range(start, stop):
        image = begin + (number - start)
        rows = (image * heads + head) * tokens
        queries = read_block(q + image * q_image + head * q_head, offs_q, q_token, width, tokens, DOT, WIDTH)
        keys = read_block(k + image * k_image + head * k_head, offs_k, k_token, width, tokens, DOT, WIDTH)
        values = read_block(v + image * v_image + head * v_head, offs_k, v_token, width, tokens, DOT, WIDTH)
        above_base = above + image * above_image + head * above_head
        slope = read_block(above_base, offs_q, above_token, width, tokens, DOT, WIDTH)
        most, drop = read_row(lse + rows, offs_q, tokens, 0.0), read_row(delta + rows, offs_q, tokens, 0.0)
        _, slopes, _, scores = remade(
            queries, keys, values, slope, most, drop, offs_q, offs_k, prior + head * prior_head,
            bias + head * bias_head, context + head * context_head, place, groups + head * groups_head,
            tokens, prefix, centre, width, entries, scale,
            False, PRIOR, BIAS, CONTEXT, GROUPS, WIDTH, KEYS, DOT, PRECISION,
        )  # fmt: skip
        if OF_PRIOR:
            with_prior += slopes * scores
        if OF_BIAS:
            with_bias += slopes
    least = tl.load(first + slot)
    mine = ((chunk * heads + head) * blocks + slot) * span
    for part in range(0, tl.cdiv(tl.load(spans + slot), KEYS)):
        offsets = part * KEYS + tl.arange(0, KEYS)
        key, there = keys_at(
            offs_q, least + offsets, first_key, place, token, prefix, tokens, centre, places, KEYS
        )  # fmt: skip
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


@triton.jit
def contexts(
    q, k, v, above, lse, delta, of_context, prior, bias, context, place, token, groups,
    q_image, q_head, q_token, k_image, k_head, k_token, v_image, v_head, v_token,
    above_image, above_head, above_token, prior_head, bias_head, context_head, groups_head,
    heads, tokens, prefix, centre, entries, width, scale, images, together, high, wide,
    WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    PRIOR: tl.constexpr, BIAS: tl.constexpr, CONTEXT: tl.constexpr, GROUPS: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """of_context [chunks of images, heads, entries, D]: the gradient of a run of KEYS vectors of one row of offsets.

    Of `together` images, by rows of the grid, `high` of `wide` patches: two rows have one offset down, so where QUERIES
    patches are a row and a run is a row of offsets, each pair is made again once.
    """
    runs = tl.cdiv(2 * wide - 1, KEYS)
    down, run = tl.program_id(0) // runs - (high - 1), tl.program_id(0) % runs
    head, chunk = tl.program_id(1).to(tl.int64), tl.program_id(2)
    least = run * KEYS - (wide - 1)
    across = least + tl.arange(0, KEYS)
    own_q, own_k, own_v = q + head * q_head, k + head * k_head, v + head * v_head
    own_above, own_context = above + head * above_head, context + head * context_head
    total = tl.zeros([KEYS, WIDTH], tl.float32)
    begin, stop = chunk * together, tl.minimum(images, (chunk + 1) * together)
    for number in range(begin, stop):
        image = begin.to(tl.int64) + (number - begin)
        rows = (image * heads + head) * tokens
        for row in range(tl.maximum(0, -down), tl.minimum(high, high - down)):
            for block in range(0, tl.cdiv(wide, QUERIES)):
                columns = block * QUERIES + tl.arange(0, QUERIES)
                offs_q = tl.load(token + row * (2 * wide - 1) + columns, mask=columns < wide, other=tokens)
                queries = read_block(own_q + image * q_image, offs_q, q_token, width, tokens, DOT, WIDTH)
                slope = read_block(own_above + image * above_image, offs_q, above_token, width, tokens, DOT, WIDTH)
                most, drop = read_row(lse + rows, offs_q, tokens, 0.0), read_row(delta + rows, offs_q, tokens, 0.0)
                nearest = tl.maximum(block * QUERIES + least, 0) // QUERIES
                furthest = tl.minimum((block + 1) * QUERIES - 1 + least + KEYS - 1, wide - 1) // QUERIES
                for other in range(nearest, furthest + 1):
                    columns_k = other * QUERIES + tl.arange(0, QUERIES)
                    below = token + (row + down) * (2 * wide - 1)
                    offs_k = tl.load(below + columns_k, mask=columns_k < wide, other=tokens)
                    keys = read_block(own_k + image * k_image, offs_k, k_token, width, tokens, DOT, WIDTH)
                    values = read_block(own_v + image * v_image, offs_k, v_token, width, tokens, DOT, WIDTH)
                    _, slopes, _, _ = remade(
                        queries, keys, values, slope, most, drop, offs_q, offs_k, prior + head * prior_head,
                        bias + head * bias_head, own_context, place, groups + head * groups_head,
                        tokens, prefix, centre, width, entries, scale,
                        False, PRIOR, BIAS, CONTEXT, GROUPS, WIDTH, KEYS, DOT, PRECISION,
                    )  # fmt: skip
                    key = columns[:, None] + across[None, :] - other * QUERIES
                    there = (key >= 0) & (key < QUERIES)
                    laid = tl.where(there, tl.gather(slopes, tl.where(there, key, 0), 1), 0.0)
                    total += tl.dot(tl.trans(laid).to(DOT), queries, input_precision=PRECISION)
    mine = of_context + ((chunk * heads + head) * entries + (down + high - 1) * (2 * wide - 1)) * width
    write_block(mine, run * KEYS + tl.arange(0, KEYS), width, width, 2 * wide - 1, total * scale, WIDTH)
