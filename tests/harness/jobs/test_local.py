"""Several cells at a time: the same rows as one after another, and a process that dies costs its cell a new start."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from harness.jobs import local
from harness.jobs.cell import Cell
from harness.results import store
from harness.run.bar import Bar
from tests.support import bodies, programs

ROOT = Path(__file__).parents[3]


def row(**fact):
    return {"study": "s", "variant": "v", "metric": "m", **fact}


def planned(folder, names, slot=0):
    """Cells that do what their names say."""
    return [Told(None, name) for name in names]


@dataclass(frozen=True, eq=False)
class Told(Cell):
    """A cell whose key is its name; a name's end says what it starts from."""

    name: str

    kind, metric, variant, seed, fraction, cores = "told", "m", "v", 0, 1.0, 1
    work = 2

    @property
    def key(self):
        return f"key-{self.name}"

    @property
    def after(self):
        first = self.name.removeprefix("child-")
        return None if first == self.name else Told(None, first)

    def settings(self):
        return []

    def null_rows(self, note):
        return [row(value=None, note=note)]

    def run(self, folder, tick):
        name = self.name
        tick()
        marks = folder / "marks"
        marks.mkdir(exist_ok=True)
        mark = marks / f"{name}-{time.monotonic_ns()}"
        mark.write_text(str(os.getpid()))
        if name.startswith("sleeps"):
            time.sleep(600)
        tries = len(list(marks.glob(f"{name}-*")))
        if name.startswith("dies") or (name.startswith("once") and tries == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("moves") and tries < 6:  # gets a little further each time
            checkpoints = self.checkpoints(folder)
            checkpoints.mkdir(parents=True, exist_ok=True)
            (checkpoints / f"{tries:09d}-{'0' * 16}.safetensors").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("fails"):
            raise RuntimeError("out of luck")
        if name.startswith("disk"):
            raise OSError(28, "No space left on device")
        if name.startswith("slow"):
            time.sleep(1.0)
        if name.startswith("parent"):
            child = get_context("fork").Process(target=os.getpid)
            child.start()
            child.join()
            assert child.exitcode == 0
        if name.startswith("child"):
            assert list(folder.glob(f"*{self.after.key}.jsonl"))
        tick()
        yield row(value=float(len(name)), note=str(os.getpid()))


def run(folder, *names, jobs=2):
    with Bar(planned(folder, names), disable=True) as bar:
        failures = local.at_once(planned(folder, names), folder, bar, jobs, partial(planned, folder, names))
    return failures


def test_cells_run_at_once_in_other_processes(tmp_path):
    assert run(tmp_path, "slow-a", "slow-b", "parent", "d") == {}
    frame = store.load(tmp_path)
    assert len(frame) == 4
    assert len(set(frame["note"])) == 2
    assert str(os.getpid()) not in set(frame["note"])


def test_a_process_that_has_nothing_to_do_ends_by_itself(tmp_path, monkeypatch):
    """Ended from outside, it leaves locks that it shared with readers of pictures, and Python complains of them."""
    codes, end = [], local.Worker.end
    monkeypatch.setattr(local.Worker, "end", lambda worker: (end(worker), codes.append(worker.process.exitcode)))
    assert run(tmp_path, "a", "parent") == {}
    assert codes == [0, 0]


def test_a_process_that_is_killed_costs_its_cell_a_new_start(tmp_path, capfd):
    assert run(tmp_path, "once-a", "b", "c", "d", "once-e") == {}
    assert len(store.load(tmp_path)) == 5
    err = capfd.readouterr().err
    assert "once-a: its process was killed by signal 9 (out of memory?); it starts again" in err


def test_a_cell_is_given_up_after_three_deaths_without_progress(tmp_path):
    failures = run(tmp_path, "dies", "b", "moves")
    assert failures == {"dies": "its process was killed by signal 9 (out of memory?), 3 times without progress"}
    frame = store.load(tmp_path)
    assert frame["value"].notna().sum() == 2
    assert frame.loc[frame["value"].isna(), "note"].item() == failures["dies"]
    assert len(list((tmp_path / "marks").glob("dies-*"))) == 3
    assert len(list((tmp_path / "marks").glob("moves-*"))) == 6  # it got further each time, so it was not given up


def test_a_cell_that_fails_is_a_sentence_and_one_waits_for_what_it_starts_from(tmp_path):
    assert run(tmp_path, "child-slow", "fails", "slow") == {"fails": "RuntimeError: out of luck"}
    assert store.load(tmp_path)["value"].notna().sum() == 2


def test_a_full_disk_ends_them_all(tmp_path):
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, "disk", "sleeps-a", "sleeps-b")
    assert len(list(tmp_path.glob("*.jsonl"))) == 0


def test_processes_end_with_the_one_that_started_them(tmp_path):
    """Killed, it cannot tell them; they are in the middle of a cell that says nothing for a while."""
    script = (
        "import sys\n"
        "from pathlib import Path; from tests.harness.jobs import test_local\n"
        "test_local.local.IMPORTED = (test_local.__name__,)  # once for both; what else there is takes seconds\n"
        "if __name__ == '__main__': test_local.run(Path(sys.argv[1]), 'sleeps-a', 'sleeps-b')\n"
    )
    (tmp_path / "script.py").write_text(script)
    for how in (signal.SIGKILL, signal.SIGTERM):
        marks = tmp_path / "marks"
        before = set(marks.glob("*")) if marks.exists() else set()
        process = programs.start("script", tmp_path, cwd=tmp_path)
        while len(new := set(marks.glob("*")) - before if marks.exists() else set()) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        pids = [int(mark.read_text()) for mark in new]
        process.send_signal(how)
        process.wait(120)
        end = time.monotonic() + 120
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < end, how
            time.sleep(0.05)


def test_the_same_figures_and_weights_as_one_after_another(tmp_path, monkeypatch):
    """To the last bit, since a training takes as many cores here as there."""
    from harness.run import program

    monkeypatch.chdir(tmp_path)
    flags = ["--preset", "digits", *bodies.FLAGS,
             "--variants", "sp_sa", "--epochs", "2", "--warmup-epochs", "1", "--train-images", "320", "--batch-size",
             "64", "--seeds", "0-1", "--measure", "accuracy", "--resolutions", "8"]  # fmt: skip
    assert program.main([*flags, "--output", "alone", "--jobs", "1"]) == 0
    assert program.main([*flags, "--output", "together", "--jobs", "2"]) == 0

    def facts(folder):
        frame = store.load(folder)
        frame = frame[frame["metric"] != "train_s"]
        assert {machine["threads"] for machine in frame["machine"]} == {1}
        return sorted(frame[["variant", "seed", "metric", "epoch", "value"]].astype(str).values.tolist())

    def weights(folder):
        return {path.name: path.read_bytes() for path in Path(folder, "weights").iterdir()}

    assert facts("alone") == facts("together")
    assert len(weights("alone")) == 4
    assert weights("alone") == weights("together")


def test_a_cell_has_its_own_number_of_cores_and_gives_them_back(tmp_path):
    before = torch.get_num_threads()
    for number in (before + 1, 1):
        with local.on_cores(number):
            assert torch.get_num_threads() == number
        assert torch.get_num_threads() == before
    with local.on_cores(None):
        assert torch.get_num_threads() == before


def children(*parents):
    """The processes that these have started."""
    words = ["pgrep", "-P", ",".join(map(str, parents))]
    return subprocess.run(words, capture_output=True, text=True).stdout.split()


@pytest.mark.slow
def test_thirty_cells_survive_a_kill_every_few_seconds(tmp_path):
    """SIGKILL of a random process that trains, as long as the sweep lasts: thirty whole cells, none twice."""
    flags = ["--preset", "digits",
             "--variants", "sp_sa,psa", "--seeds", "0-9", "--epochs", "6", "--warmup-epochs", "1", "--resolutions", "8",
             "--measure", "accuracy", "--checkpoint-interval", "0", "--jobs", "3"]  # fmt: skip
    command = [sys.executable, "-m", "harness.run", *flags, "--output", str(tmp_path / "rows"), "--report",
               str(tmp_path / "page.html")]  # fmt: skip
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    chance, kills = random.Random(0), 0
    while process.poll() is None:
        time.sleep(chance.uniform(6, 9))  # three processes take some seconds to start on two cores
        servers = children(process.pid)
        if pids := children(*servers) if servers else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(chance.choice(pids)), signal.SIGKILL)
                kills += 1
    assert process.returncode == 0
    assert kills > 5
    frame = store.load(tmp_path / "rows")
    assert frame.attrs["damaged"] == []
    top1 = frame[frame["metric"] == "top1"]
    assert len(top1) == len(top1.drop_duplicates(["variant", "seed"])) == 30
    assert (frame[frame["metric"] == "loss"].groupby(["variant", "seed"]).size() == 6).all()
    assert not (tmp_path / "rows/checkpoints").exists()
