import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from harness.jobs import processes
from harness.run import program
from harness.run.flags import parser, study_of
from tests.support.paths import ROOT

SCRIPT = """
import os, signal, sys, time
from multiprocessing import forkserver
from pathlib import Path
from harness.jobs import processes

processes.IMPORTED = ("slow",)
if "unblocked" in sys.argv:
    signal.pthread_sigmask = lambda *_: None
processes.prepare()
while not Path("begun").exists():
    time.sleep(0.01)
os.kill(forkserver._forkserver._forkserver_pid, signal.SIGINT)
if "unblocked" not in sys.argv:
    processes.prepared()
    print("it serves; torch is", "there" if "torch" in sys.modules else "not there")
"""
SLOW = "import time; from pathlib import Path; Path('begun').touch(); time.sleep(0.5)"


@pytest.mark.parametrize("mutant", [(), ("unblocked",)])
def test_ctrl_c_while_the_server_imports_is_no_traceback_of_its_own(tmp_path, mutant):
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", *mutant], cwd=tmp_path, env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if mutant:
        assert "KeyboardInterrupt" in done.stderr
    else:
        assert (done.stdout, done.stderr) == ("it serves; torch is not there\n", "")


@pytest.mark.parametrize(
    ("flags", "several"),
    [
        ([], True),
        (["--variants", "sp_sa", "--seeds", "0"], True),  # the baseline is the second
        (["--variants", "sa", "--seeds", "0"], False),
        (["--jobs", "1"], False),
        (["--jobs", "2"], True),
        (["--threads", "4"], False),
        (["--device", "cuda"], False),
        (["--dry-run"], False),
        (["--status"], False),
        (["--slurm", "cpu"], False),
        (["--measure", "cost,speed"], False),
    ],
)
def test_the_server_begins_before_torch_where_trainings_will_run_at_once(tmp_path, monkeypatch, flags, several):
    monkeypatch.setattr(program.provenance, "cores", lambda: 4)
    monkeypatch.setattr(program.Path, "glob", lambda *_: iter(()))  # no GPU
    args = parser().parse_args(flags)
    assert program.at_once(args, study_of(args), tmp_path) is several


@pytest.mark.parametrize("why", ["torchrun", "a GPU", "one core", "begun"])
def test_the_server_waits_where_they_will_not(tmp_path, monkeypatch, why):
    monkeypatch.setattr(program.provenance, "cores", lambda: 1 if why == "one core" else 4)
    monkeypatch.setattr(program.Path, "glob", lambda *_: iter(["/dev/nvidia0"] if why == "a GPU" else []))
    if why == "torchrun":
        monkeypatch.setenv("WORLD_SIZE", "2")
    if why == "begun":
        (tmp_path / "recipes").mkdir()
    args = parser().parse_args([])
    assert not program.at_once(args, study_of(args), tmp_path)


@pytest.mark.parametrize("mutant", [None, "handler"])
def test_ctrl_c_waits_where_nothing_may_interrupt(monkeypatch, mutant):
    """Whichever thread it is sent to, Python's handler runs once, at the end; without our own it runs in the midst."""
    if mutant:
        monkeypatch.setattr(processes.signal, "signal", lambda *_: None)
    reached, now = [], threading.Event()
    another = threading.Thread(target=lambda: now.wait() and signal.raise_signal(signal.SIGINT))
    another.start()  # before, or it would be blocked there, too

    def work():
        with processes.uninterrupted():
            now.set()
            another.join()
            if not mutant:
                signal.raise_signal(signal.SIGINT)
            reached.extend(range(1000))

    with pytest.raises(KeyboardInterrupt):
        work()
    another.join()
    assert (len(reached) == 1000) is (mutant is None)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_process_that_starts_there_is_not_reached_by_ctrl_c():
    """Who runs before has it unblocked, so that it is not this process that blocks it."""
    show = [sys.executable, "-c", "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"]
    with processes.uninterrupted():
        inside = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    outside = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    assert (inside, outside) == ("True\n", "False\n")


@pytest.mark.parametrize("ignored", [True, False])
def test_who_ignores_ctrl_c_goes_on_ignoring_it(ignored):
    """nohup and a shell's & start us so; a handler of ours would be sent it once more."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        with processes.uninterrupted():
            assert (signal.getsignal(signal.SIGINT) == signal.SIG_IGN) is ignored
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_server_that_nobody_needs_ends_at_once(tmp_path):
    """Its output is that of the program, so who reads it would wait for the imports."""
    (tmp_path / "slow.py").write_text(SLOW.replace("0.5", "60"))
    (tmp_path / "script.py").write_text(
        "import sys, time; from pathlib import Path; from harness.jobs import processes\n"
        "processes.IMPORTED = ('slow',); processes.prepare()\n"
        "while not Path('begun').exists(): time.sleep(0.01)\n"
        "processes.dismiss()\n"
    )
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env={"PYTHONPATH": f"{ROOT}:{tmp_path}"}, capture_output=True,
        check=True, timeout=50,
    )  # fmt: skip
    assert time.monotonic() - start < 30


@pytest.fixture
def said(monkeypatch, tmp_path):
    """What is asked of the server by a program that has not imported torch."""
    words = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "at_once", lambda *_: True)
    monkeypatch.setattr(program, "sys", SimpleNamespace(modules={}, stderr=sys.stderr))
    monkeypatch.setattr(processes, "prepare", lambda: words.append("server"))
    monkeypatch.setattr(processes, "dismiss", lambda: words.append("dismissed"))
    return words


def test_a_program_that_fails_dismisses_it(said):
    assert program.main(["--variants", "nosuch"]) == 2
    assert said == ["server", "dismissed"]


def test_it_is_dismissed_where_one_training_runs_at_a_time(said, monkeypatch):
    monkeypatch.setattr(program, "cells", lambda *_: said.append("planned") or [])
    assert program.main(["--preset", "digits", "--jobs", "1", "--dry-run"]) == 0
    assert said == ["server", "dismissed", "planned"]


def test_where_torch_is_there_already_nothing_is_gained_and_it_does_not_begin(said, monkeypatch):
    program.sys.modules["torch"] = None
    monkeypatch.setattr(program, "plan_run", lambda *_: said.append("plan") or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        program.run(parser().parse_args([]), "")
    assert said == ["plan"]


def test_it_begins_before_the_study_is_planned(said, monkeypatch):
    monkeypatch.setattr(program, "plan_run", lambda *_: said.append("plan") or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        program.run(parser().parse_args([]), "")
    assert said == ["server", "plan", "dismissed"]
