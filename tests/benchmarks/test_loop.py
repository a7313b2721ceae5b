"""The training loop against the bare step on a batch that lies there: what order, cuts, draws and schedule cost."""

from dataclasses import replace

import pytest

from harness.presets import preset
from harness.training.loop import History, optimizer, step, train
from tests.support.trainings import training

from .pairs import ratios
from .record import record

AUGMENTED = {"crop_pad": 1, "hflip": 0.5}
LEAST = 0.97  # of the bare step's images a second


@pytest.mark.parametrize("recipe", ["plain", "augmented"])
def test_loop(benchmark, rounds, recipe):
    """An epoch of 16 steps on the digits, by harness.training.loop and by hand."""
    chosen = replace(preset("digits").recipe, epochs=1, warmup_epochs=0, **(AUGMENTED if recipe == "augmented" else {}))
    whole, bare = training("sa", 0, chosen), training("sa", 0, chosen)
    images, labels = next(whole.feed.epoch(0))
    opt = optimizer(bare.model, chosen)
    bare.model.train()

    def by_the_loop():
        whole.history = History()
        train(whole, lambda _: None)

    def by_hand():
        for _ in range(whole.feed.steps):
            step(bare.model, images, labels, opt, chosen)

    found = ratios(benchmark, by_the_loop, by_hand, rounds)
    record(
        benchmark, found, variant="sa", baseline="bare step", condition=f"loop-{recipe}-digits-B64", target=1 / LEAST,
        short=False, grid="4x4", batch=64, mode="loop", backend="auto",
    )  # fmt: skip
