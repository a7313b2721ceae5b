"""Paired, repeatable training with the published weight-decay rule."""

from dataclasses import replace

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from harness import data, train
from harness.backbone import create
from harness.recipe import Recipe

QUICK = Recipe(epochs=2, warmup_epochs=1, batch_size=64, drop_path=0.2)


def run(spec, seed, recipe=QUICK):
    digits = data.load("digits")
    seen = []
    model = create(spec, img_size=8, patch_size=2, in_chans=1, num_classes=10, drop_path=recipe.drop_path, seed=seed)
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    losses = train.train(model, digits.normalise(digits.train_x), digits.train_y, recipe, seed, lambda *_: None)
    return model, seen, losses, torch.rand(())


def test_one_seed_gives_every_variant_the_same_batches_and_the_same_stream():
    _, plain, _, after_plain = run("sa", 4)
    _, spatial, _, after_spatial = run("sp_sa", 4)
    assert len(plain) == 2 * 16
    assert all(torch.equal(a, b) for a, b in zip(plain, spatial, strict=True))
    assert after_plain == after_spatial
    _, other, _, _ = run("sa", 5)
    assert not torch.equal(plain[0], other[0])


def test_training_is_repeatable_and_learns():
    one, _, losses, _ = run("sp_sa", 4)
    two, _, again, _ = run("sp_sa", 4)
    assert losses == again
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())
    assert losses[1] < losses[0]


def test_an_epoch_shows_each_image_at_most_once():
    _, seen, _, _ = run("sa", 4)
    first = torch.cat(seen[:16]).flatten(1)
    assert len(first) == 1024
    digits = data.load("digits")
    pool = {tuple(row) for row in digits.normalise(digits.train_x).flatten(1).tolist()}
    assert len({tuple(row) for row in first.tolist()}) >= min(1024, len(pool)) - 60  # the scans hold a few twins


def test_weight_decay_spares_what_timm_and_the_papers_spare():
    model = create("sp_sa+rpe_2d", img_size=8, patch_size=2, in_chans=1, num_classes=10)
    opt = train.optimizer(model, QUICK)
    name_of = {id(p): name for name, p in model.named_parameters()}
    decayed = {name_of[id(p)] for g in opt.param_groups if g["weight_decay"] > 0 for p in g["params"]}
    assert decayed == {
        name for name in name_of.values()
        if (name.endswith(".weight") and "norm" not in name) or name.endswith((".w1", ".w2"))
    }  # fmt: skip


def test_the_learning_rate_warms_up_and_decays():
    rates = []

    def watch(opt, *_):
        rates.append(opt.param_groups[0]["lr"])

    hook = register_optimizer_step_pre_hook(watch)
    try:
        run("sa", 0, replace(QUICK, epochs=4))
    finally:
        hook.remove()
    assert rates[0] == pytest.approx(QUICK.warmup_lr)
    assert max(rates) == pytest.approx(QUICK.lr, rel=0.1)  # timm's cosine has begun by then
    assert rates[-1] < 0.1 * QUICK.lr
    assert rates.index(max(rates)) == pytest.approx(16, abs=1)


def test_a_loss_that_is_not_finite_is_a_sentence():
    with pytest.raises(FloatingPointError, match="lower the lr"):
        run("sa", 0, replace(QUICK, lr=1e30, warmup_epochs=0))


def test_correct_is_the_share_of_right_answers():
    class Constant(torch.nn.Module):
        def forward(self, images):
            return torch.nn.functional.one_hot(torch.full((len(images),), 3), 10).float()

    labels = torch.tensor([3, 1, 3, 0, 3])
    assert train.correct(Constant(), torch.zeros(5, 1, 8, 8), labels, batch_size=2).tolist() == [1, 0, 1, 0, 1]
