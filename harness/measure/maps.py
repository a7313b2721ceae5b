"""Maps: what each layer of a trained model does with an offset, head by head, over the offsets.

Kinds as in harness/results/maps.py. prior, bias, position and gate are in harness/measure/tables.py. keys meet the
query, so their map is the mean inner product with the queries of test images, <mean q, keys(Delta)> / sqrt(D), in
logits; tables that meet the key are added to it in the same way. kept is what the middle patch may see: windows differ
from patch to patch. attention is the mean attention of all pairs at an offset (harness/measure/attention.py), which
every variant has, with or without a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.measure import attention as attention_of
from harness.measure.subject import Subject
from harness.measure.tables import Maps, attentions, learned_tables, spread, tables
from harness.results import map_files
from harness.results import maps as offsets
from harness.results.map_files import Book
from variants import Attention
from variants.geometry import Grid
from variants.relation import Terms

IMAGES = 512  # test images at most, spread evenly: means over patches and images, so a head is known to a few per mille
FORWARDS = 3  # that reading an image's attention is worth


def images(n: int) -> float:
    """How many image forwards it takes."""
    return FORWARDS * min(IMAGES, n)


def measure(subject: Subject) -> Iterator[dict[str, Any]]:
    """Attention distance and entropy, and what the maps over the offsets say, by layer; leaves the maps.

    CELL.maps.npz (harness/results/map_files.py) has every map at the end, and the learned tables at the start and at a
    few epochs, where the training kept snapshots.
    """
    book: Book = {(layer, kind, 0): one for (layer, kind, _), one in learned_tables(subject.build()).items()}
    for file in sorted(subject.snapshots.glob("*.npz")):
        book |= {(layer, kind, int(file.stem)): m for (layer, kind, _), m in map_files.unpacked(file).items()}
    if subject.grid == (1, 1):
        yield {"metric": "attention_distance", "value": None, "backend": "eager",
               "note": "a 1x1 grid has no other patch"}  # fmt: skip
    heads = attention_of.heads(subject.model, subject.test_images(IMAGES))
    for layer, (attention, head) in enumerate(zip(attentions(subject.model), heads, strict=True), start=1):
        found = maps(attention, subject.grid, head)
        book |= {(layer, kind, None): one.numpy() for kind, one in found.items()}
        for fact in (*looked(head), *said(found)):
            yield fact | {"layer": layer, "backend": "eager"}
    subject.files[".maps.npz"] = map_files.packed(book)


def looked(head: attention_of.Head) -> Iterator[dict[str, Any]]:
    """Distance and entropy of a layer, and what its patches give to prefix tokens: means, the samples by head."""
    if head.grid == (1, 1):
        return
    for name in ("distance", "entropy", "prefix"):
        samples = head.means[name].tolist()
        if name != "prefix" or max(samples) > offsets.FLAT:
            yield {"metric": f"attention_{name}", "value": sum(samples) / len(samples), "unit": "1", "n": head.images,
                   "samples": samples}  # fmt: skip


@torch.no_grad()
def maps(attention: Attention, grid: Grid, head: attention_of.Head) -> Maps:
    """All maps of a layer, given what test images did in it."""
    terms = attention.terms(attention.qkv.weight, grid)
    found = tables(attention, grid)
    if terms.keys or terms.queries:
        found["keys"] = met(terms, head).float()
    mask = terms.mask(attention.qkv.weight.device)
    if mask is not None:
        found["kept"] = middle(mask.cpu(), grid)
    return found | {"attention": head.by_offset().float()}


def met(terms: Terms, head: attention_of.Head) -> Tensor:
    """[H, 2h-1, 2w-1]: what keys and queries add to the logits, on average over images and patches."""
    total: Tensor | float = 0.0
    for relative, vector in ((terms.keys, head.means["query"]), (terms.queries, head.means["key"])):
        for table in relative:
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


def said(maps: Maps) -> Iterator[dict[str, Any]]:
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
            together = {"value": float(np.mean(pairs)), "samples": pairs}
            yield {"metric": f"{kind}_complementarity", "unit": "1", **together}
            yield {"metric": f"{kind}_complementarity_chance", "value": float(np.mean(drawn)), "unit": "1",
                   "n": len(drawn), "samples": ends}  # fmt: skip


def summed(samples: np.ndarray) -> dict[str, Any]:
    """The value and the samples of some heads; {} where none has one."""
    known = ~np.isnan(samples)
    if not known.any():
        return {}
    fact: dict[str, Any] = {"value": float(samples[known].mean()), "samples": samples[known].tolist()}
    if not known.all():
        fact["note"] = f"of heads {', '.join(str(head + 1) for head in np.flatnonzero(known))}; the others are neutral"
    return fact
