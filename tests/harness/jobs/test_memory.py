"""A step that no memory here can hold is a sentence at the start; the bound is one: what runs holds more."""

import re
from dataclasses import replace

import pytest
import torch

from harness.jobs import memory
from harness.jobs.plan import StudyArm, experiment_of
from harness.measure.timing.memory import peak_mib
from harness.presets import digits
from harness.run import program


def experiment(**settings):
    return experiment_of(StudyArm(replace(digits(), **settings)), (), "cpu")


def test_an_impossible_resolution_is_a_sentence_at_the_start(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert program.main(["--preset", "digits", "--variants", "sp_sa", "--resolutions", "8,1000000"]) == 2
    err = capsys.readouterr().err
    assert re.search(r"testing 360 images of 1000000x1000000 px takes at least [\d,]+ GiB, and this machine "
                     r"has \d+; choose smaller --resolutions, or a larger --patch-size\n", err), err  # fmt: skip
    assert "Allocator" not in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("px", [8, 32])
def test_the_bound_is_below_what_a_test_and_a_training_step_take(px):
    one = experiment(img_size=px, measure=("accuracy",))
    model = one.model("sa").eval()
    for step in memory.steps(one):
        training = step.what.startswith("training")
        images = one.like(step.images, step.size)

        def work(images=images, training=training):
            with torch.set_grad_enabled(training):
                loss = model(images).sum()
                if training:
                    loss.backward()

        taken = peak_mib(work, [images], one.device) * 2**20
        assert taken / 30 < step.held < taken


def test_where_only_speed_is_measured_one_image_counts(monkeypatch):
    fits = memory.held(experiment(), (64, 64))
    monkeypatch.setattr(memory, "capacity", lambda _: fits)
    memory.check(experiment(measure=("speed",), resolutions=(64,)))
    with pytest.raises(ValueError, match=r"testing 1 image of 66x66 px"):
        memory.check(experiment(measure=("speed",), resolutions=(66,)))


def test_the_largest_step_is_named(monkeypatch):
    monkeypatch.setattr(memory, "capacity", lambda _: 1000)
    large = replace(digits().recipe, batch_size=512)
    for settings, says in (
        ({"resolutions": ()}, r"testing 360 images of 8x8 px .*; choose smaller --img-size or --batch-size"),
        ({"resolutions": (), "recipe": large}, r"training on 512 images of 8x8 px .*; choose smaller --img-size"),
        (
            {"resolutions": (12,), "recipe": large, "finetune_epochs": 1},
            r"training on 512 .* 12x12 px .* --resolutions",
        ),
    ):
        with pytest.raises(ValueError, match=says):
            memory.check(experiment(measure=("accuracy",), **settings))
