"""Paired, repeatable training with the published weight-decay rule."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from harness.backbone.vit import create
from harness.training import loop
from tests.support.trainings import QUICK, digits, source, training, watched

MIXED = replace(QUICK, crop_pad=1, hflip=0.5, reprob=0.5, mixup=0.8, cutmix=1.0, model_ema=True, model_ema_decay=0.9)


def run(spec="sa", seed=4, recipe=QUICK):
    """A training, what it was shown, and its history."""
    one = training(spec, seed, recipe)
    seen = watched(one)
    history = loop.train(one, lambda _: None)
    return one, seen, history


known = cache(run)  # for those who only look at it


class Begun(Exception):
    """A training has shown its model a batch."""


def shown_first(spec, seed, recipe):
    """The first batch of a training."""

    def end(_, inputs):
        raise Begun(inputs[0].clone())

    one = training(spec, seed, recipe)
    one.model.register_forward_pre_hook(end)
    with pytest.raises(Begun) as found:
        loop.train(one, lambda _: None)
    return found.value.args[0]


@pytest.mark.parametrize("recipe", [QUICK, MIXED], ids=["plain", "mixed"])
def test_one_seed_gives_every_variant_the_same_weights_batches_and_augmentation(recipe):
    start = [training(spec, 4, recipe).model.state_dict() for spec in ("sa", "sp_sa")]
    assert all(torch.equal(start[0][name], start[1][name]) for name in start[0])
    _, plain, _ = known("sa", 4, recipe)
    _, spatial, _ = known("sp_sa", 4, recipe)
    assert len(plain) == 2 * 16
    assert all(torch.equal(a, b) for a, b in zip(plain, spatial, strict=True))
    assert torch.equal(plain[0], shown_first("sa", 4, recipe))
    assert not torch.equal(plain[0], shown_first("sa", 5, recipe))


def test_one_seed_gives_every_variant_the_same_drop_path_and_targets():
    """A variant that draws from the global stream on its way leaves the draws of the others' steps alone."""

    def drawn(spec, disturb):
        one, seen = training(spec, 4, MIXED), []
        mixed = one.mixing.__call__

        def mixing(images, labels, step):
            images, targets = mixed(images, labels, step)
            seen.append((targets.clone(), torch.get_rng_state()))
            return images, targets

        one.mixing = mixing
        if disturb:
            one.model.register_forward_hook(lambda *_: (torch.rand(7), None)[1])
        loop.train(one, lambda _: None)
        return seen

    plain, greedy = drawn("sa", False), drawn("psa", True)
    for (targets, state), (others, other_state) in zip(plain, greedy, strict=True):
        assert torch.equal(targets, others)
        assert torch.equal(state, other_state)


@pytest.mark.parametrize("recipe", [QUICK, MIXED], ids=["plain", "mixed"])
def test_training_is_repeatable(recipe):
    one, _, history = known("sp_sa", 4, recipe)
    two, _, again = run("sp_sa", 4, recipe)
    assert history.losses == again.losses
    assert all(torch.equal(v, two.trained.state_dict()[k]) for k, v in one.trained.state_dict().items())
    assert history.losses[1] < history.losses[0]


def test_an_epoch_shows_each_image_at_most_once():
    _, seen, _ = known("sa", 4, QUICK)
    first = torch.cat(seen[:16]).flatten(1)
    assert len(first) == 1024
    pool = {tuple(row) for row in digits().normalise(digits().train_x).flatten(1).tolist()}
    assert len({tuple(row) for row in first.tolist()}) >= min(1024, len(pool)) - 60  # the scans hold a few twins


def test_weight_decay_spares_what_timm_and_the_papers_spare():
    model = create("sp_sa+rpe_2d", img_size=8, patch_size=2, in_chans=1, num_classes=10)
    opt = loop.optimizer(model, QUICK)
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
        run("sa", 0, replace(QUICK, epochs=4, cooldown_epochs=1))
    finally:
        hook.remove()
    assert rates[0] == pytest.approx(QUICK.warmup_lr)
    assert max(rates) == pytest.approx(QUICK.lr, rel=0.1)  # timm's cosine has begun by then
    assert rates[63] < 0.1 * QUICK.lr
    assert rates.index(max(rates)) == pytest.approx(16, abs=1)
    assert len(rates) == 5 * 16
    assert rates[64:] == [QUICK.min_lr] * 16


def test_a_fine_tuning_is_constant_and_slow():
    recipe = QUICK.finetuning(2)
    rates = []
    hook = register_optimizer_step_pre_hook(lambda opt, *_: rates.append(opt.param_groups[0]["lr"]))
    try:
        run("sa", 0, recipe)
    finally:
        hook.remove()
    assert rates == pytest.approx([QUICK.lr / 80] * 32)
    assert recipe.weight_decay == 1e-8
    assert recipe.drop_path == QUICK.drop_path


def test_a_loss_that_is_not_finite_is_a_sentence():
    with pytest.raises(FloatingPointError, match="lower the lr"):
        run("sa", 0, replace(QUICK, lr=1e30, warmup_epochs=0))


def test_the_moving_average_is_the_one_by_hand_and_what_counts():
    """Also of a prior that all layers share, which a state dict lists once a layer."""
    recipe = replace(QUICK, model_ema=True, model_ema_decay=0.5, epochs=1, warmup_epochs=0, lr=1e-2)
    one = training("sp_sa[scope=network]", 4, recipe)
    name = "blocks.0.attn.relation.function.b2"
    expected = None

    def follow(*_):
        nonlocal expected
        now = one.model.state_dict()[name].clone()
        expected = now if expected is None or one.history.step <= 2 else 0.5 * expected + 0.5 * now

    update = one.ema.update

    def watch(*args, **kwargs):
        follow()
        update(*args, **kwargs)

    one.ema.update = watch
    loop.train(one, lambda _: None)
    assert one.trained is one.ema.module
    torch.testing.assert_close(one.trained.state_dict()[name], expected)
    assert not torch.equal(one.trained.state_dict()[name], one.model.state_dict()[name])


def test_gradients_are_clipped():
    norms = []

    def watch(opt, *_):
        norms.append(torch.stack([p.grad.norm() for g in opt.param_groups for p in g["params"]]).norm().item())

    hook = register_optimizer_step_pre_hook(watch)
    try:
        run("sa", 0, replace(QUICK, clip_grad=0.01, epochs=1, warmup_epochs=0))
    finally:
        hook.remove()
    assert max(norms) <= 0.0101


def test_mixed_targets_are_smoothed_once():
    """The loss of a batch that mixup left alone is the one with smoothed labels."""
    recipe = replace(QUICK, mixup=0.8, mixup_prob=0.0, drop_path=0.0)
    mixed, plain = training("sa", 4, recipe), training("sa", 4, replace(QUICK, drop_path=0.0))
    images, labels = next(iter(plain.feed.epoch(0)))
    shares = mixed.mixing(images.clone(), labels, 0)[1]
    assert shares.shape == (64, 10)
    assert loop.step(mixed.model, images, shares, mixed.optimizer, recipe).item() == pytest.approx(
        loop.step(plain.model, images, labels, plain.optimizer, QUICK).item()
    )


def test_validation_is_asked_after_each_epoch_and_seconds_are_of_training_alone():
    import time

    one, asked = training("sa", 4), []

    def validate(model, epoch):
        asked.append(epoch)
        time.sleep(0.3)
        return None if epoch == 1 else 7

    start = time.perf_counter()
    history = loop.train(one, lambda _: None, validate=validate)
    whole = time.perf_counter() - start
    assert asked == [1, 2]
    assert history.validated == {"2": 7}
    assert history.seconds[0] < history.seconds[1] < whole - 0.6


def test_correct_is_the_share_of_right_answers():
    class Constant(torch.nn.Module):
        def forward(self, images):
            return torch.nn.functional.one_hot(torch.full((len(images),), 3), 10).float()

    labels = torch.tensor([3, 1, 3, 0, 3])
    batches = [(torch.zeros(2, 1, 8, 8), labels[:2]), (torch.zeros(3, 1, 8, 8), labels[2:])]
    assert loop.correct(Constant(), batches).tolist() == [1, 0, 1, 0, 1]
    guesses, logs, truth = loop.answers(Constant(), batches)
    assert guesses.shape == (5, 5)
    assert guesses[:, 0].tolist() == [3] * 5
    assert torch.equal(truth, labels)
    torch.testing.assert_close(logs, Constant()(torch.zeros(5, 1, 8, 8)).log_softmax(dim=1))


def test_bfloat16_trains_with_float32_weights_and_logits():
    model = create("sp_sa", img_size=8, patch_size=2, in_chans=1, num_classes=10, precision="bfloat16", seed=0)
    images, labels = next(iter(training("sa").feed.epoch(0)))
    seen = []
    model.blocks[0].mlp.fc1.register_forward_hook(lambda _, i, out: seen.append(out.dtype))
    assert model(images).dtype == torch.float32
    assert seen == [torch.bfloat16]
    opt = loop.optimizer(model, QUICK)
    losses = [loop.step(model, images, labels, opt, QUICK).item() for _ in range(20)]
    assert losses[-1] < losses[0]
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert source().steps == 16
