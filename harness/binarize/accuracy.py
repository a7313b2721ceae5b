"""The cells of a binarised prior: how accurate a trained model is with a mask in its place.

Each starts from the weights of one training. A choice (the rate of the short fine-tuning) is made on the validation
split; the test split is read once for each number. How long the masks take is in harness/binarize/times.py.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.backbone.vit import ViT, grid_for
from harness.binarize.masks import By, Form, binarise, deviation, largest, pairs, priors_of
from harness.jobs.cell import Cell, Tick
from harness.jobs.experiment import Bench, Size
from harness.jobs.kinds.training import share
from harness.measure import cost
from harness.measure.saliency import kept_maps
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
    """A training whose weights are there to go on from: `key` is its cell, `weights` its file, `dataset` its rows'."""

    variant: str
    seed: int
    fraction: float
    key: str
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


def arms(variant: str, keeps: Iterable[float], bys: Iterable[By], forms: Iterable[Form]) -> list[Arm]:
    """Every arm once, the controls that keep everything first."""
    every = [Arm(variant, keep, by, form) for keep in sorted({1.0, *keeps}, reverse=True) for by in bys
             for form in forms]  # fmt: skip
    return list({arm.name: arm for arm in every}.values())


def accuracy_cell(bench: Bench, trained: Trained, arm: Arm, epochs: int) -> Cell:
    """Top-1 with the mask, as it is and after a short fine-tuning; the pairs that are attended, and GMACs."""
    recipe = bench.study.recipe.finetuning(epochs) if epochs else None
    key = bench.key([arm.variant], "kept", trained.key, asdict(arm), recipe and asdict(recipe), RATES)

    def rows(tick: Tick, folder: Path) -> tuple[list[store.Row], Tensor | None]:
        model = loaded(bench, trained)
        tables = chosen(bench, model, arm, [bench.image])
        for layer, by_grid in tables.items():
            binarise(model.blocks[layer].attn, by_grid, arm.form)
        found = [share("kept_top1", correct(model, bench.shown("test", bench.image)))]
        found += counted(model, dense(bench, arm.variant, bench.image), tables, grid_for(bench.image, model.patch_size))
        tick()
        if recipe is not None:
            found.append(finetuned(bench, trained, model, epochs, tick) | {"epoch": epochs})
        return [row(bench, arm.name, arm.variant, key, **trained.about, **fact) for fact in found], None

    def failed(note: str) -> list[store.Row]:
        return [
            row(bench, arm.name, arm.variant, key, metric="kept_top1", value=None, unit="%", note=note, **trained.about)
        ]

    work = 1 + epochs * len(RATES)
    return Cell(f"{arm.name} {trained.name}", key, work, rows, failed, arm.variant, trained.seed, trained.fraction)


def finetuned(bench: Bench, trained: Trained, model: ViT, epochs: int, tick: Tick) -> dict[str, Any]:
    """Test top-1 after fine-tuning with the rate that is best on the validation split."""
    best: tuple[float, float, ViT] | None = None
    for divisor in RATES:
        lr = bench.study.recipe.lr / divisor
        recipe = replace(bench.study.recipe.finetuning(epochs), lr=lr, min_lr=lr)
        one = copy.deepcopy(model)
        train(bench.training(one, recipe, trained.seed, trained.fraction, bench.image), tick)
        right = float(correct(one, bench.shown("val", bench.image)).float().mean())
        if best is None or right > best[0]:
            best = right, lr, one
    assert best is not None
    right, lr, one = best
    note = f"{epochs} epochs at lr {lr:g}, the best of {len(RATES)} rates by validation ({100 * right:.2f} % there)"
    return share("kept_finetuned_top1", correct(one, bench.shown("test", bench.image))) | {"note": note}


def loaded(bench: Bench, trained: Trained) -> ViT:
    """The trained model. Raises ValueError where the weights are missing or damaged."""
    model = bench.model(trained.variant, trained.seed)
    load_weights(trained.weights, model)
    return model


def chosen(bench: Bench, model: ViT, arm: Arm, sizes: list[Size]) -> dict[int, dict[Grid, Tensor]]:
    """By layer and grid the offsets that are kept, bool [H, 2h-1, 2w-1]."""
    found: dict[int, dict[Grid, Tensor]] = {}
    for size in sizes:
        grid = grid_for(size, bench.study.patch_size)
        masses = mass(bench, model, size) if arm.by == "mass" and arm.keep < 1 else None
        for number, block in enumerate(model.blocks):
            if priors_of(block.attn.relation):
                scores = masses[number] if masses else deviation(block.attn, grid)
                found.setdefault(number, {})[grid] = largest(scores, arm.keep)
    return found


def mass(bench: Bench, model: ViT, size: Size) -> list[Tensor]:
    """By layer [H, 2h-1, 2w-1]: the attention on each offset, summed over pairs, a mean over validation images."""
    grid = grid_for(size, bench.study.patch_size)
    n = grid[0] * grid[1]
    few = max(1, min(MASS_IMAGES, TOKENS // n))
    total: list[Tensor] = []
    images = next(iter(bench.shown("val", size, dealt=False, most=few)))[0][:few]
    with torch.no_grad(), kept_maps(model.eval()) as maps:
        model(images)
        for found in maps:
            among = found.detach().float().mean(dim=0)[:, -n:, -n:].unflatten(2, grid).unflatten(1, grid)
            total.append(from_pairs(among, grid, (2 * grid[0] - 1, 2 * grid[1] - 1), range(grid[0])))
    return total


def dense(bench: Bench, spec: str, size: Size) -> float:
    """GMAC of an image's forward with all pairs."""
    return cost.count(bench.model(spec), bench.batch(1, size)[0])


def product(model: ViT, number: float) -> float:
    """GMAC of so many pairs: query with key, weight with value."""
    return cost.of_pairs(number, model.size.width // model.size.num_heads)


def counted(model: ViT, gmac: float, tables: dict[int, dict[Grid, Tensor]], grid: Grid) -> list[dict[str, Any]]:
    """The share of pairs that is attended, and GMACs: `gmac` of all pairs, and of the attended ones alone."""
    share_of = torch.cat([pairs(by_grid[grid], grid) for by_grid in tables.values()])
    spared = product(model, float((1 - share_of).sum()) * (grid[0] * grid[1]) ** 2)
    return [
        {"metric": "kept_pairs", "value": 100 * float(share_of.mean()), "unit": "%", "note": "mean over heads, layers"},
        {"metric": "kept_dense_gmac", "value": gmac, "unit": "GMAC", "note": "all pairs, as eager computes them"},
        {"metric": "kept_gmac", "value": gmac - spared, "unit": "GMAC", "note": "the attended pairs alone"},
    ]


def row(bench: Bench, name: str, spec: str, key: str, **fact: Any) -> store.Row:
    """A row of an arm, whose name is no spec."""
    found = bench.row(spec, key, **fact)
    return found if name == spec else found | {"variant": name, "family": FAMILY}
