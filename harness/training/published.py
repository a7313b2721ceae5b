"""The published recipes, each value with its source. No torch here."""

from __future__ import annotations

from dataclasses import replace

from harness.training.recipe import Recipe


def deit() -> Recipe:
    """DeiT's recipe for ImageNet-1k (arXiv 2012.12877, table 9): batch 1024, lr 5e-4 x batch/512, no EMA."""
    return Recipe(
        epochs=300, batch_size=1024, lr=1e-3, min_lr=1e-5, warmup_lr=1e-6, warmup_epochs=5, weight_decay=0.05,
        smoothing=0.1, drop_path=0.1, hflip=0.5, color_jitter=0.4, aa="rand-m9-mstd0.5-inc1", aug_repeats=3,
        reprob=0.25, mixup=0.8, cutmix=1.0,
    )  # fmt: skip


def lv_vit() -> Recipe:
    """LV-ViT-S's recipe for ImageNet-1k (its main.py and scripts), which SP-ViT takes as it is.

    No mixup, no cutmix, MixToken with Beta(1, 1), token labels as heavy as the image's label, EMA, 300 epochs and 10
    more at the lowest rate, lr 1.6e-3 at batch 1024, not scaled. Departure: the code takes for the class token's label
    the mean of the label map, here as in the paper it is the label of the image.
    """
    return replace(
        deit(), cooldown_epochs=10, lr=1.6e-3, aug_repeats=1, mixup=0.0, cutmix=0.0, mixtoken=1.0, model_ema=True,
        model_ema_decay=0.99992,
    )  # fmt: skip


def without_labels() -> Recipe:
    """SP-ViT-S's recipe without token labels and MixToken: what the authors' code falls back to without label maps."""
    return replace(lv_vit(), mixtoken=0.0)
