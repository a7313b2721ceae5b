"""How a model is trained: a frozen recipe, timm's parts by timm's names. No torch here: the command line reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: timm's parts by timm's names (AdamW, cosine, mixup, RandAugment, random erasing, EMA).

    epochs (warm-up among them, cooldown_epochs after them) of the whole training set; lr, min_lr, warmup_lr a step at
    this batch size, not scaled by it. weight_decay spares 1-D parameters, as timm does, and what the model names in
    no_weight_decay(). crop_pad: images in memory are shifted by up to so many pixels; scale: the share of its area
    that a random crop of a streamed picture keeps. aa: timm's string of an AutoAugment or RandAugment policy, or none.
    """

    epochs: int = 30
    batch_size: int = 64
    lr: float = 1e-3
    min_lr: float = 1e-5
    warmup_lr: float = 1e-6
    warmup_epochs: int = 5
    cooldown_epochs: int = 0
    weight_decay: float = 0.05
    smoothing: float = 0.1
    drop_path: float = 0.0
    clip_grad: float | None = None
    crop_pad: int = 0
    scale: tuple[float, float] = (0.08, 1.0)
    hflip: float = 0.0
    color_jitter: float = 0.0
    aa: str = ""
    aug_repeats: int = 1
    reprob: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mixup_prob: float = 1.0
    mixup_switch_prob: float = 0.5
    model_ema: bool = False
    model_ema_decay: float = 0.9998
    model_ema_warmup: bool = False

    def __post_init__(self) -> None:
        finite(self)
        at_least(self, 1, "epochs", "batch_size", "aug_repeats")
        at_least(self, 0, "lr", "min_lr", "warmup_lr", "warmup_epochs", "cooldown_epochs", "weight_decay", "crop_pad",
                  "color_jitter", "mixup", "cutmix")  # fmt: skip
        for name in ("smoothing", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is no rate; choose 0 or more and less than 1")
        for name in ("hflip", "reprob", "mixup_prob", "mixup_switch_prob", "model_ema_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is no share; choose 0 to 1")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale={self.scale} is no range of shares; write two numbers such as 0.08 1")
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr={self.min_lr} is above lr={self.lr}, so the rate would rise; lower it")
        if self.clip_grad is not None and self.clip_grad <= 0:
            raise ValueError(f"clip_grad={self.clip_grad} clips every gradient to nothing; choose more than 0")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"{self.warmup_epochs} epochs of warm-up leave nothing of {self.epochs} epochs; "
                             f"choose fewer with --warmup-epochs")  # fmt: skip
        if self.mixes and self.batch_size % 2:
            raise ValueError(f"mixup and cutmix mix the images of a batch by pairs, so batch_size={self.batch_size} "
                             f"must be even")  # fmt: skip

    @property
    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    @property
    def total_epochs(self) -> int:
        return self.epochs + self.cooldown_epochs

    def finetuning(self, epochs: int) -> Recipe:
        """SP-ViT's fine-tuning at a higher resolution, scaled: a constant lr, next to no weight decay, the rest kept.

        SP-ViT trains with 1.6e-3 at 1024 images and fine-tunes with 5e-6 at 256 (its script for S): by the image, an
        80th. The weight decay is 1e-8, drop path as in training.
        """
        lr = self.lr / 80
        return replace(
            self, epochs=epochs, lr=lr, min_lr=lr, warmup_epochs=0, cooldown_epochs=0, weight_decay=1e-8,
            model_ema=False,
        )  # fmt: skip


def finite(settings: Any) -> None:
    for name, value in vars(settings).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}={value} is not to be had; it is a finite number")


def at_least(settings: Any, least: float, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not value >= least:
            raise ValueError(f"{name}={value} is not to be had; it is at least {least}")
