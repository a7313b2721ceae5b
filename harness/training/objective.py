"""What a training step minimises: the cross-entropy of the image's label and, where a study asks for it, token labels,
MixToken and a teacher's word.

    cls_weight * CE(class token, label) + dense_weight * mean over patches of CE(patch, token label)     token labels
    (1 - alpha) * CE(class token, label) + alpha * [CE(distillation token, teacher's choice)]            hard
                                                   [tau^2 * KL(teacher at tau || token at tau)]          soft

Sources: LV-ViT, arXiv 2104.10858, equation 5; DeiT, arXiv 2012.12877, equations 2 and 3. LV-ViT's code takes for the
class token's label the mean over the label map, here as in the paper it is the label of the image. DeiT's code divides
the soft term by the number of classes, too; here as in the paper it is the mean over images. Without a distillation
token the teacher's word is for the class token.

MixToken (LV-ViT, section 3.3): image i takes a box of patches from image B-1-i after the patch embedding. The label is
mixed by the exact shares of patches, token labels by the box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.training import dense, rng
from harness.training.dense import Grid, Targets
from harness.training.recipe import Recipe


class Apart(nn.Module):
    """A model as it trains with labels for each head: images and a box of patches -> what each head says."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        if getattr(model, "_compiled_call_impl", None) is not None:  # what was compiled is the model's own forward
            self.compile()

    def forward(self, images: Tensor, box: Tensor | None = None) -> Any:
        return self.model.apart(images, box)


@dataclass(frozen=True)
class Objective:
    """The loss of a recipe's step on images of so many patches; teacher: images -> logits, as the recipe's `distill`
    wants it. dense: whether targets have token labels."""

    recipe: Recipe
    classes: int
    seed: int
    grid: Grid = (1, 1)
    dense: bool = False
    teacher: nn.Module | None = None

    @property
    def plain(self) -> bool:
        """Whether the label of the image is all there is to learn, from what the heads say together."""
        return not (self.dense or self.recipe.mixtoken or self.teacher)

    def of(self, model: nn.Module) -> nn.Module:
        """The model as it is called in training."""
        return model if self.plain else Apart(model)

    def loss(self, model: nn.Module, images: Tensor, targets: Targets, step: int) -> Tensor:
        """The mean loss (nat) of a batch; the box of MixToken is that of the seed and the step."""
        if self.plain:
            return classified(model(images), targets.labels, self.recipe.smoothing)
        box = self.box(step) if self.recipe.mixtoken else None
        if box is not None:
            box = box.to(images.device)
            targets = mixed(targets, box, self.classes, self.recipe.smoothing)
        said = model(images, box)
        alone = self.dense or (self.teacher is not None and said.dist is not None)
        own = classified(said.cls if alone else said.together(), targets.labels, self.recipe.smoothing)
        if self.dense:
            return self.recipe.cls_weight * own + self.recipe.dense_weight * dense.loss(said.patches, targets)
        if self.teacher is None:
            return own
        with torch.no_grad():
            told = self.teacher(images)
        pupil = said.cls if said.dist is None else said.dist
        alpha = self.recipe.alpha
        return (1 - alpha) * own + alpha * taught(pupil, told, self.recipe)

    def box(self, step: int) -> Tensor:
        """bool [h, w]: a box of patches whose share is drawn as 1 - Beta(alpha, alpha), anywhere, cut at the border."""
        draws = np.random.default_rng(rng.key(self.seed, "mixtoken", step))
        h, w = self.grid
        side = (1 - draws.beta(self.recipe.mixtoken, self.recipe.mixtoken)) ** 0.5
        tall, wide = int(h * side), int(w * side)
        top, left = int(draws.integers(h)) - tall // 2, int(draws.integers(w)) - wide // 2
        found = torch.zeros(h, w, dtype=torch.bool)
        found[max(0, top) : max(0, top + tall), max(0, left) : max(0, left + wide)] = True
        return found


def classified(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """The cross-entropy of labels int64 [B], or of shares [B, classes], which are smoothed already."""
    return F.cross_entropy(logits, labels, label_smoothing=0.0 if labels.is_floating_point() else smoothing)


def taught(pupil: Tensor, teacher: Tensor, recipe: Recipe) -> Tensor:
    """How far logits [B, classes] are from a teacher's: from its choice, or from its shares at a temperature."""
    if recipe.distill == "hard":
        return F.cross_entropy(pupil, teacher.argmax(dim=1))
    tau = recipe.distillation_tau
    shares, own = (teacher / tau).log_softmax(dim=1), (pupil / tau).log_softmax(dim=1)
    return tau**2 * F.kl_div(own, shares, reduction="batchmean", log_target=True)


def mixed(targets: Targets, box: Tensor, classes: int, smoothing: float) -> Targets:
    """The targets of images of which the patches of a box bool [h, w] are those of image B-1-i."""
    inside = box.flatten()
    share = inside.float().mean()
    labels = dense.smoothed(F.one_hot(targets.labels, classes).float(), smoothing)
    labels = (1 - share) * labels + share * labels.flip(0)
    if targets.tokens is None or targets.known is None:
        return replace(targets, labels=labels)
    tokens = torch.where(inside[:, None], targets.tokens.flip(0), targets.tokens)
    return Targets(labels, tokens, torch.where(inside, targets.known.flip(0), targets.known))
