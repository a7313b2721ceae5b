"""The cells of harness.costs: parameters and GMACs, of all pairs and of those that a mask keeps, for one variant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from harness.backbone.sizes import size_of
from harness.backbone.vit import ViT, grid_for
from harness.jobs.cell import Cell, Tick
from harness.jobs.experiment import Experiment
from harness.measure import cost
from harness.results import store

PLAIN = ("tiny", "small", "base")  # DeiT's sizes


@dataclass(frozen=True, eq=False)
class Costs(Cell):
    """A variant in every experiment's size and resolution; where it cannot be built, a null row with the sentence.

    body: "" for the study's own, "published" for DeiT's (the class token from the input on, every layer spatial), "own"
    where a published model's size says so itself.
    """

    variant: str
    experiments: Sequence[Experiment]
    body: str = ""

    kind = "costs"
    metric = "gmac"
    seed, fraction, after = None, 1.0, None

    @property
    def name(self) -> str:
        return f"{self.variant} {'as published' if self.body else 'costs'}"

    @property
    def work(self) -> int:
        return len(self.experiments)

    @property
    def about(self) -> dict[str, Any]:
        return {"params": {"body": self.body} if self.body else None}

    def settings(self) -> Sequence[Any]:
        return [[[one.study.size, *one.image, one.study.fixed] for one in self.experiments], self.body]

    def run(self, folder: Path, tick: Tick) -> Iterator[store.Row]:
        for experiment in self.experiments:
            at = replace(self, experiment=experiment)
            for fact in counted(experiment, self.variant):
                yield at.row(self.variant, **fact) | {"cell": self.key}
            tick()


def as_published(variant: str, experiment: Experiment) -> Costs:
    """A published model's body: in DeiT's sizes with the class token from the input on, else the size's own."""
    study = experiment.study
    if study.size not in PLAIN:
        return Costs(experiment, variant, [experiment], "own")
    whole = replace(study, class_token="input", spatial_layers=size_of(study.size).depth)
    changed = replace(experiment, study=whole)
    return Costs(changed, variant, [changed], "published")


def counted(experiment: Experiment, variant: str) -> Iterator[dict[str, Any]]:
    """The facts of a variant at one size and resolution."""
    try:
        model = experiment.model(variant)
    except ValueError as error:
        yield {"metric": "params", "value": None, "unit": "1", "note": str(error)}
        return
    yield {"metric": "params", "value": cost.params(model), "unit": "1"}
    try:
        gmac = cost.count(model, experiment.batch(1, experiment.image)[0])
    except NotImplementedError as error:
        yield {"metric": "gmac", "value": None, "unit": "GMAC", "note": str(error)}
        return
    yield {"metric": "gmac", "value": gmac, "unit": "GMAC", "batch_size": 1}
    left_out = dropped(model, experiment)
    if left_out:
        spared = cost.of_pairs(left_out, model.size.width // model.size.num_heads)
        yield {"metric": "attended_gmac", "value": gmac - spared, "unit": "GMAC", "batch_size": 1}


def dropped(model: ViT, experiment: Experiment) -> int:
    """The pairs that masks and windows leave out in one image, over all layers and heads."""
    grid, total = grid_for(experiment.image, experiment.study.patch_size), 0
    for block in model.blocks:
        with torch.no_grad():
            mask = block.attn.terms(block.attn.qkv.weight, grid).mask()
        if mask is not None:
            total += int((~mask).sum()) * (model.size.num_heads // len(mask))
    return total
