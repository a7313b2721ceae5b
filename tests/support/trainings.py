"""What tests of training share: a small training of a variant on the digits, and what it saw."""

from functools import cache

import torch

from harness import data
from harness.backbone.vit import create
from harness.training.batches import Source, feed
from harness.training.loop import Training
from harness.training.recipe import Recipe

QUICK = Recipe(epochs=2, warmup_epochs=1, batch_size=64, drop_path=0.2)
CPU = torch.device("cpu")


@cache
def digits():
    return data.load("digits")


def source(recipe=QUICK, seed=4, dataset=None, size=None, chosen=None, workers=0):
    dataset = dataset or digits()
    chosen = torch.arange(len(dataset.train_y)) if chosen is None else chosen
    return Source(dataset, recipe, seed, CPU, size or dataset.image_size, chosen, len(dataset.train_y), workers)


def training(spec="sa", seed=4, recipe=QUICK, **of):
    """A training of the small ViT."""
    start = source(recipe, seed, **of)
    model = create(
        spec, img_size=start.size, patch_size=2, in_chans=start.data.channels, num_classes=len(start.data.classes),
        drop_path=recipe.drop_path, seed=seed,
    )  # fmt: skip
    return Training(model, feed(start), recipe, seed, len(start.data.classes), CPU)


def watched(one):
    """What the model of a training is shown, a tensor a step; what its steps draw after that is noted, too."""
    seen = []
    one.model.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].clone()) if one.model.training else None
    )
    return seen
