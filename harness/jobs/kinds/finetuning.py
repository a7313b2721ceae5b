"""The cells that go on from a training's weights at another resolution, then read the test split there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.backbone.vit import grid_for
from harness.jobs.cell import Tick, keep_array
from harness.jobs.experiment import Size, px
from harness.jobs.kinds.training import OfTrained, paired, rule, share, training_of
from harness.results import store
from harness.training.checkpoint import Checkpoints, load_weights, save_weights
from harness.training.loop import correct, train
from harness.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Finetuned(OfTrained):
    """Fine-tunes a trained model at a resolution other than its own."""

    size: Size

    kind = "fine-tuning"
    metric = "finetuned_top1"

    @property
    def name(self) -> str:
        return f"{self.after.name} fine-tuned at {px(self.size)} px"

    @property
    def recipe(self) -> Recipe:
        """Where the variant was tuned, `run` takes its learning rate in place of the study's."""
        return self.experiment.study.recipe.finetuning(self.experiment.study.finetune_epochs)

    @property
    def work(self) -> int:
        return self.recipe.epochs

    @property
    def updates(self) -> float:
        (h, w), (own_h, own_w) = self.size, self.experiment.image
        return self.experiment.images // self.recipe.batch_size * self.recipe.epochs * h * w / (own_h * own_w)

    @property
    def about(self) -> dict[str, Any]:
        return self.after.about | {"test": self.size, "epoch": self.recipe.epochs, "unit": "%"}

    def settings(self) -> Sequence[Any]:
        return [*super().settings(), self.size, self.recipe.fixed]

    def run(self, folder: Path, tick: Tick) -> Iterator[store.Row]:
        experiment, study = self.experiment, self.experiment.study
        recipe = self.after.recipe(folder).finetuning(study.finetune_epochs)
        model = experiment.model(self.variant, self.seed)
        load_weights(self.after.weights(folder), model)
        model.set_grid(grid_for(self.size, study.patch_size))
        if study.torchcompile:
            model.compile()
        training = training_of(experiment, model.to(experiment.device), recipe, self.seed, self.fraction, self.size)
        train(training, tick, Checkpoints(self.checkpoints(folder), study.checkpoint_interval))
        right = correct(model, experiment.shown("test", self.size))
        save_weights(self.weights(folder), model)
        keep_array(self.beside(folder, ".correct.npy"), right[None].numpy())
        params = paired(experiment, self.variant) | {"transfer": "fine-tuned", "epochs": recipe.epochs} | rule(model)
        backend = model.executes(experiment.like(recipe.batch_size, self.size))
        fact = experiment.by_image(share("finetuned_top1", right) | {"params": params})
        yield self.row(self.variant, backend=backend, **fact)
