"""Snapshots: few epochs, the same bits done again, and nothing of the training changed."""

from dataclasses import replace

import pytest

from harness.jobs.kinds.snapshots import chosen
from harness.jobs.kinds.training import Trained
from harness.presets import digits
from harness.training.recipe import Recipe
from tests.support.cells import experiment, work


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    work(experiment(measure=("accuracy", "maps")), ["sp_sa", "gpsa"], folder)
    return folder


def test_snapshots_done_again_have_the_same_bits(study, tmp_path):
    """A training that goes on from a checkpoint leaves the bits that it would have left."""
    rows = study
    (kept,) = (rows / "snapshots").glob("sp_sa*")
    before = {file.name: file.read_bytes() for file in kept.iterdir()}
    assert sorted(before) == ["000001.npz", "000002.npz"]
    one = experiment(measure=("accuracy", "maps"))
    cell = Trained(one, "sp_sa", 0)
    assert cell.snapshots(rows) == kept
    ticks = []

    def killed(count=1):
        ticks.append(count)
        if sum(ticks) == 2:
            raise KeyboardInterrupt

    slow = Trained(replace(one, study=replace(one.study, checkpoint_interval=0.0)), "sp_sa", 0)
    with pytest.raises(KeyboardInterrupt):
        list(slow.run(tmp_path, killed))
    (slow.snapshots(tmp_path) / "000002.npz").unlink(missing_ok=True)
    for file in sorted(slow.checkpoints(tmp_path).iterdir())[-1:]:
        file.unlink()  # the newest: the second epoch is done again
    list(slow.run(tmp_path, lambda count=1: None))
    assert {file.name: file.read_bytes() for file in slow.snapshots(tmp_path).iterdir()} == before


def test_snapshots_change_nothing_in_the_training(study, tmp_path, monkeypatch):
    """Weights with and without them are the same bits."""
    monkeypatch.setattr("harness.jobs.kinds.training.snapshot", lambda *_: None)
    cell = Trained(experiment(measure=("accuracy",)), "gpsa", 0)
    list(cell.run(tmp_path, lambda count=1: None))
    assert cell.weights(tmp_path).read_bytes() == cell.weights(study).read_bytes()
    assert cell.snapshots(study).exists()
    assert not cell.snapshots(tmp_path).exists()


def test_the_epochs_that_are_kept_are_few_and_validated():
    def kept(epochs, interval):
        return chosen(replace(digits(), recipe=Recipe(epochs=epochs, warmup_epochs=0), val_interval=interval))

    assert kept(20, 1) == [1, 2, 3, 4, 7, 12]
    assert kept(300, 10) == [10, 20, 40, 120]
    assert kept(1, 1) == []
    assert kept(4, 10) == []
