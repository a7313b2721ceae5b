"""What a study asks for that its images or its body cannot give: said in a sentence, before any work."""

from __future__ import annotations

from typing import Any

from harness import distributed
from harness.jobs.experiment import Experiment, px
from harness.training.augment import policy
from harness.training.recipe import Recipe


def check(experiment: Experiment) -> None:
    """Raises ValueError where an image cannot be cut into patches or a batch is larger than the training set."""
    study, data = experiment.study, experiment.data
    for size in experiment.resolutions:
        try:
            experiment.grid(size)
        except ValueError as error:
            whose = "" if size == experiment.image else f"--resolutions {px(size)}, given or of the preset: "
            raise ValueError(f"{whose}{error}") from None
    if study.spatial_layers == 0:
        raise ValueError("0 spatial layers leave no layer that carries the variant; choose at least 1")
    wanted, there, classes = study.train_images, len(data.train_x), len(data.classes)
    if wanted not in (None, there) and not classes <= wanted <= there - classes:
        raise ValueError(f"--train-images {wanted} is not available: {data.name} has {there} in {classes} classes; "
                         f"choose {classes} to {there - classes}, or {there} for all")  # fmt: skip
    trains = "accuracy" in study.measure
    if not data.learnable and trains:
        raise ValueError(f"{data.name} has nothing to learn, so no accuracy; write --measure cost,speed, or choose "
                         f"another dataset")  # fmt: skip
    check_flags(experiment)
    if study.recipe.batch_size > experiment.images and trains:
        raise ValueError(f"a batch of {study.recipe.batch_size} is more than the {experiment.images} training images; "
                         f"choose a smaller --batch-size")  # fmt: skip
    distributed.mine(study.recipe.batch_size, distributed.asked())
    for fraction in study.train_fractions:
        experiment.chosen(fraction, 0)
    if study.recipe.aa:
        policy(study.recipe, experiment.image, data)


def check_flags(experiment: Experiment) -> None:
    """Raises ValueError for settings that this dataset would ignore."""
    study, data, recipe = experiment.study, experiment.data, experiment.study.recipe
    own = {name: getattr(recipe, name) for name in ("crop_pad", "hflip", "color_jitter", "aa")}
    ignored: dict[str, Any] = {}
    if data.fresh is not None:
        ignored = own | {"train_images": study.train_images, "aug_repeats": recipe.aug_repeats - 1}
        ignored["train_fractions"] = study.train_fractions != (1.0,)
        ignored["token_labels"] = study.token_labels is not None
    elif data.streamed:
        ignored = {"crop_pad": recipe.crop_pad}
    else:
        ignored = {"scale": recipe.scale} if recipe.scale != Recipe().scale else {}
        if data.placed is not None:  # a policy works on pictures that are whole, in worker processes
            ignored |= {"aa": recipe.aa, "color_jitter": recipe.color_jitter}
            if study.token_labels is not None and recipe.crop_pad:
                raise ValueError(f"--crop-pad {recipe.crop_pad} cuts images before they are placed, and token labels "
                                 f"do not know what is left; leave it out")  # fmt: skip
    kind = "generator" if data.fresh else "tree of pictures" if data.streamed else "set in memory"
    for name, value in ignored.items():
        if value:
            raise ValueError(f"--{name.replace('_', '-')} means nothing for {data.name}, a {kind}; leave it out")
    if study.finetune_epochs and len(experiment.resolutions) == 1:
        raise ValueError(f"--finetune-epochs {study.finetune_epochs} needs a resolution that differs from the training "
                         f"size; name some with --resolutions")  # fmt: skip
