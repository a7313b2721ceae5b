"""A training that is killed goes on and ends with the same bits; a damaged checkpoint is named and passed over."""

import contextlib
import subprocess
import time
from dataclasses import replace
from functools import cache

import pytest
import torch

from harness.results import store
from harness.training import checkpoint, loop
from harness.training.checkpoint import Checkpoints
from tests.support import programs
from tests.support.trainings import QUICK, digits, training

MIXED = replace(QUICK, batch_size=16, crop_pad=1, hflip=0.5, reprob=0.5, mixup=0.8, cutmix=1.0, model_ema=True,
                model_ema_decay=0.9)  # fmt: skip


@cache
def few():
    """So many of the digits that an epoch has 16 steps of 16 images."""
    return replace(digits(), train_x=digits().train_x[:256], train_y=digits().train_y[:256])


class Killed(BaseException):
    """What a test throws in the middle of a training."""


@cache
def whole():
    """A training that nothing interrupts, and what it validated."""
    one = training("sp_sa", 4, MIXED, dataset=few())
    return one, loop.train(one, lambda _: None, validate=lambda model, epoch: epoch)


def interrupted(folder, after):
    """A training killed after so many steps, checkpoints at every step, and gone on with."""
    first, steps = training("sp_sa", 4, MIXED, dataset=few()), 0
    update = first.update

    def mortal(*batch):
        nonlocal steps
        if steps == after:
            raise Killed
        steps += 1
        update(*batch)

    first.update = mortal
    with pytest.raises(Killed):
        loop.train(first, lambda _: None, Checkpoints(folder, 0.0), lambda model, epoch: epoch)
    second = training("sp_sa", 4, MIXED, dataset=few())
    return second, loop.train(second, lambda _: None, Checkpoints(folder, 0.0), lambda model, epoch: epoch)


def same(one, two):
    a, b = one.state(), two.state()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("after", [1, 15, 16, 17, 31])
def test_a_training_goes_on_at_any_step_with_the_same_bits(tmp_path, after):
    one, history = whole()
    two, again = interrupted(tmp_path, after)
    assert same(one, two)
    assert again.losses == history.losses
    assert again.validated == history.validated == {"1": 1, "2": 2}
    assert len(again.seconds) == 2


@pytest.mark.parametrize("lost", ["optimizer", "total", "ema"])
def test_a_checkpoint_that_forgets_something_is_seen(tmp_path, monkeypatch, lost):
    """The planted errors: moments, the epoch's loss, the moving average left out."""
    one, history = whole()
    true = loop.Training.restore

    def forgetful(self, state, progress):
        fresh = {name: tensor.clone() for name, tensor in self.state().items()}
        kept = {name: tensor for name, tensor in state.items() if not name.startswith(lost)}
        true(self, kept | {name: tensor for name, tensor in fresh.items() if name.startswith(lost)}, progress)

    monkeypatch.setattr(loop.Training, "restore", forgetful)
    two, again = interrupted(tmp_path, 10)
    assert not (same(one, two) and again.losses == history.losses)


def test_two_checkpoints_are_kept_and_an_interval_apart(tmp_path):
    one, kept = training("sa", 4, MIXED, dataset=few()), Checkpoints(tmp_path, 1000.0)
    loop.train(one, lambda _: None, kept)
    assert [file.name[:9] for file in kept.found()] == ["000000032"]  # the end alone
    eager = Checkpoints(tmp_path / "eager", 0.0)
    loop.train(training("sa", 4, MIXED, dataset=few()), lambda _: None, eager)
    assert [file.name[:9] for file in eager.found()] == ["000000032", "000000031"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(tmp_path, capsys, damage):
    one = training("sa")
    kept = Checkpoints(tmp_path, 0.0)
    kept.save(3, one.state(), {"step": 3})
    kept.save(5, one.state(), {"step": 5})
    newest = kept.found()[0]
    contents = bytearray(newest.read_bytes())
    contents[len(contents) // 2] ^= 1
    newest.write_bytes({"cut": contents[:1000], "flipped": contents, "empty": b""}[damage])
    state, progress = kept.newest()
    assert progress == {"step": 3}
    assert torch.equal(state["total"], one.total)
    assert f"the checkpoint {newest} is damaged" in capsys.readouterr().err
    kept.found()[1].write_bytes(b"x")
    assert kept.newest() is None


def test_weights_that_are_missing_or_damaged_or_of_another_model_are_sentences(tmp_path):
    model = training("sa").model
    with pytest.raises(ValueError, match=r"there are no weights at .*none"):
        checkpoint.load_weights(tmp_path / "none", model)
    (tmp_path / "bad").write_bytes(b"\x00" * 9)
    with pytest.raises(ValueError, match=r"weights at .*bad cannot be used"):
        checkpoint.load_weights(tmp_path / "bad", model)
    checkpoint.save_weights(tmp_path / "good", training("sp_sa").model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"weights at .*good cannot be used, .*it has blocks.0.attn.* and \d+ more, "
                       r"which the model has not; delete the file and its rows") as found:  # fmt: skip
        checkpoint.load_weights(tmp_path / "good", model)
    assert "\n" not in str(found.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    wide = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wide["head.weight"], wide["head.bias"] = wide["head.weight"][:7], wide["head.bias"][:7]
    (tmp_path / "wide").write_bytes(checkpoint.packed(wide, {"format": "pt"}))
    with pytest.raises(ValueError, match=r"another model's: its head.weight has 7 classes and the model's 10; delete"):
        checkpoint.load_weights(tmp_path / "wide", model)


COMMAND = [
    "harness.run", "--preset", "digits",
    "--variants", "sp_sa", "--baseline", "sp_sa", "--measure", "accuracy", "--seeds", "0", "--epochs",
    "3", "--warmup-epochs", "1", "--train-images", "256", "--batch-size", "64", "--checkpoint-interval", "0", "--jobs",
    "1", "--finetune-epochs", "2", "--resolutions", "8,12", "--mixup", "0.8", "--model-ema",
]  # fmt: skip
TIMES = {"train_s"}


def killed_and_gone_on_with(folder, moments):
    """The program killed (SIGKILL) at each of the moments, in seconds after its first line, then run to its end.

    Returns how many kills it met, and how long it ran at last.
    """
    command = [*COMMAND, "--output", folder / "rows", "--report", folder / "page.html"]
    kills = 0
    for moment in moments:
        process = programs.start(*command)
        process.stdout.readline()  # the first line is printed before any work
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        kills += process.poll() is None
        process.kill()
        process.communicate()
    process = programs.start(*command)
    process.stdout.readline()
    start = time.perf_counter()
    _, err = process.communicate()
    assert process.returncode == 0, err
    return kills, time.perf_counter() - start


def left(folder):
    """What a run left that may not depend on time: values by what they are about, weights, right answers."""
    frame = store.load(folder / "rows")
    frame = frame[~frame["metric"].isin(TIMES)]
    rows = frame[["variant", "metric", "seed", "epoch", "test_px", "value", "n", "note"]].astype(str).values.tolist()
    files = {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.suffix in (".safetensors", ".npy")
    }
    return sorted(rows), files


@pytest.mark.parametrize(
    "kills", [3, pytest.param(20, marks=pytest.mark.slow)]
)  # random moments, the seed of which is fixed
def test_a_program_killed_at_random_moments_ends_with_the_same_rows_and_weights(tmp_path, kills):
    _, lasts = killed_and_gone_on_with(tmp_path / "whole", [])
    share = 1.5 / kills  # of a run, at most, from a start to a kill: so most find it at work, and some near its end
    moments = (torch.rand(kills, generator=torch.Generator().manual_seed(kills)) * share * lasts).tolist()
    killed, _ = killed_and_gone_on_with(tmp_path / "killed", moments)
    assert killed >= min(2, kills)
    assert left(tmp_path / "killed") == left(tmp_path / "whole")
    assert not (tmp_path / "killed" / "rows" / "checkpoints").exists()
