"""Training a model on images in memory: timm's AdamW groups and cosine schedule around a plain loop.

With one seed every variant sees the same batches in the same order and leaves torch's stream alike; no choice is made
on the test split, and the last epoch is the one that counts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import Tensor, nn

from harness.recipe import Recipe


def optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; no weight decay for 1-D parameters and for those that the model's no_weight_decay() names."""
    return create_optimizer_v2(model, opt="adamw", lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def step(model: nn.Module, images: Tensor, labels: Tensor, opt: torch.optim.Optimizer, recipe: Recipe) -> Tensor:
    """One update on a batch; returns its mean loss (nat), detached."""
    opt.zero_grad(set_to_none=True)
    loss = F.cross_entropy(model(images), labels, label_smoothing=recipe.smoothing)
    loss.backward()
    if recipe.clip_grad is not None:
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad)
    opt.step()
    return loss.detach()


def train(
    model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, seed: int, tick: Callable[[], None]
) -> list[float]:
    """Trains on normalised images [n, c, H, W] where they lie; returns the mean loss (nat) of each epoch.

    `tick` is called after each epoch; an incomplete last batch is left out. Raises FloatingPointError where the loss is
    no longer finite.
    """
    steps = len(images) // recipe.batch_size
    torch.manual_seed(seed)  # drop path draws from here, the same for all variants
    order = torch.Generator().manual_seed(seed)
    opt = optimizer(model, recipe)
    schedule, _ = create_scheduler_v2(
        opt, sched="cosine", num_epochs=recipe.epochs, warmup_epochs=recipe.warmup_epochs, warmup_lr=recipe.warmup_lr,
        min_lr=recipe.min_lr, step_on_epochs=False, updates_per_epoch=steps,
    )  # fmt: skip
    model.train()
    losses = []
    for epoch in range(recipe.epochs):
        total = torch.zeros((), device=images.device)
        places = torch.randperm(len(images), generator=order).to(images.device)
        for number, batch in enumerate(places.split(recipe.batch_size)[:steps]):
            total += step(model, images[batch], labels[batch], opt, recipe)
            schedule.step_update(epoch * steps + number + 1)
        losses.append(float(total) / steps)
        if not torch.isfinite(total):
            raise FloatingPointError(f"the loss is {losses[-1]} after epoch {epoch + 1}; lower the lr or set clip_grad")
        tick()
    return losses


@torch.inference_mode()
def correct(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 512) -> Tensor:
    """bool [n]: which normalised images the model, in eval mode, gets right."""
    model.eval()
    pairs = zip(images.split(batch_size), labels.split(batch_size), strict=True)
    return torch.cat([model(x).argmax(dim=1) == y for x, y in pairs])
