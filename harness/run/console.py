"""What every program that works through cells has in common: its progress bar, its sentences, its exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.results import targets

if TYPE_CHECKING:
    from harness.jobs.cell import Cell
    from harness.report import Report


def in_words(program: str, job: Callable[[], int], resumes: bool = True) -> int:
    """Runs a job and returns its exit code.

    Bad input (2), a full disk or a lost process (1) and Ctrl-C (130) end it with one sentence. resumes: the job records
    cells, so the same command goes on where it ended; else an error of a file is bad input.
    """
    goes_on = "; what was recorded is whole, and the same command goes on" if resumes else ""
    try:
        return job()
    except ValueError as error:
        code, words = 2, str(error)
    except BrokenPipeError:  # the reader of our output has left: `--list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        plain = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        code, words = (1, f"{error}{goes_on}") if resumes else (2, plain)
    except KeyboardInterrupt:
        code, words = 130, f"interrupted{goes_on}"
    except RuntimeError as error:
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            raise
        code, words = 1, f"{str(error).splitlines()[0]}; this process ends, since all end together{goes_on}"
    if code != 2 or spoken():
        print(f"{program}: {words}", file=sys.stderr)
    return code


def spoken() -> bool:
    """Whether this process prints: under torchrun, only rank 0 does."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


def writable(folder: Path) -> None:
    """Raises ValueError where nothing can be written to the folder; leaves nothing behind."""
    try:
        targets.make_in(folder)
    except OSError as error:
        raise ValueError(f"the folder {folder} cannot be written; choose another with --output") from error


def progress(planned: list[Cell], missing: list[Cell], folder: Path) -> str:
    """How much of a plan is recorded: "2 of 8 cells are there, 1 goes on from a checkpoint"."""
    from harness.jobs.local import newest

    begun = sum(bool(newest(cell, folder)) for cell in missing)
    goes_on = f", {begun} {'goes' if begun == 1 else 'go'} on from a checkpoint" if begun else ""
    cells = "cell is" if len(planned) == 1 else "cells are"
    return f"{len(planned) - len(missing)} of {len(planned)} {cells} there{goes_on}"


def work(
    missing: list[Cell],
    folder: Path,
    jobs: int = 1,
    plan: Callable[[int], list[Cell]] = lambda _: [],
    unit: str = "step",
) -> dict[str, str]:
    """Runs the cells under one progress bar; returns the sentence of each that failed.

    A unit of the bar is a step of the cell that it names: an epoch of a training, a round of a timing, a variant that
    is counted. With several jobs the trainings run at once; costs and timings come first, alone on the machine. Under
    torchrun, rank 0 alone runs the cells that are no training.
    """
    from harness.jobs import local, processes
    from harness.run.bar import Bar

    steady = 0.1 if sys.stderr.isatty() else 60.0  # in a log, a line a minute is enough
    shown = bool(missing) and spoken()
    with Bar(missing, unit=unit, mininterval=steady, disable=not shown) as bar:
        first = [cell for cell in missing if cell.seed is None]
        trainings = [cell for cell in missing if cell.seed is not None]
        here = {cell.key for cell in trainings}
        jobs = min(jobs, sum(cell.after is None or cell.after.key not in here for cell in trainings))
        if jobs < 2:
            return local.in_turn([*(first if spoken() else []), *trainings], folder, bar)
        processes.prepare()
        counted = [cell for cell in first if cell.kind != "speed"]
        failures = local.in_turn(counted, folder, bar)
        processes.prepared()
        failures |= local.in_turn([cell for cell in first if cell.kind == "speed"], folder, bar)
        return failures | local.at_once(trainings, folder, bar, jobs, plan)


def rendered(
    folder: Path, page: Path, failures: dict[str, str], draw: Callable[[Path, Path], Report] | None = None
) -> int:
    """Names the cells that failed, renders the rows (with `draw` in place of a study's page); returns the exit code."""
    from harness.report import render

    for name, sentence in failures.items():
        print(f"{name} failed: {sentence}", file=sys.stderr)
    found = (draw or render)(folder, page)
    for damage in found.damaged:
        print(damage, file=sys.stderr)
    print(f"report: {page}")
    return 1 if failures or found.damaged else 0


def clock(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
