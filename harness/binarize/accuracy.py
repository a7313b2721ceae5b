"""The cells of a binarised prior: how accurate a trained model is with a mask in its place.

Each starts from the weights of one training. A choice (the rate of the short fine-tuning) is made on the validation
split; the test split is read once for each number. How long the masks take is in harness/binarize/times.py.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.backbone.vit import ViT, grid_for
from harness.binarize.masks import By, Form, binarise, deviation, largest, pairs, priors_of
from harness.jobs.cell import Cell, Tick
from harness.jobs.experiment import Experiment, Size
from harness.jobs.kinds.training import share, training_of
from harness.measure import cost
from harness.measure.rollout import kept_maps
from harness.results import store
from harness.training.checkpoint import load_weights
from harness.training.loop import correct, train
from variants.geometry import Grid, from_pairs

RATES = (80, 8)  # the fine-tuning's rate is the training's over one of these: SP-ViT's rule, and ten times that
MASS_IMAGES = 64  # of the validation split, over which attention is averaged
TOKENS = 2**12  # in a batch that is averaged or timed, at most 64 images
FAMILY = "binarised"


@dataclass(frozen=True)
class Trained:
    """A training whose weights are there to go on from: `key` is its cell, `weights` its file.

    source, dataset: the source hash and the dataset of its rows.
    """

    variant: str
    seed: int
    fraction: float
    key: str
    source: str
    weights: Path
    dataset: str

    @property
    def about(self) -> dict[str, Any]:
        """What its rows share with those that are made from it, wherever the images lie by now."""
        return {"seed": self.seed, "train_fraction": self.fraction, "dataset": self.dataset}

    @property
    def name(self) -> str:
        return f"seed {self.seed}" + ("" if self.fraction == 1 else f" on {100 * self.fraction:g} %")


@dataclass(frozen=True)
class Arm:
    """One way to make a prior binary. With keep=1 nothing is dropped, and `by` means nothing: a control."""

    variant: str
    keep: float
    by: By
    form: Form

    @property
    def name(self) -> str:
        """ "sp_sa kept 25 % by mass, prior 1": rows have it for their variant."""
        by = "" if self.keep == 1 else f" by {self.by}"
        return f"{self.variant} kept {100 * self.keep:g} %{by}{', prior 1' if self.form == 'ones' else ''}"

    @property
    def params(self) -> dict[str, Any]:
        """What it is, as rows have it: `keep` in % of the offsets, `ones`: the prior is 1 where it is kept."""
        by = "" if self.keep == 1 else self.by
        return {"spec": self.variant, "keep": 100 * self.keep, "by": by, "ones": self.form == "ones"}


def arms(variant: str, keeps: Iterable[float], bys: Iterable[By], forms: Iterable[Form]) -> list[Arm]:
    """Every arm once, the controls that keep everything first."""
    every = [Arm(variant, keep, by, form) for keep in sorted({1.0, *keeps}, reverse=True) for by in bys
             for form in forms]  # fmt: skip
    return list({arm.name: arm for arm in every}.values())


@dataclass(frozen=True, eq=False)
class OfArm(Cell):
    """A cell about the masks of one training."""

    trained: Trained

    after = None

    @property
    def variant(self) -> str:
        return self.trained.variant

    @property
    def seed(self) -> int:
        return self.trained.seed

    @property
    def fraction(self) -> float:
        return self.trained.fraction

    @property
    def about(self) -> dict[str, Any]:
        return self.trained.about

    def modules(self) -> list[str]:
        return [*super().modules(), "harness.jobs.kinds.training"]

    def arm_row(self, arm: Arm, **fact: Any) -> store.Row:
        """A row of an arm, whose name is no spec; its params say what it is."""
        params = arm.params | (fact.pop("params", None) or {})
        return self.row(self.variant, **fact, params=params) | {"variant": arm.name, "family": FAMILY}


@dataclass(frozen=True, eq=False)
class MaskedAccuracy(OfArm):
    """Top-1 with the mask, as it is and after a short fine-tuning; the pairs that are attended, and GMACs."""

    arm: Arm
    epochs: int

    kind = "binarized"
    metric = "kept_top1"

    @property
    def name(self) -> str:
        return f"{self.arm.name} {self.trained.name}"

    @property
    def work(self) -> int:
        return 1 + self.epochs * len(RATES)

    def settings(self) -> Sequence[Any]:
        recipe = self.experiment.study.recipe.finetuning(self.epochs) if self.epochs else None
        return [self.trained.key, asdict(self.arm), recipe and recipe.fixed, RATES]

    def run(self, folder: Path, tick: Tick) -> Iterator[store.Row]:
        experiment = self.experiment
        model = loaded(experiment, self.trained)
        tables = chosen(experiment, model, self.arm, [experiment.image])
        for layer, by_grid in tables.items():
            binarise(model.blocks[layer].attn, by_grid, self.arm.form)
        right = correct(model, experiment.shown("test", experiment.image))
        yield self.arm_row(self.arm, **experiment.by_image(share("kept_top1", right)))
        gmac = dense(experiment, self.variant, experiment.image)
        for fact in counted(model, gmac, tables, grid_for(experiment.image, model.patch_size)):
            yield self.arm_row(self.arm, **fact)
        tick()
        if self.epochs:
            fact = finetuned(experiment, self.trained, model, self.epochs, tick)
            yield self.arm_row(self.arm, epoch=self.epochs, **fact)

    def null_rows(self, note: str) -> list[store.Row]:
        return [self.arm_row(self.arm, metric=self.metric, value=None, unit="%", note=note)]


def finetuned(experiment: Experiment, trained: Trained, model: ViT, epochs: int, tick: Tick) -> dict[str, Any]:
    """Test top-1 after fine-tuning with the rate that is best on the validation split."""
    best: tuple[float, float, ViT] | None = None
    for divisor in RATES:
        lr = experiment.study.recipe.lr / divisor
        recipe = replace(experiment.study.recipe.finetuning(epochs), lr=lr, min_lr=lr)
        one = copy.deepcopy(model)
        train(training_of(experiment, one, recipe, trained.seed, trained.fraction, experiment.image), tick)
        right = float(correct(one, experiment.shown("val", experiment.image)).float().mean())
        if best is None or right > best[0]:
            best = right, lr, one
    assert best is not None
    right, lr, one = best
    params = {"epochs": epochs, "lr": lr, "rates": len(RATES), "val_top1": 100 * right}
    fact = share("kept_finetuned_top1", correct(one, experiment.shown("test", experiment.image)))
    return experiment.by_image(fact | {"params": params})


def loaded(experiment: Experiment, trained: Trained) -> ViT:
    """The trained model. Raises ValueError where the weights are missing or damaged."""
    model = experiment.model(trained.variant, trained.seed)
    load_weights(trained.weights, model)
    return model


def chosen(experiment: Experiment, model: ViT, arm: Arm, sizes: list[Size]) -> dict[int, dict[Grid, Tensor]]:
    """By layer and grid the offsets that are kept, bool [H, 2h-1, 2w-1]."""
    found: dict[int, dict[Grid, Tensor]] = {}
    for size in sizes:
        grid = grid_for(size, experiment.study.patch_size)
        masses = mass(experiment, model, size) if arm.by == "mass" and arm.keep < 1 else None
        for number, block in enumerate(model.blocks):
            if priors_of(block.attn.relation):
                scores = masses[number] if masses else deviation(block.attn, grid)
                found.setdefault(number, {})[grid] = largest(scores, arm.keep)
    return found


def mass(experiment: Experiment, model: ViT, size: Size) -> list[Tensor]:
    """By layer [H, 2h-1, 2w-1]: the attention on each offset, summed over pairs, a mean over validation images."""
    grid = grid_for(size, experiment.study.patch_size)
    n = grid[0] * grid[1]
    few = max(1, min(MASS_IMAGES, TOKENS // n))
    total: list[Tensor] = []
    images = next(iter(experiment.shown("val", size, dealt=False, most=few)))[0][:few]
    with torch.no_grad(), kept_maps(model.eval()) as maps:
        model(images)
        for found in maps:
            among = found.detach().float().mean(dim=0)[:, -n:, -n:].unflatten(2, grid).unflatten(1, grid)
            total.append(from_pairs(among, grid, (2 * grid[0] - 1, 2 * grid[1] - 1), range(grid[0])))
    return total


def dense(experiment: Experiment, spec: str, size: Size) -> float:
    """GMAC of an image's forward with all pairs."""
    return cost.count(experiment.model(spec), experiment.batch(1, size)[0])


def product(model: ViT, number: float) -> float:
    """GMAC of so many pairs: query with key, weight with value."""
    return cost.of_pairs(number, model.size.width // model.size.num_heads)


def counted(model: ViT, gmac: float, tables: dict[int, dict[Grid, Tensor]], grid: Grid) -> list[dict[str, Any]]:
    """The share of pairs that is attended, and GMACs: `gmac` of all pairs, and of the attended ones alone."""
    share_of = torch.cat([pairs(by_grid[grid], grid) for by_grid in tables.values()])
    spared = product(model, float((1 - share_of).sum()) * (grid[0] * grid[1]) ** 2)
    return [
        {"metric": "kept_pairs", "value": 100 * float(share_of.mean()), "unit": "%"},
        {"metric": "kept_dense_gmac", "value": gmac, "unit": "GMAC"},
        {"metric": "kept_gmac", "value": gmac - spared, "unit": "GMAC"},
    ]
