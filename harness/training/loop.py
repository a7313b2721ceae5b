"""Training a model: timm's AdamW groups, cosine schedule, mixing and EMA around a plain loop that can go on anywhere.

With one seed every variant sees the same batches with the same augmentation and the same drop path; no choice is made
on the test split, and the last epoch is the one that counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest

import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from harness import distributed
from harness.training.batches import Batch, Feed, Mixing
from harness.training.checkpoint import Checkpoints, State
from harness.training.dense import Targets
from harness.training.objective import Objective, classified
from harness.training.recipe import Recipe
from variants import keep_terms


@dataclass
class History:
    """How far a training is, and what it left, by epoch: mean loss (nat), seconds of training so far, validation.

    `validated` holds the number of right answers by epoch, 1 the first.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    validated: dict[str, float] = field(default_factory=dict)
    spent: float = 0.0  # seconds, up to this step


def optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; no weight decay for 1-D parameters and for those that the model's no_weight_decay() names."""
    return create_optimizer_v2(model, opt="adamw", lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def step(model: nn.Module, images: Tensor, targets: Tensor, opt: torch.optim.Optimizer, recipe: Recipe) -> Tensor:
    """One update on a batch by its labels alone; returns its mean loss (nat), detached.

    targets: labels int64 [B], or shares [B, classes], which are smoothed already.
    """
    return follow(model, lambda: classified(model(images), targets, recipe.smoothing), opt, recipe)


def follow(model: nn.Module, objective: Callable[[], Tensor], opt: torch.optim.Optimizer, recipe: Recipe) -> Tensor:
    """One update down an objective; returns its value, detached."""
    opt.zero_grad(set_to_none=True)
    loss = objective()
    loss.backward()
    if recipe.clip_grad is not None:
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad)
    opt.step()
    return loss.detach()


@dataclass
class Training:
    """A model in training: what a checkpoint holds, and how one update is made."""

    model: nn.Module
    feed: Feed
    recipe: Recipe
    seed: int
    classes: int
    device: torch.device
    objective: Objective | None = None  # by default that of the recipe, without label maps and teacher

    def __post_init__(self) -> None:
        recipe = self.recipe
        self.aim = self.objective or Objective(recipe, self.classes, self.seed, getattr(self.model, "grid", (1, 1)))
        self.wrapped = distributed.wrapped(self.aim.of(self.model), self.device)
        self.mixing = Mixing(recipe, self.classes, self.seed)
        self.history = History()
        self.total = torch.zeros((), device=self.device)  # of the losses of this epoch
        self.optimizer = optimizer(self.model, recipe)
        self.schedule, _ = create_scheduler_v2(
            self.optimizer, sched="cosine", num_epochs=recipe.epochs, warmup_epochs=recipe.warmup_epochs,
            warmup_lr=recipe.warmup_lr, min_lr=recipe.min_lr, cooldown_epochs=recipe.cooldown_epochs,
            step_on_epochs=False, updates_per_epoch=self.feed.steps,
        )  # fmt: skip
        self.ema = ModelEmaV3(
            self.model, decay=recipe.model_ema_decay, use_warmup=recipe.model_ema_warmup,
            exclude_buffers=True,  # else a tensor that layers share would be averaged once a layer
        ) if recipe.model_ema else None  # fmt: skip

    @property
    def trained(self) -> nn.Module:
        """The model that counts: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module

    def update(self, images: Tensor, labels: Tensor | Targets) -> None:
        """One step, its draws those of the seed and the step."""
        known, at = labels if isinstance(labels, Targets) else Targets(labels), self.history.step
        images, mixed = self.mixing(images, known.labels, at)
        targets = replace(known, labels=mixed)
        loss = follow(
            self.wrapped, lambda: self.aim.loss(self.wrapped, images, targets, at), self.optimizer, self.recipe
        )
        self.total += distributed.mean(loss)
        self.history.step += 1
        if self.ema is not None:
            self.ema.update(self.model, step=self.history.step)
        self.schedule.step_update(self.history.step)

    def end_epoch(self) -> None:
        """Notes the epoch's mean loss. Raises FloatingPointError where it is no longer finite."""
        loss = float(self.total) / self.feed.steps
        self.history.losses.append(loss)
        if not torch.isfinite(self.total):
            epoch = len(self.history.losses)
            raise FloatingPointError(f"the loss is {loss} after epoch {epoch}; lower the lr or set clip_grad")
        self.total.zero_()

    def state(self) -> State:
        """All tensors that a checkpoint needs, by name."""
        found = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.ema is not None:
            found |= {f"ema.{name}": tensor for name, tensor in self.ema.module.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{name}": tensor for name, tensor in moments.items()}
        return found | {"total": self.total}

    def restore(self, state: State, progress: dict[str, object]) -> None:
        """Goes on from a checkpoint."""
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith("optimizer."):
                _, number, moment = name.split(".")
                moments.setdefault(int(number), {})[moment] = tensor
        self.model.load_state_dict(_under("model.", state))
        if self.ema is not None:
            self.ema.module.load_state_dict(_under("ema.", state))
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.total.copy_(state["total"])
        self.history = History(**progress)  # type: ignore[arg-type]
        if self.history.step:
            self.schedule.step_update(self.history.step)


def train(
    training: Training,
    tick: Callable[[int], object],
    checkpoints: Checkpoints | None = None,
    validate: Callable[[nn.Module, int], float | None] = lambda *_: None,
) -> History:
    """Trains to the end, from the newest checkpoint where there is one.

    `validate(model, epoch)` is asked after each epoch, None where there is nothing to note; `tick(n)` is called for
    every n epochs that are done. Seconds are those of updates and their batches alone.
    """
    found = None if checkpoints is None else checkpoints.newest()
    if found is not None:
        training.restore(*found)
    history, steps = training.history, training.feed.steps
    done = len(history.losses)
    tick(done)

    def save() -> None:
        if checkpoints is not None:
            checkpoints.save(history.step, training.state(), asdict(history))

    for epoch in range(done, training.recipe.total_epochs):
        training.wrapped.train()
        clock = time.perf_counter()
        for images, labels in training.feed.epoch(epoch, history.step - epoch * steps):
            training.update(images, labels)
            if checkpoints is not None and checkpoints.due() and history.step < (epoch + 1) * steps:
                float(training.total)  # waits for a GPU
                history.spent += time.perf_counter() - clock
                save()
                clock = time.perf_counter()
        training.end_epoch()
        history.spent += time.perf_counter() - clock
        history.seconds.append(history.spent)
        right = validate(training.trained, epoch + 1)
        if right is not None:
            history.validated[str(epoch + 1)] = right
        if checkpoints is not None and (checkpoints.due() or epoch + 1 == training.recipe.total_epochs):
            save()
        tick(1)
    return history


def answers(model: nn.Module, batches: Iterable[Batch]) -> tuple[Tensor, Tensor, Tensor]:
    """What the model, in eval mode, says of images: guesses int64 [n, k], log-probabilities float32 [n, classes].

    Guesses are the k (five, or all) most likely classes. The labels int64 [n] come third. batches: those that are dealt
    to this process; the answers are those of all.
    """
    guesses, logs, labels = _asked(model, batches, lambda logits: (_best(logits), F.log_softmax(logits.float(), dim=1)))
    return guesses, logs, labels


def rounded(logs: Tensor) -> Tensor:
    """Log-probabilities as they are kept: float16, and finite."""
    return logs.clamp(min=torch.finfo(torch.float16).min).half()


def correct(model: nn.Module, batches: Iterable[Batch]) -> Tensor:
    """bool [n]: which images the model, in eval mode, gets right."""
    guesses, labels = _asked(model, batches, lambda logits: (_best(logits),))
    return guesses[:, 0] == labels


@torch.inference_mode()
def _asked(
    model: nn.Module, batches: Iterable[Batch], of: Callable[[Tensor], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """`of` the logits of all images, in their order, and the labels."""
    model.eval()
    with keep_terms(model):
        found = [tuple(part.cpu() for part in (*of(model(images)), labels)) for images, labels in batches]
    each = distributed.gathered(found)
    in_order = [part for turn in zip_longest(*each) for part in turn if part is not None]
    return tuple(torch.cat(parts) for parts in zip(*in_order, strict=True))


def _best(logits: Tensor) -> Tensor:
    return logits.topk(min(5, logits.shape[1]), dim=1).indices


def _under(prefix: str, state: State) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
