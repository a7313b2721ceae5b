"""The cluster that other tests use is a real one: it runs, cancels and requeues, forgets nothing and leaves nothing."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from . import cluster as real
from .conftest import require_slurm

ROOT = Path(__file__).parents[4]
JOB = """#!/bin/sh
echo "start $SLURM_RESTART_COUNT" >> {folder}/$SLURM_ARRAY_TASK_ID
while [ ! -e {folder}/go ]; do sleep 0.1; done
echo end >> {folder}/$SLURM_ARRAY_TASK_ID
"""


def until(holds, what, seconds=180):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.2)


def states(slurm, job):
    """State of each task of an array; finished ones stay visible for five minutes (MinJobAge)."""
    rows = slurm.run("squeue", "--array", "--states=all", "--noheader", "--format=%K %T", "--jobs", job)
    return {int(task): state for task, state in map(str.split, rows.splitlines())}


def test_an_array_goes_through_a_cancel_a_requeue_and_a_new_controller(slurm, tmp_path):
    script = tmp_path / "job.sh"
    script.write_text(JOB.format(folder=tmp_path))
    job = slurm.run("sbatch", "--parsable", "--array=0-5", "--output=/dev/null", str(script))
    until(lambda: all((tmp_path / str(task)).exists() for task in range(4)), "the first four tasks")
    slurm.run("scancel", f"{job}_1")
    slurm.run("scontrol", "requeue", f"{job}_2")
    again = tmp_path / "2"  # either is seen: it waits, or has begun anew; else its slurmstepd tries again after 15 s
    until(lambda: states(slurm, job)[2] == "PENDING" or "start 1" in again.read_text(), "the requeued task")
    old = slurm.daemons["slurmctld"].pid
    slurm.restart_controller()
    assert slurm.daemons["slurmctld"].pid != old
    assert states(slurm, job)[0] == "RUNNING"
    (tmp_path / "go").touch()
    until(lambda: not set(states(slurm, job).values()) - {"COMPLETED", "CANCELLED"}, "the array's end")
    assert states(slurm, job) == {task: "CANCELLED" if task == 1 else "COMPLETED" for task in range(6)}
    once = ["start ", "end"]
    expected = {0: once, 1: ["start "], 2: ["start ", "start 1", "end"], 3: once, 4: once, 5: once}
    assert {task: (tmp_path / str(task)).read_text().splitlines() for task in range(6)} == expected


def test_a_body_that_raises_leaves_no_process(installed, tmp_path):
    def body():
        with real.cluster(tmp_path) as slurm:
            slurm.run(
                "sbatch", "--output=/dev/null", f"--wrap=trap '' TERM; touch {tmp_path}/runs; sleep 600; sleep 600"
            )
            until((tmp_path / "runs").exists, "the job")
            assert len(slurm.processes()) >= 5  # three daemons, slurmstepd and the job
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    assert real.Cluster(tmp_path).processes() == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_command_line_leaves_no_process(installed, tmp_path, number):
    command = [sys.executable, "-m", "tests.harness.jobs.slurm.cluster", "--folder", tmp_path / "slurm", "--"]
    command += ["sh", "-c", "sbatch --wrap='sleep 600' --output=/dev/null; echo up; sleep 600"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert "Submitted batch job 1" in process.stdout.readline()
        assert process.stdout.readline() == "up\n"
        assert real.Cluster(tmp_path / "slurm").processes()
        process.send_signal(number)
        try:
            assert process.wait(180) == 128 + number
        finally:
            process.kill()
    assert real.Cluster(tmp_path / "slurm").processes() == set()


def test_a_command_runs_beside_the_cluster_and_its_exit_status_is_ours(installed, tmp_path):
    command = [
        sys.executable,
        "-m",
        "tests.harness.jobs.slurm.cluster",
        "--folder",
        tmp_path / "slurm",
        "--cpus",
        "7",
        "--",
    ]
    command += ["sh", "-c", "sinfo --noheader --format '%P %c %T'; exit 5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (5, "test* 7 idle\n")


def test_a_cluster_that_cannot_start_says_why(installed, tmp_path):
    with pytest.raises(RuntimeError, match="unrecognized key: Nonsense") as failure, real.cluster(tmp_path, Nonsense=1):
        pass
    assert re.search("slurm(ctld|d) ended with 1", str(failure.value))  # whichever reads the settings first
    assert "munged: Notice: Starting" in str(failure.value)
    assert real.Cluster(tmp_path).processes() == set()


@pytest.mark.parametrize(("folder", "why"), [("x" * 90, "take a shorter folder"), ("used", "is not empty")])
def test_a_folder_that_cannot_serve_is_refused(installed, tmp_path, folder, why):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "slurm.conf").touch()
    with pytest.raises(ValueError, match=why), real.cluster(tmp_path / folder):
        pass


def test_without_slurm_a_laptop_skips_and_ci_fails(monkeypatch):
    monkeypatch.setattr(real, "PATH", "/nowhere")
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="apt-get install munge slurm-wlm"):
        require_slurm()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install munge slurm-wlm"):
        require_slurm()
