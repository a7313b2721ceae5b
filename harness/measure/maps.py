"""The atlas: what each layer of a trained model does with an offset, head by head, as maps over the offsets.

Kinds as in harness/results/maps.py. prior and bias are the relation's own tables on the training grid, sums and
products of its parts taken; `position` is the bias in the second softmax of gpsa, whose `gate` says how much of a head
it is. keys meet the query, so their map is the mean inner product with the queries of test images, <mean q,
keys(Delta)> / sqrt(D), in logits; tables that meet the key are added to it in the same way. kept is what the middle
patch may see: windows differ from patch to patch. attention is the mean attention of all pairs at an offset
(harness/measure/attention.py), which every variant has, with or without a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.measure.attention import Head
from harness.results import maps as offsets
from variants import Attention
from variants.geometry import Grid
from variants.psa import GPSA
from variants.relation import Terms, total_bias, total_prior

Maps = dict[str, Tensor]  # by kind: [H or 1, 2h-1, 2w-1]; gate [H]


@torch.no_grad()
def tables(attention: Attention, grid: Grid) -> Maps:
    """prior, bias, position and gate, as far as the attention has them; float32 on the CPU."""
    like = attention.qkv.weight
    terms = attention.terms(like, grid)
    found = {"prior": total_prior(terms), "bias": total_bias(terms)}
    if isinstance(attention, GPSA):
        found["position"] = total_bias(attention.position.terms(grid, like.device, attention.position.weight.dtype))
        found["gate"] = attention.gate.sigmoid()
    whole = {kind: table for kind, table in found.items() if table is not None}
    return {kind: (t if kind == "gate" else spread(t, grid)).detach().float().cpu() for kind, t in whole.items()}


@torch.no_grad()
def maps(attention: Attention, grid: Grid, head: Head) -> Maps:
    """All maps of a layer, given what test images did in it."""
    terms = attention.terms(attention.qkv.weight, grid)
    found = tables(attention, grid)
    if terms.keys or terms.queries:
        found["keys"] = met(terms, head).float()
    mask = terms.mask(attention.qkv.weight.device)
    if mask is not None:
        found["kept"] = middle(mask.cpu(), grid)
    return found | {"attention": head.by_offset().float()}


def learned(attention: Attention) -> bool:
    """Whether training changes the tables of an attention."""
    return isinstance(attention, GPSA) or any(p.requires_grad for p in attention.relation.parameters())


def spread(table: Tensor, grid: Grid) -> Tensor:
    """[..., 2h-1, 2w-1]: axes of size 1, which hold for every offset, in full."""
    return table.expand(*table.shape[:-2], 2 * grid[0] - 1, 2 * grid[1] - 1)


def met(terms: Terms, head: Head) -> Tensor:
    """[H, 2h-1, 2w-1]: what keys and queries add to the logits, on average over images and patches."""
    total: Tensor | float = 0.0
    for tables, vector in ((terms.keys, head.means["query"]), (terms.queries, head.means["key"])):
        for table in tables:
            whole = spread(table, terms.grid).double().cpu().expand(len(vector), -1, -1, -1)
            total = total + torch.einsum("hd,hdyx->hyx", vector, whole) * vector.shape[-1] ** -0.5
    assert isinstance(total, Tensor)
    return total


def middle(mask: Tensor, grid: Grid) -> Tensor:
    """mask [H or 1, N, N] -> [H or 1, 2h-1, 2w-1]: 1 or 0 where the patch at (h//2, w//2) has a key, NaN elsewhere."""
    h, w = grid
    y, x = h // 2, w // 2
    found = torch.full((len(mask), 2 * h - 1, 2 * w - 1), torch.nan)
    found[:, h - 1 - y : 2 * h - 1 - y, w - 1 - x : 2 * w - 1 - x] = mask[:, y * w + x].unflatten(1, (h, w)).float()
    return found


def attentions(model: nn.Module) -> list[Attention]:
    """The attentions of a model, the first layer first."""
    return [module for module in model.modules() if isinstance(module, Attention)]


def facts(maps: Maps) -> Iterator[dict[str, Any]]:
    """What the maps of a layer say, a row each: samples are those of the heads, the value their mean.

    KIND_min and KIND_max are the least and the largest of all heads. What is not defined (the radius of a prior that
    is neutral in every head, the complementarity of one map) has no row; where some heads alone lack it, a note says.
    """
    for kind, table in maps.items():
        if kind == "gate":
            yield {"metric": "gate", **summed(table.double().numpy()), "unit": "1"}
            continue
        own = table.double().numpy()
        unit = "nat" if kind in offsets.ADDED else "1"
        if kind not in ("kept", "attention"):
            for end, samples in (("min", own.min(axis=(1, 2))), ("max", own.max(axis=(1, 2)))):
                worst = float(getattr(samples, end)())
                yield {"metric": f"{kind}_{end}", "value": worst, "unit": unit, "samples": samples.tolist()}
        for word, found, of in (("radius", offsets.radius, "patch"), ("anisotropy", offsets.anisotropy, "1")):
            if (kind, word) == ("attention", "radius"):
                continue  # the distance says it, by the pairs that there are and not by the offsets
            fact = summed(found(kind, own))
            if fact:
                yield {"metric": f"{kind}_{word}", "unit": of, **fact}
        shaped = offsets.shaped(kind, own)
        pairs = offsets.pairwise(shaped)
        if pairs and kind != "kept":
            drawn = offsets.chance(shaped)
            ends = np.quantile(drawn, (0.025, 0.975)).tolist()
            yield {"metric": f"{kind}_complementarity", "value": float(np.mean(pairs)), "unit": "1", "samples": pairs,
                   "note": "mean correlation of the pairs of heads; lower is more complementary"}  # fmt: skip
            yield {"metric": f"{kind}_complementarity_chance", "value": float(np.mean(drawn)), "unit": "1",
                   "n": len(drawn), "samples": ends,
                   "note": "heads turned over and rolled at random; samples: ends of 95 % of the draws"}  # fmt: skip


def summed(samples: np.ndarray) -> dict[str, Any]:
    """The value and the samples of some heads; {} where none has one."""
    known = ~np.isnan(samples)
    if not known.any():
        return {}
    fact: dict[str, Any] = {"value": float(samples[known].mean()), "samples": samples[known].tolist()}
    if not known.all():
        fact["note"] = f"of heads {', '.join(str(head + 1) for head in np.flatnonzero(known))}; the others are neutral"
    return fact
