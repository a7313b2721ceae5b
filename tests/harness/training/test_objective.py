"""What a step minimises, against an independent loop in float64, with planted errors; MixToken's box."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness import distributed
from harness.backbone.vit import Logits
from harness.training import dense, objective
from harness.training.dense import Targets
from harness.training.objective import Objective
from harness.training.recipe import Recipe
from tests.support.mutants import noticed
from tests.support.trainings import QUICK, training

CLASSES, GRID, BATCH = 5, (3, 4), 4


class Said(nn.Module):
    """A model whose heads say what is given."""

    def __init__(self, dist=False, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.said = Logits(
            torch.randn(BATCH, CLASSES, generator=generator),
            torch.randn(BATCH, CLASSES, generator=generator) if dist else None,
            None if dist else torch.randn(BATCH, 12, CLASSES, generator=generator),
        )

    def forward(self, images, box=None):
        return self.said


def known_targets():
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randn(BATCH, 12, CLASSES, generator=generator).softmax(-1)
    known = torch.rand(BATCH, 12, generator=generator) < 0.8
    return Targets(torch.tensor([0, 3, 2, 3]), tokens, known)


def log_softmax(row):
    row = np.asarray(row, dtype=np.float64)
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


def token_loss_by_loop(aim, said, targets, box):
    """By images, patches and classes, one after another, from the equations."""
    inside = box.flatten().tolist() if box is not None else [False] * 12
    share = sum(inside) / 12
    cls = patches = 0.0
    for image in range(BATCH):
        other = BATCH - 1 - image
        label = np.full(CLASSES, aim.recipe.smoothing / CLASSES)
        label[targets.labels[image]] += (1 - aim.recipe.smoothing) * (1 - share)
        label[targets.labels[other]] += (1 - aim.recipe.smoothing) * share
        cls -= (label * log_softmax(said.cls[image])).sum() / BATCH
        each = []
        for patch in range(12):
            whose = other if inside[patch] else image
            if targets.known[whose, patch]:
                told = targets.tokens[whose, patch].double().numpy()
                each.append(-(told * log_softmax(said.patches[image, patch])).sum())
        patches += sum(each) / len(each) / BATCH
    return aim.recipe.cls_weight * cls + aim.recipe.dense_weight * patches


RECIPES = {
    "plain": Recipe(smoothing=0.1),
    "weights": Recipe(smoothing=0.0, cls_weight=0.5, dense_weight=2.0),
    "mixtoken": Recipe(smoothing=0.1, mixtoken=1.0, dense_weight=0.7),
}


def token_loss_is_that_of_the_loop(recipe):
    aim, model, targets = Objective(recipe, CLASSES, 0, GRID, dense=True), Said(), known_targets()
    for step in range(6):
        box = aim.box(step) if recipe.mixtoken else None
        found = float(aim.loss(model, torch.zeros(BATCH, 1, 6, 8), targets, step))
        assert found == pytest.approx(token_loss_by_loop(aim, model.said, targets, box), rel=1e-5)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_loss_of_token_labels_is_that_of_the_loop(recipe):
    token_loss_is_that_of_the_loop(RECIPES[recipe])


TRUE = objective.mixed
MISTAKES = {
    "the box is swapped in x and y": lambda t, box, c, s: TRUE(t, box.mT.reshape(box.shape), c, s),
    "the area is that of the rest": lambda t, box, c, s: replace(TRUE(t, box, c, s), labels=TRUE(t, ~box, c, s).labels),
    "tokens are not mixed": lambda t, box, c, s: replace(TRUE(t, box, c, s), tokens=t.tokens, known=t.known),
    "the class is not mixed": lambda t, box, c, s: replace(TRUE(t, box, c, s), labels=t.labels),
    "the next image is mixed in": lambda t, box, c, s: replace(
        TRUE(t, box, c, s), tokens=torch.where(box.flatten()[:, None], t.tokens.roll(1, 0), t.tokens)
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_mixture_is_noticed(mistake, monkeypatch):
    monkeypatch.setattr(objective, "mixed", MISTAKES[mistake])
    with noticed():
        token_loss_is_that_of_the_loop(RECIPES["mixtoken"])


def test_labels_that_are_not_normalised_are_noticed(monkeypatch):
    true = dense.loss
    monkeypatch.setattr(dense, "loss", lambda patches, told: true(patches, replace(told, tokens=2 * told.tokens)))
    with noticed():
        token_loss_is_that_of_the_loop(RECIPES["plain"])


@pytest.mark.parametrize(("how", "dist"), [("soft", True), ("hard", True), ("soft", False), ("hard", False)])
def test_the_loss_of_distillation_is_deits(how, dist):
    teacher, model = nn.Linear(3, CLASSES).double().float(), Said(dist)
    images, labels = torch.randn(BATCH, 3), torch.tensor([0, 3, 2, 3])
    recipe = Recipe(smoothing=0.1, distill=how, distillation_tau=2.5)
    if not dist:
        model.said = model.said._replace(patches=None)
    found = float(Objective(recipe, CLASSES, 0, GRID, teacher=teacher).loss(model, images, Targets(labels), 0))
    told = teacher(images).detach().double().numpy()
    alpha, own, kept = {"soft": 0.1, "hard": 0.5}[how], model.said.cls, 0.0
    pupil = model.said.dist if dist else own
    for image in range(BATCH):
        if how == "hard":
            kept -= log_softmax(pupil[image])[told[image].argmax()] / BATCH
        else:
            theirs, mine = log_softmax(told[image] / 2.5), log_softmax(pupil[image].double() / 2.5)
            kept += 2.5**2 * (np.exp(theirs) * (theirs - mine)).sum() / BATCH
    wanted = (1 - alpha) * float(F.cross_entropy(own, labels, label_smoothing=0.1)) + alpha * kept
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_mean_over_processes_is_the_loss_of_the_whole_batch(recipe, monkeypatch):
    """A global batch is dealt in mirrored pairs, so each process mixes what a single one would."""
    aim, model, targets = Objective(RECIPES[recipe], CLASSES, 0, GRID, dense=True), Said(), known_targets()
    images, parts = torch.zeros(BATCH, 1, 6, 8), []
    whole = [float(aim.loss(model, images, targets, step)) for step in range(4)]
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        own = distributed.mine(BATCH, ranks=2)
        part = Said()
        part.said = Logits(model.said.cls[own], None, model.said.patches[own])
        told = Targets(targets.labels[own], targets.tokens[own], targets.known[own])
        parts.append([float(aim.loss(part, images[own], told, step)) for step in range(4)])
    assert [sum(each) / 2 for each in zip(*parts, strict=True)] == pytest.approx(whole, rel=1e-5)


def test_a_box_is_that_of_the_seed_and_the_step_and_its_share_is_as_drawn():
    aim = Objective(Recipe(mixtoken=1.0), CLASSES, 5, (14, 14))
    assert torch.equal(aim.box(3), aim.box(3))
    boxes = [aim.box(step) for step in range(400)]
    assert len({tuple(box.flatten().tolist()) for box in boxes}) > 300
    shares = torch.stack([box.float().mean() for box in boxes])
    assert 0.25 < float(shares.mean()) < 0.4  # half on average, less what is cut off at the border and rounded down
    assert float(shares.max()) > 0.8
    for box in boxes:
        rows, columns = box.any(1).nonzero().flatten(), box.any(0).nonzero().flatten()
        assert int(box.sum()) == len(rows) * len(columns)
        assert not len(rows) or int(rows[-1] - rows[0]) + 1 == len(rows)


def test_mixtoken_pairs_variants_goes_on_anywhere_and_trains_all_heads():
    recipe = replace(QUICK, mixtoken=1.0, epochs=2, warmup_epochs=0)
    losses = []
    for spec in ("sa", "sa", "sp_sa"):
        one = training(spec, recipe=recipe)
        one.model.train()
        for images, labels in list(one.feed.epoch(0))[:3]:
            one.update(images, labels)
        losses.append(float(one.total))
        assert all(p.grad is not None for p in one.model.parameters())
    assert losses[0] == losses[1]
    assert losses[2] == pytest.approx(losses[0], abs=0.2)
