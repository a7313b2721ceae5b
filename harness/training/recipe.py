"""How a model is trained: a frozen recipe, timm's parts by timm's names. No torch here: the command line reads it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

Distill = Literal["soft", "hard"]
ANNOTATE = "annotate:"  # stands before the network that makes label maps
WEIGHTS = ".safetensors"  # the ending of a file of weights that names a teacher


@dataclass(frozen=True)
class Flag:
    """What harness.run.flags needs, beside a field's name and type, to offer it as a flag of the command line.

    It stands in the field's annotation, so that another help text is no other source of a training. short: a second
    spelling, "-b". metavar: the value's name in --help, by default one for the type.
    """

    help: str
    group: str = "recipe"
    short: str = ""
    metavar: str = ""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: timm's parts by timm's names (AdamW, cosine, mixup, RandAugment, random erasing, EMA).

    Learning rates are those of a step at this batch size and are not scaled by it. Weight decay spares 1-D parameters,
    as timm does, and the parameters that the model names in no_weight_decay(). Raises ValueError for a value out of
    range.
    """

    epochs: Annotated[int, Flag("passes over the whole training set, the warm-up included")] = 30
    batch_size: Annotated[int, Flag("images a step, over all processes", short="-b")] = 64
    lr: Annotated[float, Flag("peak learning rate")] = 1e-3
    min_lr: Annotated[float, Flag("learning rate at the end of the cosine")] = 1e-5
    warmup_lr: Annotated[float, Flag("learning rate at the start of the warm-up")] = 1e-6
    warmup_epochs: Annotated[int, Flag("epochs in which the learning rate rises")] = 5
    cooldown_epochs: Annotated[int, Flag("epochs at the lowest learning rate, after the others")] = 0
    weight_decay: Annotated[float, Flag("AdamW's weight decay")] = 0.05
    smoothing: Annotated[float, Flag("label smoothing")] = 0.1
    drop_path: Annotated[float, Flag("rate of stochastic depth in the last block; it grows linearly from 0")] = 0.0
    clip_grad: Annotated[float | None, Flag("clip the norm of the gradient at this value")] = None
    crop_pad: Annotated[int, Flag("shift images in memory by up to this many pixels", metavar="PX")] = 0
    scale: Annotated[tuple[float, float], Flag("share of its area that a random crop of a picture keeps")] = (0.08, 1.0)
    hflip: Annotated[float, Flag("probability that an image is mirrored")] = 0.0
    color_jitter: Annotated[float, Flag("strength of random changes of colour")] = 0.0
    aa: Annotated[str, Flag("AutoAugment or RandAugment policy: rand-m9-mstd0.5-inc1, none", metavar="POLICY")] = ""
    aug_repeats: Annotated[int, Flag("copies of an image in a row, each augmented anew; an epoch keeps its length")] = 1
    reprob: Annotated[float, Flag("probability that a rectangle of an image is erased")] = 0.0
    mixup: Annotated[float, Flag("alpha of mixup, 0 for none")] = 0.0
    cutmix: Annotated[float, Flag("alpha of cutmix, 0 for none")] = 0.0
    mixup_prob: Annotated[float, Flag("probability that a batch is mixed")] = 1.0
    mixup_switch_prob: Annotated[float, Flag("probability of cutmix where both are on")] = 0.5
    mixtoken: Annotated[float, Flag("alpha of MixToken, which mixes boxes of patches; 0 for none")] = 0.0
    cls_weight: Annotated[float, Flag("weight of the image's label beside token labels")] = 1.0
    dense_weight: Annotated[float, Flag("weight of token labels")] = 1.0
    distill: Annotated[Distill | None, Flag("learn from a --teacher: its choice (hard) or its shares (soft)")] = None
    distillation_alpha: Annotated[
        float | None, Flag("share of the teacher in the loss (default: 0.5 for hard, 0.1 for soft)")
    ] = None
    distillation_tau: Annotated[float, Flag("temperature of soft distillation")] = 3.0
    model_ema: Annotated[bool, Flag("test a moving average of the weights")] = False
    model_ema_decay: Annotated[float, Flag("decay of the moving average")] = 0.9998
    model_ema_warmup: Annotated[bool, Flag("let the decay of the moving average rise from 0")] = False

    def __post_init__(self) -> None:
        finite(self)
        at_least(self, 1, "epochs", "batch_size", "aug_repeats")
        at_least(self, 0, "lr", "min_lr", "warmup_lr", "warmup_epochs", "cooldown_epochs", "weight_decay", "crop_pad",
                  "color_jitter", "mixup", "cutmix", "mixtoken", "cls_weight", "dense_weight")  # fmt: skip
        for name in ("smoothing", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be a rate: 0 or more, and less than 1")
        for name in ("hflip", "reprob", "mixup_prob", "mixup_switch_prob", "model_ema_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be a share between 0 and 1")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale={self.scale} must be two shares, the smaller one first; write 0.08 1")
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr={self.min_lr} is above lr={self.lr}, so the rate would rise; lower it")
        if self.clip_grad is not None and self.clip_grad <= 0:
            raise ValueError(f"clip_grad={self.clip_grad} must be more than 0, else no gradient is left")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"{self.warmup_epochs} epochs of warm-up leave nothing of {self.epochs} epochs; "
                             f"choose fewer with --warmup-epochs")  # fmt: skip
        if self.mixes and self.batch_size % 2:
            raise ValueError(f"mixup and cutmix mix the images of a batch by pairs, so batch_size={self.batch_size} "
                             f"must be even")  # fmt: skip

        if self.mixtoken and (self.mixes or self.distill or self.batch_size % 2):
            other = "mixup and cutmix" if self.mixes else "distill" if self.distill else "an odd batch_size"
            raise ValueError(f"mixtoken={self.mixtoken} mixes the patches of images by pairs, and does not go with "
                             f"{other}; leave out one of them")  # fmt: skip
        for name in ("cls_weight", "dense_weight"):
            if not getattr(self, name):
                raise ValueError(f"{name}=0.0 leaves a head untaught that counts in a test; choose more than 0")
        if self.distillation_tau <= 0:
            raise ValueError(f"distillation_tau={self.distillation_tau} must be a temperature: more than 0")
        if not 0 < self.alpha <= 1:
            raise ValueError(f"distillation_alpha={self.distillation_alpha} must be a share above 0, up to 1")

    @property
    def alpha(self) -> float:
        """The share of the teacher in the loss; by default as DeiT's paper has it (section 5.2)."""
        if self.distillation_alpha is None:
            return 0.1 if self.distill == "soft" else 0.5
        return self.distillation_alpha

    @property
    def fixed(self) -> dict[str, Any]:
        """All settings by name; YOUNG ones only where they are set, as in recipes that are older than these."""
        own = asdict(self) | {"distillation_alpha": self.alpha if self.distill else None}
        return {name: value for name, value in own.items() if name not in YOUNG or value != YOUNG[name]}

    @property
    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    @property
    def total_epochs(self) -> int:
        return self.epochs + self.cooldown_epochs

    def finetuning(self, epochs: int) -> Recipe:
        """SP-ViT's fine-tuning at a higher resolution: a constant, small lr and almost no weight decay, the rest kept.

        SP-ViT trains with lr 1.6e-3 at batch 1024 and fine-tunes with 5e-6 at batch 256 (its script for S). Per image
        that is an 80th, and so it is here. The weight decay is 1e-8; drop path stays as in training.
        """
        lr = self.lr / 80
        return replace(
            self, epochs=epochs, lr=lr, min_lr=lr, warmup_epochs=0, cooldown_epochs=0, weight_decay=1e-8,
            model_ema=False,
        )  # fmt: skip


YOUNG = {
    name: getattr(Recipe, name)
    for name in ("mixtoken", "cls_weight", "dense_weight", "distill", "distillation_alpha", "distillation_tau")
}


def finite(settings: Any) -> None:
    """Raises ValueError for a float field that is NaN or infinite."""
    for name, value in vars(settings).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}={value} must be a finite number")


def at_least(settings: Any, least: float, *names: str) -> None:
    """Raises ValueError for a field of these names that is below `least`."""
    for name in names:
        value = getattr(settings, name)
        if not value >= least:
            raise ValueError(f"{name}={value} must be at least {least}")
