"""What the kernels share: how a block is read and written, and how a block of pairs gets its logits, and them again.

    logit = prior[h, Delta] <q_i, k_j> scale + bias[h, Delta] + <q_i, context[h, Delta]> scale,
    Delta = place(j) - place(i) + centre

A pair with a prefix token in it has prior 1, bias 0 and no context. DOT is the type in which blocks are multiplied;
sums are float32. TURNED: a block of pairs is [keys, queries], not [queries, keys].

A query's products with `context` are made for a run of offsets at once, and each pair picks its own. The other way
round, pairs are laid side by side by their offset, of which a query has each once at most.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def read_block(base, offs, stride, width, tokens, dtype: tl.constexpr, WIDTH: tl.constexpr):
    """[block, WIDTH]: the rows `offs` of one head, zeros beyond the tokens and the head's width."""
    cols = tl.arange(0, WIDTH)
    at = base + offs[:, None].to(tl.int64) * stride + cols[None, :]
    return tl.load(at, mask=(offs[:, None] < tokens) & (cols[None, :] < width), other=0.0).to(dtype)


@triton.jit
def write_block(base, offs, stride, width, tokens, found, WIDTH: tl.constexpr):
    cols = tl.arange(0, WIDTH)
    at = base + offs[:, None].to(tl.int64) * stride + cols[None, :]
    tl.store(at, found.to(base.dtype.element_ty), mask=(offs[:, None] < tokens) & (cols[None, :] < width))


@triton.jit
def read_row(base, offs, tokens, other):
    """[block]: a number for each token."""
    return tl.load(base + offs, mask=offs < tokens, other=other)


@triton.jit
def share(heads, tokens, BLOCK: tl.constexpr):
    """This program's image and head, the number of their first token among all, and its block.

    Neighbours share a head.
    """
    pair, block = tl.program_id(0) // tl.cdiv(tokens, BLOCK), tl.program_id(0) % tl.cdiv(tokens, BLOCK)
    return (pair // heads).to(tl.int64), (pair % heads).to(tl.int64), pair.to(tl.int64) * tokens, block


@triton.jit
def met(lists, counts, lists_head, counts_head, head, block, tokens, OTHER: tl.constexpr, LISTS: tl.constexpr):
    """How many blocks of the other kind a block meets, and where the list of them begins."""
    steps = tl.load(counts + head * counts_head + block) if LISTS else tl.cdiv(tokens, OTHER)
    return steps, lists + head * lists_head + block * tl.cdiv(tokens, OTHER)


@triton.jit
def apart(offs_q, offs_k, place, prefix, tokens, centre, TURNED: tl.constexpr):
    """[q, k]: where a table has the offset of each pair, and whether both are patches; TURNED: [k, q]."""
    of_q, of_k = read_row(place, offs_q, tokens, 0), read_row(place, offs_k, tokens, 0)
    patch_q, patch_k = (offs_q >= prefix) & (offs_q < tokens), (offs_k >= prefix) & (offs_k < tokens)
    if TURNED:
        return of_k[:, None] - of_q[None, :] + centre, patch_k[:, None] & patch_q[None, :]
    else:
        return of_k[None, :] - of_q[:, None] + centre, patch_q[:, None] & patch_k[None, :]


@triton.jit
def seen(offs_a, offs_b, patches, groups, tokens, GROUPS: tl.constexpr):
    """[a, b]: the pairs that are kept, as far as groups and the number of tokens say."""
    kept = (offs_a[:, None] < tokens) & (offs_b[None, :] < tokens)
    if GROUPS:
        same = read_row(groups, offs_a, tokens, -1)[:, None] == read_row(groups, offs_b, tokens, -2)[None, :]
        kept = kept & (same | ~patches)
    return kept


@triton.jit
def products(of_q, of_k, scale, TURNED: tl.constexpr, PRECISION: tl.constexpr):
    """[q, k], scaled; TURNED: [k, q], so that a later product over queries needs no block to be turned in registers."""
    if TURNED:
        return tl.dot(of_k, tl.trans(of_q), input_precision=PRECISION) * scale
    else:
        return tl.dot(of_q, tl.trans(of_k), input_precision=PRECISION) * scale


@triton.jit
def spanned(offs_q, offs_k, place, prefix, tokens, centre):
    """The first offset between patches of two blocks, and how many there are up to the last; below 1 for none."""
    of_q, of_k = read_row(place, offs_q, tokens, 0), read_row(place, offs_k, tokens, 0)
    patch_q, patch_k = (offs_q >= prefix) & (offs_q < tokens), (offs_k >= prefix) & (offs_k < tokens)
    far = 1 << 28  # beyond any place
    first = tl.min(tl.where(patch_k, of_k, far), 0) - tl.max(tl.where(patch_q, of_q, -far), 0)
    last = tl.max(tl.where(patch_k, of_k, -far), 0) - tl.min(tl.where(patch_q, of_q, far), 0)
    return first + centre, last - first + 1


@triton.jit
def contextual(
    queries, context, at, patches, offs_q, offs_k, place, prefix, tokens, centre, width, entries, scale,
    TURNED: tl.constexpr, WIDTH: tl.constexpr, RUN: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """[q, k]: a query's product with the vector of each pair's offset, a RUN of offsets at a time; 0 for no patches."""
    first, span = spanned(offs_q, offs_k, place, prefix, tokens, centre)
    found = tl.zeros(at.shape, tl.float32)
    for part in range(0, tl.cdiv(span, RUN)):
        start = first + part * RUN
        vectors = read_block(context, start + tl.arange(0, RUN), width, width, entries, DOT, WIDTH)
        all_of_run = products(queries, vectors, scale, TURNED, PRECISION)
        own = at - start
        here = patches & (own >= 0) & (own < RUN)
        found += tl.where(here, tl.gather(all_of_run, tl.where(here, own, 0), 0 if TURNED else 1), 0.0)
    return found


@triton.jit
def keys_at(offs_q, offsets, first_key, place, token, prefix, tokens, centre, places, KEYS: tl.constexpr):
    """[q, offsets]: the key of a block that a query has at each offset, and whether it has one there.

    token[place] is the patch at a place, or -1.
    """
    at = (read_row(place, offs_q, tokens, 0) - centre)[:, None] + offsets[None, :]
    there = ((offs_q >= prefix) & (offs_q < tokens))[:, None] & (at >= 0) & (at < places)
    key = tl.load(token + at, mask=there, other=-1) - first_key
    there = (key >= 0) & (key < KEYS)
    return tl.where(there, key, 0), there


@triton.jit
def changed(
    scores, queries, at, patches, offs_q, offs_k, prior, bias, context, place,
    tokens, prefix, centre, width, entries, scale,
    TURNED: tl.constexpr, PRIOR: tl.constexpr, BIAS: tl.constexpr, CONTEXT: tl.constexpr,
    WIDTH: tl.constexpr, RUN: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The logits of scores, and the prior that each was multiplied by (scores themselves where there is none)."""
    factor = scores
    if PRIOR:
        factor = tl.load(prior + at, mask=patches, other=1.0)
        scores = scores * factor
    if BIAS:
        scores = scores + tl.load(bias + at, mask=patches, other=0.0)
    if CONTEXT:
        scores = scores + contextual(
            queries, context, at, patches, offs_q, offs_k, place, prefix, tokens, centre, width, entries, scale,
            TURNED, WIDTH, RUN, DOT, PRECISION,
        )  # fmt: skip
    return scores, factor


@triton.jit
def remade(
    queries, keys, values, above, lse, delta, offs_q, offs_k, prior, bias, context, place, groups,
    tokens, prefix, centre, width, entries, scale, TURNED: tl.constexpr,
    PRIOR: tl.constexpr, BIAS: tl.constexpr, CONTEXT: tl.constexpr, GROUPS: tl.constexpr,
    WIDTH: tl.constexpr, RUN: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """[q, k] each: the map again, the gradient of the logits, that of the scores, the scores."""
    at, patches = apart(offs_q, offs_k, place, prefix, tokens, centre, TURNED)
    scores = products(queries, keys, scale, TURNED, PRECISION)
    if not CONTEXT:
        slopes = products(above, values, 1.0, TURNED, PRECISION)
    logits, factor = changed(
        scores, queries, at, patches, offs_q, offs_k, prior, bias, context, place,
        tokens, prefix, centre, width, entries, scale, TURNED, PRIOR, BIAS, CONTEXT, WIDTH, RUN, DOT, PRECISION,
    )  # fmt: skip
    if CONTEXT:  # whose products take the registers of these first
        slopes = products(above, values, 1.0, TURNED, PRECISION)
    if TURNED:
        kept, most, drop = seen(offs_k, offs_q, patches, groups, tokens, GROUPS), lse[None, :], delta[None, :]
    else:
        kept, most, drop = seen(offs_q, offs_k, patches, groups, tokens, GROUPS), lse[:, None], delta[:, None]
    weights = tl.where(kept, tl.exp2(logits * 1.4426950408889634 - most), 0.0)
    slopes = weights * (slopes - drop)
    of_scores = slopes
    if PRIOR:
        of_scores = slopes * factor
    return weights, slopes, of_scores, scores
