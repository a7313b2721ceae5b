"""The cells of harness.costs: parameters and GMACs, of all pairs and of those that a mask keeps, for one variant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from harness.backbone.sizes import size_of
from harness.backbone.vit import ViT, grid_for
from harness.jobs.cell import Cell, Tick
from harness.jobs.experiment import Bench
from harness.measure import cost
from harness.results import store

PLAIN = ("tiny", "small", "base")  # DeiT's sizes
PUBLISHED = "as published: the class token from the input on, every layer spatial"


def costs_cell(variant: str, benches: list[Bench], note: str | None = None) -> Cell:
    """A variant at every bench's size and resolution; where it cannot be built, a null row with the sentence."""
    key = benches[0].key([variant], "costs", [[one.study.size, *one.image] for one in benches], note)

    def rows(tick: Tick, folder: Path) -> tuple[list[store.Row], Tensor | None]:
        found = []
        for bench in benches:
            found += counted(bench, variant, key, note)
            tick()
        return found, None

    def failed(sentence: str) -> list[store.Row]:
        return [one.row(variant, key, metric="gmac", value=None, unit="GMAC", note=sentence) for one in benches]

    return Cell(f"{variant} {note.partition(':')[0] if note else 'costs'}", key, len(benches), rows, failed, variant)


def as_published(variant: str, bench: Bench) -> Cell:
    """A published model's body: in DeiT's sizes with the class token from the input on, else the size's own."""
    study = bench.study
    if study.size not in PLAIN:
        return costs_cell(variant, [bench], "as published: the size's own body")
    whole = replace(study, class_token="input", spatial_layers=size_of(study.size).depth)
    return costs_cell(variant, [replace(bench, study=whole)], PUBLISHED)


def counted(bench: Bench, variant: str, key: str, note: str | None) -> list[store.Row]:
    """Its rows at one size and resolution."""
    try:
        model = bench.model(variant)
    except ValueError as error:
        return [bench.row(variant, key, metric="params", value=None, unit="1", note=str(error))]
    facts = [{"metric": "params", "value": cost.params(model), "unit": "1"}]
    try:
        gmac = cost.count(model, bench.batch(1, bench.image)[0])
    except NotImplementedError as error:
        return [bench.row(variant, key, **facts[0]), bench.row(variant, key, metric="gmac", value=None, unit="GMAC",
                                                               note=str(error))]  # fmt: skip
    facts.append({"metric": "gmac", "value": gmac, "unit": "GMAC", "batch_size": 1})
    left_out = dropped(model, bench)
    if left_out:
        spared = cost.of_pairs(left_out, model.size.width // model.size.num_heads)
        facts.append({"metric": "attended_gmac", "value": gmac - spared, "unit": "GMAC", "batch_size": 1})
    return [bench.row(variant, key, **fact, note=note) for fact in facts]


def dropped(model: ViT, bench: Bench) -> int:
    """The pairs that masks and windows leave out in one image, over all layers and heads."""
    grid, total = grid_for(bench.image, bench.study.patch_size), 0
    for block in model.blocks:
        with torch.no_grad():
            mask = block.attn.terms(block.attn.qkv.weight, grid).mask()
        if mask is not None:
            total += int((~mask).sum()) * (model.size.num_heads // len(mask))
    return total
