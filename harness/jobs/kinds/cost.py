"""The cost cell: what is exact. Parameters, what weight decay spares, GMAC, and each variant's proof."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from harness.jobs.cell import Cell, Tick
from harness.measure import cost, proofs
from harness.results import store
from harness.training.loop import optimizer
from harness.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Cost(Cell):
    """Of all variants."""

    variants: Sequence[str]

    kind = "cost"
    metric = "gmac"
    name = "cost"
    variant, seed, fraction, after = "", None, 1.0, None

    @property
    def work(self) -> int:
        return len(self.variants)

    def about_variants(self) -> Sequence[str]:
        return self.variants

    def settings(self) -> Sequence[Any]:
        return [proofs.recorded()]

    def run(self, folder: Path, tick: Tick) -> Iterator[store.Row]:
        experiment = self.experiment
        for variant in self.variants:
            model = experiment.model(variant)
            yield self.row(variant, metric="params", value=cost.params(model), unit="1")
            yield self.row(variant, **undecayed(model, experiment.study.recipe))
            try:
                counted: dict[str, Any] = {"value": cost.count(model, experiment.batch(1, experiment.image)[0])}
            except NotImplementedError as error:  # an operation that the counter does not know costs this variant alone
                counted = {"value": None, "note": str(error)}
            yield self.row(variant, metric="gmac", unit="GMAC", batch_size=1, **counted)
            yield self.row(variant, **proofs.badge(experiment.spec_of(variant).spec))
            tick()


def undecayed(model: nn.Module, recipe: Recipe) -> dict[str, Any]:
    """The number of parameters that weight decay spares; params name those of the attentions among them.

    All 1-D parameters, pos_embed and cls_token are spared besides.
    """
    groups = optimizer(model, recipe).param_groups
    spared = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    names = {name: p for name, p in model.named_parameters() if id(p) in spared}
    own = {name.partition(".attn.")[2] for name in names if ".attn." in name} - {"qkv.bias", "proj.bias"}
    total = sum(p.numel() for p in names.values())
    return {"metric": "undecayed", "value": total, "unit": "1", "params": {"spared": sorted(own)}}
