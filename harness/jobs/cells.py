"""The cells of a study: exact costs, timings, a training for each variant, share of the images and seed, fine-tunings.

The order is seed by seed, so that an interrupted study is balanced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from harness.jobs.cell import Cell, Tick
from harness.jobs.experiment import Bench
from harness.jobs.kinds.maps import atlas_cell
from harness.jobs.kinds.saliency import saliency_cell
from harness.jobs.kinds.speed import speed_cell
from harness.jobs.kinds.training import finetuning_cell, training_cell
from harness.measure import cost, proofs
from harness.results import store
from harness.training.loop import optimizer
from harness.training.recipe import Recipe


def plan(bench: Bench, variants: list[str]) -> list[Cell]:
    """The cells of a study: costs, timings, then trainings seed by seed, each before its fine-tunings."""
    wanted, found = bench.study.measure, []
    if "cost" in wanted:
        found.append(cost_cell(bench, variants))
    if "speed" in wanted:
        found.append(speed_cell(bench, variants))
    if "accuracy" in wanted:
        for seed in bench.study.seeds:
            trainings = [training_cell(bench, v, seed, f) for f in bench.study.train_fractions for v in variants]
            found += trainings
            if bench.study.finetune_epochs:
                found += [finetuning_cell(bench, cell, size) for cell in trainings for size in bench.resolutions[1:]]
            if "maps" in wanted:
                found += [atlas_cell(bench, cell) for cell in trainings]
            if "saliency" in wanted:
                found += [saliency_cell(bench, cell) for cell in trainings]
    return found


def refusals(bench: Bench, refused: dict[str, str]) -> list[store.Row]:
    """A null row with its sentence for each variant that a family brought and that cannot be built."""
    return [bench.row(v, "refused", metric="params", value=None, unit="1", note=note) for v, note in refused.items()]


def cost_cell(bench: Bench, variants: list[str]) -> Cell:
    """What is exact: parameters, what weight decay spares, GMAC, and the proof of every variant against its paper."""
    key = bench.key(variants, "cost", proofs.recorded())

    def rows(tick: Tick, folder: Path) -> tuple[list[store.Row], Tensor | None]:
        found = []
        for variant in variants:
            model = bench.model(variant)
            found.append(bench.row(variant, key, metric="params", value=cost.params(model), unit="1"))
            found.append(bench.row(variant, key, **undecayed(model, bench.study.recipe)))
            try:
                counted: dict[str, Any] = {"value": cost.count(model, bench.batch(1, bench.image)[0])}
            except NotImplementedError as error:  # an operation that the counter does not know costs this variant alone
                counted = {"value": None, "note": str(error)}
            found.append(bench.row(variant, key, metric="gmac", unit="GMAC", **(counted | {"batch_size": 1})))
            found.append(bench.row(variant, key, **proofs.badge(bench.arm(variant).spec)))
            tick()
        return found, None

    def failed(note: str) -> list[store.Row]:
        return [bench.row(variant, key, metric="gmac", value=None, unit="GMAC", note=note) for variant in variants]

    return Cell("cost", key, len(variants), rows, failed)


def undecayed(model: nn.Module, recipe: Recipe) -> dict[str, Any]:
    """The number of parameters that weight decay spares; the note names those of the attentions that are spared."""
    groups = optimizer(model, recipe).param_groups
    spared = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    names = {name: p for name, p in model.named_parameters() if id(p) in spared}
    own = {name.partition(".attn.")[2] for name in names if ".attn." in name} - {"qkv.bias", "proj.bias"}
    note = f"beside all 1-D parameters, pos_embed and cls_token: {', '.join(sorted(own)) or 'none of the attention'}"
    return {"metric": "undecayed", "value": sum(p.numel() for p in names.values()), "unit": "1", "note": note}
