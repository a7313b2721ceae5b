"""One run at a time in a folder: the second is told who has it; what a dead one left does not block the next."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.jobs import lock
from harness.jobs.lock import NAME, taken
from harness.run import program

ROOT = Path(__file__).parents[3]
HOLD = "import sys, time; from pathlib import Path; from harness.jobs.lock import taken\n" \
       "with taken(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"  # fmt: skip
TINY = ["--preset", "digits", "--variants", "sp_sa", "--measure", "cost"]


@pytest.fixture
def owner(tmp_path):
    """A process that holds the lock of tmp_path/rows."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "rows")], stdout=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def elsewhere(folder, since):
    """Makes the lock that of another host, last touched `since` seconds ago."""
    file = folder / NAME
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join("host=elsewhere\n" if line.startswith("host=") else line for line in lines))
    os.utime(file, (time.time() - since,) * 2)


def test_the_lock_is_a_small_file_that_names_its_owner_and_goes_with_it(tmp_path):
    with taken(tmp_path / "rows"):
        content = (tmp_path / "rows" / NAME).read_text()
        assert f"pid={os.getpid()}\n" in content
        assert "host=" in content
        assert "start=" in content
    assert list((tmp_path / "rows").iterdir()) == []


def test_the_second_run_says_who_has_the_folder_and_does_no_work(tmp_path, owner, capsys):
    rows = tmp_path / "rows"
    began = time.monotonic()
    assert program.main([*TINY, "--output", str(rows), "--report", str(tmp_path / "page.html")]) == 2
    assert time.monotonic() - began < lock.SILENT  # it waits for nobody
    out, err = capsys.readouterr()
    assert f"process {owner.pid} on " in err
    assert f"is working in {rows} (its lock is {rows / NAME}); wait for it, end it, or choose another --output\n" in err
    assert err.count("\n") == 1
    assert out == ""
    assert [path.name for path in tmp_path.rglob("*")] == ["rows", NAME]


def test_what_writes_no_rows_takes_no_lock(tmp_path, owner, capsys):
    there = ["--output", str(tmp_path / "rows"), "--report", str(tmp_path / "page.html")]
    assert program.main([*TINY, *there, "--status"]) == 0
    assert program.main([*TINY, *there, "--dry-run"]) == 0
    assert "1 of 1 cell to do" in capsys.readouterr().out


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_dead_owner_does_not_block_the_next_start(tmp_path, owner, kill, capsys):
    owner.send_signal(kill)
    owner.wait(timeout=120)
    began = time.monotonic()
    with taken(tmp_path / "rows"):
        assert time.monotonic() - began < lock.SILENT
    err = capsys.readouterr().err
    if kill == signal.SIGINT:  # given back
        assert err == ""
    else:
        assert f"the lock of process {owner.pid} on " in err
        assert "which is gone, is taken over\n" in err
    assert list((tmp_path / "rows").iterdir()) == []


def test_another_hosts_owner_that_was_seen_lately_has_the_folder(tmp_path, owner):
    owner.kill()
    elsewhere(tmp_path / "rows", since=10)
    began = time.monotonic()
    with pytest.raises(ValueError, match=f"process {owner.pid} on elsewhere is working in"), taken(tmp_path / "rows"):
        pass
    assert time.monotonic() - began < lock.SILENT


def test_another_hosts_silent_owner_is_watched_then_its_lock_is_taken_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lock, "SILENT", 1.0)
    code = f"import harness.jobs.lock as lock; lock.SILENT = 1.0\n{HOLD}"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.communicate()
    elsewhere(tmp_path, since=100)
    with taken(tmp_path):
        pass
    err = capsys.readouterr().err
    assert f"process {process.pid} on elsewhere has its lock and has been silent; waiting 1 s for a sign of life" in err
    assert f"the lock of process {process.pid} on elsewhere, which is gone, is taken over" in err


def test_an_owner_gives_signs_of_life_and_keeps_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "SILENT", 0.6)
    with taken(tmp_path):
        first = (tmp_path / NAME).stat().st_mtime_ns
        deadline = time.monotonic() + 120
        while (tmp_path / NAME).stat().st_mtime_ns == first:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_lock_that_a_crash_left_empty_does_not_block(tmp_path):
    (tmp_path / NAME).touch()
    os.utime(tmp_path / NAME, (time.time() - 100,) * 2)
    with taken(tmp_path):
        assert "pid=" in (tmp_path / NAME).read_text()


def test_an_error_inside_gives_the_lock_back(tmp_path):
    with pytest.raises(KeyboardInterrupt), taken(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with taken(tmp_path):
        pass
