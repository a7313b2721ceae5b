"""The cells that train: one variant, one seed, one share of the images; and its fine-tuning at another resolution.

The test split is read once, after the last epoch. The trained weights stay beside the rows (weights/CELL.safetensors).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.backbone.vit import ViT, grid_for
from harness.jobs.cell import Cell, Tick
from harness.jobs.experiment import Bench, Size, px
from harness.jobs.kinds.maps import snapshot
from harness.measure.shift import MOST, WAYS, consistency
from harness.results import store
from harness.training.checkpoint import Checkpoints, load_weights, save_weights
from harness.training.loop import History, answers, correct, train

FORWARD = 1 / 3  # of a training step
MANY = 100  # classes from which top-5 says something


def training_cell(bench: Bench, variant: str, seed: int, fraction: float = 1.0) -> Cell:
    """Trains one variant with one seed on a share of the images, then reads the test split at every resolution."""
    key = bench.key([variant], "accuracy", seed, fraction)
    recipe, common = bench.study.recipe, {"seed": seed, "train_fraction": fraction}

    def rows(tick: Tick, folder: Path) -> tuple[list[store.Row], Tensor | None]:
        model = bench.model(variant, seed, compiled=True)
        training = bench.training(model, recipe, seed, fraction, bench.image)
        checkpoints = Checkpoints(cell.checkpoints(folder), bench.study.checkpoint_interval)
        history = train(training, tick, checkpoints, validator(bench, cell.snapshots(folder)))
        trained: Any = training.trained
        save_weights(cell.weights(folder), trained)
        found, right = tested(bench, trained, variant)
        facts = [*by_epoch(history, len(bench.data.val_y)), *({"epoch": recipe.total_epochs} | fact for fact in found)]
        where = common | {"backend": model.executes(bench.like(recipe.batch_size, bench.image))}
        return [bench.row(variant, key, **where, **fact) for fact in facts], right

    def failed(note: str) -> list[store.Row]:
        return [bench.row(variant, key, metric="top1", value=None, unit="%", note=note, **common)]

    share = "" if fraction == 1 else f" on {100 * fraction:g} %"
    cell = Cell(
        f"{variant} seed {seed}{share}", key, recipe.total_epochs, rows, failed, variant, seed, fraction,
        updates(bench),
    )  # fmt: skip
    return cell


def finetuning_cell(bench: Bench, trained: Cell, size: Size) -> Cell:
    """Goes on from a training's weights at another resolution, then reads the test split there."""
    study, variant, seed, fraction = bench.study, trained.variant, trained.seed, trained.fraction
    assert seed is not None
    recipe = study.recipe.finetuning(study.finetune_epochs)
    key = bench.key([variant], "fine-tuning", trained.key, size, asdict(recipe))
    common = {"seed": seed, "train_fraction": fraction, "test": size, "epoch": recipe.epochs, "unit": "%"}

    def rows(tick: Tick, folder: Path) -> tuple[list[store.Row], Tensor | None]:
        model = bench.model(variant, seed)
        load_weights(trained.weights(folder), model)
        model.set_grid(grid_for(size, study.patch_size))
        if study.torchcompile:
            model.compile()
        training = bench.training(model.to(bench.device), recipe, seed, fraction, size)
        train(training, tick, Checkpoints(cell.checkpoints(folder), study.checkpoint_interval))
        right = correct(model, bench.shown("test", size))
        save_weights(cell.weights(folder), model)
        note = f"fine-tuned {recipe.epochs} epochs at {px(size)} px: {rule(model)}"
        fact = share("finetuned_top1", right) | {"note": noted(bench, variant, note)}
        where = common | {"backend": model.executes(bench.like(recipe.batch_size, size))}
        return [bench.row(variant, key, **(where | fact))], right[None]

    def failed(note: str) -> list[store.Row]:
        return [bench.row(variant, key, metric="finetuned_top1", value=None, note=note, **common)]

    work = bench.images // recipe.batch_size * recipe.epochs * size[0] * size[1] / (bench.image[0] * bench.image[1])
    cell = Cell(
        f"{trained.name} fine-tuned at {px(size)} px", key, recipe.epochs, rows, failed, variant, seed, fraction, work,
        trained.key,
    )  # fmt: skip
    return cell


def validator(bench: Bench, snapshots: Path) -> Any:
    """Counts right answers on the validation split after every `val_interval` epochs, and after the last.

    At a few of these epochs it leaves what the model's relations have learned in the folder `snapshots`.
    """

    def validate(model: nn.Module, epoch: int) -> float | None:
        if epoch % bench.study.val_interval and epoch != bench.study.recipe.total_epochs:
            return None
        right = int(correct(model, bench.shown("val", bench.image)).sum())
        snapshot(bench, snapshots, model, epoch)
        return right

    return validate


def by_epoch(history: History, images: int) -> list[dict[str, Any]]:
    """Loss, seconds and validation accuracy of each epoch."""
    found: list[dict[str, Any]] = []
    for epoch, (loss, seconds) in enumerate(zip(history.losses, history.seconds, strict=True), start=1):
        found.append({"metric": "loss", "value": loss, "unit": "nat", "epoch": epoch})
        found.append({"metric": "train_s", "value": seconds, "unit": "s", "epoch": epoch})
    for at, right in history.validated.items():
        found.append({"metric": "val_top1", "value": 100 * right / images, "unit": "%", "n": images, "epoch": int(at)})
    return found


def tested(bench: Bench, model: ViT, variant: str) -> tuple[list[dict[str, Any]], Tensor]:
    """Accuracy at every resolution and shift consistency; bool [resolutions, n]: which test images were right."""
    found, each = [], []
    for size in bench.resolutions:
        guesses, labels = answers(model, bench.shown("test", size))
        hits = guesses == labels[:, None]
        each.append(hits[:, 0])
        note = {"note": noted(bench, variant, "" if size == bench.image else f"zero-shot: {rule(model)}")}
        found.append(share("top1", hits[:, 0]) | {"test": size} | note)
        if len(bench.data.classes) >= MANY:
            found.append(share("top5", hits.any(dim=1)) | {"test": size} | note)
    steps = {"px": 1, "patch": bench.study.patch_size}
    return found + consistency(model, bench.shown("test", bench.image, False, MOST), steps), torch.stack(each)


def rule(model: ViT) -> str:
    """What the model does at another resolution than its own, in words."""
    own = model.blocks[0].attn.resolution_rule()
    embedding = {"learned": "position embedding resampled", "sincos": "position embedding recomputed", "none": ""}
    return "; ".join(filter(None, [f"{model.spec} {own}" if own else "", embedding[model.size.pos_embed]]))


def noted(bench: Bench, variant: str, words: str) -> str | None:
    """The words, and what a widened baseline has to say of its pairing."""
    arm = bench.widened.get(variant)
    by_data = "" if arm is None else f"paired by data only: its MLPs are {arm.mlp_hidden} wide"
    return "; ".join(filter(None, [by_data, words])) or None


def share(metric: str, right: Tensor) -> dict[str, Any]:
    """The share of a bool [n] as a fact, in percent."""
    return {"metric": metric, "value": 100 * int(right.sum()) / len(right), "unit": "%", "n": len(right)}


def updates(bench: Bench) -> float:
    """How many training steps at the training size a training cell is worth, its validations and tests among them."""
    study, recipe = bench.study, bench.study.recipe
    pixels = bench.image[0] * bench.image[1]
    shown: float = len(bench.data.val_y) * -(-recipe.total_epochs // study.val_interval)
    shown += sum(len(bench.data.test_y) * h * w / pixels for h, w in bench.resolutions)
    shown += min(MOST, len(bench.data.test_y)) * (1 + 2 * len(WAYS))
    return bench.images // recipe.batch_size * recipe.total_epochs + FORWARD * shown / recipe.batch_size
