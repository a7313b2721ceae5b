"""The cells that train: one variant, one seed, one share of the images.

The test split is read once, after the last epoch, at every resolution. What is left beside the rows: the trained
weights (weights/CELL.safetensors), which test images were right, and the log-probabilities of all classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness import distributed
from harness.backbone.vit import ViT
from harness.jobs.cell import Cell, Tick, keep_array
from harness.jobs.experiment import Experiment, Size
from harness.jobs.kinds.snapshots import snapshot
from harness.results import store
from harness.training.batches import feed
from harness.training.checkpoint import Checkpoints, save_weights
from harness.training.loop import History, Training, answers, correct, rounded, train
from harness.training.recipe import Recipe

FORWARD = 1 / 3  # of a training step
MANY = 100  # classes from which top-5 says something


@dataclass(frozen=True, eq=False)
class Trained(Cell):
    """Trains one variant with one seed on a share of the images, then reads the test split at every resolution."""

    variant: str
    seed: int
    fraction: float = 1.0
    tuning: Cell | None = None  # whose learning rate it takes

    kind = "training"
    metric = "top1"

    @property
    def after(self) -> Cell | None:
        return self.tuning

    @property
    def name(self) -> str:
        share = "" if self.fraction == 1 else f" on {100 * self.fraction:g} %"
        return f"{self.variant} seed {self.seed}{share}"

    @property
    def work(self) -> int:
        return self.experiment.study.recipe.total_epochs

    @property
    def updates(self) -> float:
        """How many training steps at the training size it is worth, its validations and tests among them."""
        experiment, recipe = self.experiment, self.experiment.study.recipe
        pixels = experiment.image[0] * experiment.image[1]
        shown: float = len(experiment.data.val_y) * -(-recipe.total_epochs // experiment.study.val_interval)
        shown += sum(len(experiment.data.test_y) * h * w / pixels for h, w in experiment.resolutions)
        return experiment.images // recipe.batch_size * recipe.total_epochs + FORWARD * shown / recipe.batch_size

    @property
    def about(self) -> dict[str, Any]:
        return {"seed": self.seed, "train_fraction": self.fraction}

    def settings(self) -> Sequence[Any]:
        return [self.seed, self.fraction, *([self.tuning.key] if self.tuning is not None else [])]

    def recipe(self, folder: Path) -> Recipe:
        """The study's recipe, or with the learning rate that the variant was tuned to."""
        shared = self.experiment.study.recipe
        return shared if self.tuning is None else replace(shared, lr=tuned_rate(self.tuning, folder))

    def run(self, folder: Path, tick: Tick) -> Iterator[store.Row]:
        experiment, recipe = self.experiment, self.recipe(folder)
        model = experiment.model(self.variant, self.seed, compiled=True)
        training = training_of(experiment, model, recipe, self.seed, self.fraction, experiment.image)
        checkpoints = Checkpoints(self.checkpoints(folder), experiment.study.checkpoint_interval)
        history = train(training, tick, checkpoints, validator(experiment, self.snapshots(folder)))
        trained: Any = training.trained
        save_weights(self.weights(folder), trained)
        facts = [*by_epoch(history, len(experiment.data.val_y)), *self.tested(trained, folder)]
        backend = model.executes(experiment.like(recipe.batch_size, experiment.image))
        for fact in facts:
            yield self.row(self.variant, backend=backend, **fact)

    def tested(self, model: ViT, folder: Path) -> list[dict[str, Any]]:
        """Accuracy at every resolution; which test images were right, and all probabilities, stay beside the rows."""
        experiment, found, each = self.experiment, [], []
        for size in experiment.resolutions:
            guesses, logs, labels = answers(model, experiment.shown("test", size))
            hits = guesses == labels[:, None]
            each.append(hits[:, 0])
            where = {"test": size, "epoch": experiment.study.recipe.total_epochs}
            if size == experiment.image:
                keep_array(self.log_probabilities(folder), rounded(logs).numpy())
                params = paired(experiment, self.variant)
            else:
                params = paired(experiment, self.variant) | {"transfer": "zero-shot"} | rule(model)
            found.append(experiment.by_image(share("top1", hits[:, 0]) | where | {"params": params or None}))
            if len(experiment.data.classes) >= MANY:
                top5 = share("top5", hits.any(dim=1)) | where | {"params": params or None}
                found.append(experiment.by_image(top5))
        keep_array(self.beside(folder, ".correct.npy"), torch.stack(each).numpy())
        return found

    def log_probabilities(self, folder: Path) -> Path:
        """float16 [n, classes]: those of the test split at the training size."""
        return self.beside(folder, ".log_probabilities.npy")


@dataclass(frozen=True, eq=False)
class OfTrained(Cell):
    """A cell that reads what a training left."""

    after: Trained

    @property
    def variant(self) -> str:
        return self.after.variant

    @property
    def seed(self) -> int:
        return self.after.seed

    @property
    def fraction(self) -> float:
        return self.after.fraction

    @property
    def about(self) -> dict[str, Any]:
        return self.after.about | {"epoch": self.experiment.study.recipe.total_epochs}

    @property
    def weights_hash(self) -> list[str]:
        return [self.after.kind_hash]

    def settings(self) -> Sequence[Any]:
        return [self.after.key]


def tuned_rate(tuning: Cell, folder: Path) -> float:
    """The learning rate that a tuning left, which rank 0 reads. Raises ValueError where it left none."""
    found: list[float] = []
    if distributed.rank() == 0 and tuning.done(folder):
        rows = map(json.loads, tuning.path(folder).read_text().splitlines())
        found = [row["value"] for row in rows if row["metric"] == tuning.metric]
    found = distributed.agreed(found)
    if not found:
        raise ValueError(f"{tuning.name} left no learning rate; see why it failed")
    return found[0]


def training_of(experiment: Experiment, model: ViT, recipe: Recipe, seed: int, fraction: float, size: Size) -> Training:
    """The training of a model on a share of the images at a size."""
    lessons = feed(experiment.source(recipe, seed, fraction, size))
    objective = experiment.objective(recipe, seed, size)
    return Training(model, lessons, recipe, seed, len(experiment.data.classes), experiment.device, objective)


def validated(
    cell: Cell, recipe: Recipe, seed: int, tick: Tick, checkpoints: Checkpoints | None = None
) -> tuple[Tensor, float]:
    """Trains the variant of a cell with a recipe: which validation images are right (bool [n]), and its seconds."""
    experiment = cell.experiment
    model = experiment.model(cell.variant, seed, compiled=True)
    training = training_of(experiment, model, recipe, seed, cell.fraction, experiment.image)
    history = train(training, tick, checkpoints)
    return correct(training.trained, experiment.shown("val", experiment.image)), history.spent


def validator(experiment: Experiment, snapshots: Path) -> Callable[[nn.Module, int], float | None]:
    """Counts right answers on the validation split after every `val_interval` epochs, and after the last.

    At a few of these epochs it leaves what the model's relations have learned in the folder `snapshots`.
    """

    def validate(model: nn.Module, epoch: int) -> float | None:
        if epoch % experiment.study.val_interval and epoch != experiment.study.recipe.total_epochs:
            return None
        right = int(correct(model, experiment.shown("val", experiment.image)).sum())
        snapshot(experiment.study, snapshots, model, epoch)
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


def rule(model: ViT) -> dict[str, Any]:
    """What the model does at another resolution than its own: with its relation, and with its position embedding."""
    own = model.blocks[0].attn.resolution_rule()
    embedding = {"learned": "resampled", "sincos": "recomputed", "none": ""}[model.size.pos_embed]
    return {name: word for name, word in (("rule", own), ("position", embedding)) if word}


def paired(experiment: Experiment, variant: str) -> dict[str, Any]:
    """What a widened baseline has to say of its pairing: it is paired by data only, since its MLPs are so wide."""
    spec = experiment.widened.get(variant)
    return {} if spec is None else {"mlp_hidden": spec.mlp_hidden}


def share(metric: str, right: Tensor) -> dict[str, Any]:
    """The share of a bool [n] as a fact, in percent."""
    return {"metric": metric, "value": 100 * int(right.sum()) / len(right), "unit": "%", "n": len(right)}
