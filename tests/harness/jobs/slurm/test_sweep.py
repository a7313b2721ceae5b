"""A sweep on a real Slurm: an array of cells, one cancelled, one requeued, the controller restarted."""

import re
import signal
import time

import pytest

from harness.jobs.slurm import jobs
from harness.results import store
from harness.run import program as run
from tests.support import programs
from tests.support.page import undrawn

# a training that is cancelled has three seconds more, so it is not the smallest body, which would be done by then
STUDY = ["--preset", "digits", "--variants", "sp_sa", "--seeds", "0", "--epochs", "24", "--warmup-epochs", "1",
         "--train-images", "320", "--batch-size", "64", "--measure", "cost,accuracy", "--resolutions", "8,12",
         "--val-interval", "8", "--checkpoint-interval", "0"]  # fmt: skip
SLURM = ["--slurm", "test", "--slurm-mem", "1500M", "--slurm-time", "60", "--slurm-max-parallel", "3"]


def program(folder, *flags, forked=True):
    """Starts the study; forked: its jobs do not start Python anew, but fork from a process that has torch and so on."""
    executable = programs.stand_in(folder) if forked else None
    return programs.start("harness.run", *STUDY, *flags, *into(folder), executable=executable)


def into(folder):
    return ["--output", str(folder / "rows"), "--report", str(folder / "page.html")]


def facts(folder):
    """What a row says, less what depends on time."""
    frame = store.load(folder / "rows")
    assert frame.attrs["damaged"] == []
    frame = frame[frame["metric"] != "train_s"]
    columns = ["cell", "variant", "metric", "seed", "epoch", "test_px", "value", "n", "unit", "note", "backend"]
    return sorted(frame[columns].astype(str).values.tolist())


def running(slurm):
    """Job ids by the time they have run, the longest first."""
    lines = slurm.run("squeue", "--array", "--states=running", "--noheader", "--sort=-M", "--format=%i").split()
    return lines


def until(what, holds, process, seconds=600):
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        if process.poll() is not None:
            pytest.fail(f"it ended before {what}: {process.communicate()}")
        time.sleep(0.2)
    return found


def training(folder):
    return {path.parent.name for path in folder.glob("rows/checkpoints/*/*.safetensors")}


def jobs_that_train(slurm, folder):
    """Those of the running jobs, the longest first, of whose cells there is a checkpoint."""
    keys, names = jobs(folder / "rows"), " ".join(training(folder))
    return [job for job in running(slurm) if any(key in names for key in keys.get(job, []))]


def test_a_sweep_survives_what_happens_on_a_cluster_and_gives_the_rows_of_a_laptop(slurm, tmp_path):
    process = program(tmp_path, *SLURM)
    found = until("two trainings", lambda: (now := jobs_that_train(slurm, tmp_path))[1:] and now, process)
    cancelled, requeued = found[:2]
    slurm.run("scancel", cancelled)
    slurm.run("scontrol", "requeue", requeued)
    slurm.restart_controller()
    _, err = process.communicate(timeout=600)
    assert process.returncode == 1, err
    (complaint,) = {line for line in err.splitlines() if f"its job {cancelled} is" in line}
    assert re.search(
        r"its job \S+ is CANCELLED and left no rows; see .*log.err; the same command submits it", complaint
    )
    assert slurm.run("scontrol", "show", "job", requeued).count("Restarts=1")
    told = programs.run("harness.run", *STUDY, *into(tmp_path), "--device", "cpu", "--status")
    assert told.returncode == 0, told.stderr
    assert re.search("2 done, 1 missing of 3 cells", told.stdout), told.stdout
    again = program(tmp_path, *SLURM)
    out, err = again.communicate(timeout=600)
    assert again.returncode == 0, err
    assert "2 of 3 cells are there" in out
    alone = tmp_path / "alone"
    with undrawn():
        assert run.main([*STUDY, "--checkpoint-interval", "60", "--jobs", "1", *into(alone)]) == 0
    assert facts(tmp_path) == facts(alone)
    assert not (tmp_path / "rows" / "checkpoints").exists()
    assert (tmp_path / "page.html").exists()


def test_the_same_command_while_it_runs_submits_nothing_twice_and_ctrl_c_leaves_the_jobs(slurm, tmp_path):
    flags = [*SLURM, "--measure", "accuracy", "--baseline", "sp_sa", "--finetune-epochs", "1"]
    first = program(tmp_path, *flags)
    until("a training", lambda: training(tmp_path), first)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=300)
    assert first.returncode == 130
    assert "interrupted; what was recorded is whole, and the same command goes on" in err
    number = len(list((tmp_path / "rows" / "slurm").glob("*.json")))
    second = program(tmp_path, *flags)
    _, err = second.communicate(timeout=600)
    assert second.returncode == 0, err
    assert len(list((tmp_path / "rows" / "slurm").glob("*.json"))) == number == 1


def test_a_time_limit_is_met_by_going_on(slurm, tmp_path):
    """submitit's signal before the limit: the job queues itself anew and its training goes on from the checkpoint."""
    flags = ["--baseline", "sp_sa", "--epochs", "30", "--measure", "accuracy"]
    process = program(tmp_path, *SLURM, *flags, forked=False)  # all as on a cluster: Slurm starts Python
    until("a training", lambda: training(tmp_path), process)
    (job,) = running(slurm)
    slurm.run("scancel", "--signal=USR2", job)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Restarts=1" in slurm.run("scontrol", "show", "job", job)
    assert len(store.load(tmp_path / "rows").query("metric == 'loss'")) == 30


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--slurm", "nowhere"], "Slurm does not take the jobs: .*[Ii]nvalid partition"),
        (["--slurm", "test", "--slurm-mem", "900T"], "Slurm does not take the jobs: .*emory"),
        (["--slurm", "test", "--slurm-time", "0"], "--slurm-time 0"),
    ],
)
def test_what_slurm_refuses_is_a_sentence(slurm, tmp_path, flags, says):
    process = program(tmp_path, *flags)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert re.search(says, err), err
    assert "Traceback" not in err
