"""Programs of the server are what `python -m` starts: folder, environment, exit code, signals; nothing is left over."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import programs

TOLD = """
import os, sys, threading
import torch
assert not {name.partition(".")[0] for name in sys.modules} & {"harness", "variants", "tests"}
print(__name__, sys.argv[1:], os.getcwd(), os.environ.get("TOLD"), sys.path[0], torch.get_num_threads())
print(os.getppid() != int(sys.argv[1]), file=sys.stderr)
if len(sys.argv) > 2:
    print("sleeps", flush=True)
    threading.Event().wait(60)
raise SystemExit(3)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "told.py").write_text(TOLD)
    return tmp_path


def test_a_program_has_its_words_folder_environment_and_exit_code(folder):
    done = programs.run("told", os.getpid(), cwd=folder, env={"TOLD": "yes"})
    assert done.returncode == 3
    assert done.stdout == f"__main__ ['{os.getpid()}'] {folder} yes {folder} 1\n"
    assert done.stderr == "True\n"
    assert "TOLD" not in os.environ


def test_one_that_raises_says_so_as_python_does(folder):
    (folder / "raises.py").write_text("raise ValueError('out of luck')\n")
    done = programs.run("raises", cwd=folder)
    plain = subprocess.run([sys.executable, "-m", "raises"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == plain.returncode == 1
    assert done.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1] == "ValueError: out of luck"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_one_that_is_killed_ends_by_that_signal(folder, number):
    program = programs.start("told", os.getpid(), "sleeps", cwd=folder)
    while program.stdout.readline() != "sleeps\n":
        assert program.poll() is None
    assert program.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.1)
    program.send_signal(number)
    assert program.wait(30) == -number
    assert program.cpu_s > 0
    assert not Path(f"/proc/{program.pid}").exists()


def test_a_command_that_fails_is_not_timed():
    said, cpu_s = programs.spent([sys.executable, "-c", "print('said')"])
    assert said == "said\n"
    assert 0 < cpu_s < 5
    with pytest.raises(AssertionError):
        programs.spent([sys.executable, "-c", "raise SystemExit(2)"])


def test_the_server_of_programs_does_not_end_with_a_cluster(monkeypatch):
    """Where a test of Slurm is the first to start a program: jobs/slurm/cluster.py ends what has its settings."""
    monkeypatch.setenv("SLURM_CONF", "/somewhere/slurm.conf")
    assert "SLURM_CONF" not in programs.environment()
    assert programs.environment().keys() >= os.environ.keys() - {"SLURM_CONF"}
