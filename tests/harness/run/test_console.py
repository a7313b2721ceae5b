"""What programs that work through cells share: the progress that is told, the bar, the sentences and exit codes."""

import re
from dataclasses import dataclass

import pytest

from harness.jobs.cell import Cell
from harness.jobs.kinds import training as training_cell
from harness.results import store
from harness.run import program
from harness.run.console import clock, in_words, progress, spoken, work, writable
from harness.training.checkpoint import Checkpoints
from tests.support import bodies
from tests.support.page import undrawn

TINY = ["--preset", "digits", *bodies.FLAGS,
        "--variants", "sp_sa", "--epochs", "2", "--warmup-epochs", "1", "--measure", "accuracy", "--seeds", "0",
        "--resolutions", "8", "--train-images", "320", "--jobs", "1"]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Counting(Cell):
    """A cell that does nothing but tick."""

    name: str
    work: int = 2
    seed: int | None = None
    kind = "counting"
    metric = "m"
    variant = "v"
    fraction = 1.0
    after = None
    cores = 1
    key = property(lambda self: f"key-{self.name}")

    def settings(self):
        return []

    def run(self, folder, tick):
        for _ in range(self.work):
            tick()
        yield {"study": "s", "variant": "v", "metric": "m", "value": 1.0}


def cell(name, ticks=2, seed=None):
    return Counting(None, name, ticks, seed)


def begin(one, folder):
    Checkpoints(one.checkpoints(folder), 0).save(7, {}, {"step": 7})


def test_what_goes_on_is_told_apart_from_what_starts_anew(tmp_path):
    planned = [cell(name) for name in "abcd"]
    assert progress(planned, planned, tmp_path) == "0 of 4 cells are there"
    begin(planned[1], tmp_path)
    assert progress(planned, planned, tmp_path) == "0 of 4 cells are there, 1 goes on from a checkpoint"
    begin(planned[2], tmp_path)
    assert progress(planned, planned[1:], tmp_path) == "1 of 4 cells are there, 2 go on from a checkpoint"
    assert progress(planned, planned[3:], tmp_path) == "3 of 4 cells are there"
    assert progress(planned[:1], [], tmp_path) == "1 of 1 cell is there"
    (planned[3].checkpoints(tmp_path)).mkdir(parents=True)
    (planned[3].checkpoints(tmp_path) / "notes.txt").touch()  # no checkpoint
    assert progress(planned, planned[3:], tmp_path) == "3 of 4 cells are there"
    assert progress(planned[:1], [], tmp_path) == "1 of 1 cell is there"


@undrawn()
def test_a_run_that_was_interrupted_says_that_it_goes_on(tmp_path, monkeypatch, capsys):
    real = training_cell.train

    def interrupted(training, tick, checkpoints, *rest):
        checkpoints.save(1, training.state(), {"step": 0})
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training_cell, "train", interrupted)
    assert program.main(TINY) == 130
    out, err = capsys.readouterr()
    assert "; 0 of 2 cells are there; 10 classes; " in out
    assert "harness.run: interrupted; what was recorded is whole, and the same command goes on\n" in err
    monkeypatch.setattr(training_cell, "train", real)
    assert program.main(TINY) == 0
    assert "; 0 of 2 cells are there, 1 goes on from a checkpoint; 10 classes; " in capsys.readouterr().out
    assert program.main(TINY) == 0
    assert "; 2 of 2 cells are there; 10 classes; " in capsys.readouterr().out


def test_the_bar_counts_steps_of_the_cell_that_it_names(tmp_path, capsys):
    assert work([cell("speed", 3), cell("sa seed 0", 2, seed=0)], tmp_path) == {}
    err = capsys.readouterr().err
    assert re.search(r"speed: +0%\|.* 0/5 .*step/s", err)
    assert re.search(r"sa seed 0: 100%.* 5/5 .*step/s", err)
    assert "epoch" not in err
    assert work([], tmp_path) == {}
    assert capsys.readouterr().err == ""
    assert len(store.load(tmp_path)) == 2
    work([cell("another")], tmp_path, unit="count")
    assert "count/s" in capsys.readouterr().err


ENDS = {
    "fine": (None, 0, ""),
    "bad input": (ValueError("x=1 is wrong; write 2"), 2, "prog: x=1 is wrong; write 2\n"),
    "no room": (OSError(28, "No space left"), 1, "prog: [Errno 28] No space left; what was recorded is whole, "),
    "Ctrl-C": (KeyboardInterrupt(), 130, "prog: interrupted; what was recorded is whole, "),
}


@pytest.mark.parametrize(("error", "code", "says"), ENDS.values(), ids=ENDS)
def test_each_end_has_its_code_and_one_sentence(capsys, error, code, says):
    def job():
        if error is not None:
            raise error
        return 0

    assert in_words("prog", job) == code
    err = capsys.readouterr().err
    assert err.startswith(says)
    assert err.count("\n") == bool(says)


def test_an_error_of_the_program_is_not_hidden_but_under_torchrun_it_is_a_sentence(monkeypatch, capsys):
    def job():
        raise RuntimeError("rank 1 is lost\nmore")

    with pytest.raises(RuntimeError):
        in_words("prog", job)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")
    assert in_words("prog", job) == 1
    assert "rank 1 is lost; this process ends, since all end together" in capsys.readouterr().err
    assert not spoken()
    monkeypatch.setenv("RANK", "0")
    assert spoken()


def test_a_folder_that_cannot_be_written_is_refused_and_nothing_is_made(tmp_path):
    (tmp_path / "file").touch()
    writable(tmp_path / "new" / "rows")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(ValueError, match=r"the folder .*file/rows cannot be written; choose another"):
        writable(tmp_path / "file" / "rows")


@pytest.mark.parametrize(
    ("seconds", "says"), [(5, "5 s"), (99.4, "99 s"), (100, "2 min"), (5999, "100 min"), (9000, "2.5 h")]
)
def test_seconds_are_said_in_the_unit_that_fits(seconds, says):
    assert clock(seconds) == says
