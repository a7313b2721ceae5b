"""One run at a time works in a folder of rows; what a dead one has left is taken over.

The lock is a small file in the folder, `run.lock`: host, process and start of its owner. It is created by name alone,
so it holds over NFS too, where an flock does not; its owner touches it three times a minute. A second run on the same
host sees at once whether the owner still runs, after kill -9 too. Of another host it sees the last touch: an owner
that has been silent for longer than `SILENT` is watched for as long again, then its lock is taken. Rows are written
whole, so two runs can at worst do the same work twice. Ranks of torchrun, workers of --jobs and jobs of Slurm work for
the run that started them and take no lock.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLease, Timeout

NAME = "run.lock"
SILENT = 60.0  # seconds without a touch after which an owner on another host counts as dead


@contextmanager
def taken(folder: Path) -> Iterator[None]:
    """Holds a folder's lock, and makes the folder. Raises ValueError where another run has it, naming its owner."""
    folder.mkdir(parents=True, exist_ok=True)
    lease = SoftFileLease(folder / NAME, lease_duration=SILENT, thread_local=False)
    before = lease.owner
    try:
        lease.acquire(timeout=0, poll_interval=0.1)
    except Timeout:
        _watch(lease, folder)
    try:
        if before is not None:
            print(f"{folder}: the lock of process {before.pid} on {before.hostname}, which is gone, is taken over",
                  file=sys.stderr)  # fmt: skip
        yield
    finally:
        lease.release()


def _watch(lease: SoftFileLease, folder: Path) -> None:
    """Takes the lock of a silent owner on another host. Raises ValueError where the owner lives."""
    owner = lease.owner
    words = f"process {owner.pid} on {owner.hostname}" if owner is not None else "another run"
    taken_by = (f"{words} is working in {folder} (its lock is {folder / NAME}); wait for it, end it, or choose another "
                f"--output")  # fmt: skip
    if _silent(folder) < SILENT:
        raise ValueError(taken_by)
    if owner is None:  # it names nobody: whoever made it died before it was written
        (folder / NAME).unlink(missing_ok=True)
    else:
        print(f"{folder}: {words} has its lock and has been silent; waiting {SILENT:.0f} s for a sign of life",
              file=sys.stderr, flush=True)  # fmt: skip
    try:
        lease.acquire(timeout=SILENT + 5)
    except Timeout:
        raise ValueError(taken_by) from None


def _silent(folder: Path) -> float:
    """Seconds since the lock was last touched, by the clock of the disk that holds it: hosts' clocks may differ."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as file:
            return os.stat(file.name).st_mtime - (folder / NAME).stat().st_mtime
    except FileNotFoundError:  # it was given back meanwhile: its owner lived
        return 0.0
