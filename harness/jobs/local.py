"""Where cells run: one after another in this process, or several at a time in processes of their own.

Each process plans the study anew and is told which cell to run, so nothing but a key and the progress passes between
them. It runs one cell after another, so torch is imported and the images are read once. One that dies costs its cell a
start from its checkpoint; after three deaths without progress it is given up. A cell computes on as many cores here as
there, so its figures are the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness.jobs import processes
from harness.jobs.cell import Cell, execute, give_up
from harness.results import source
from harness.training.checkpoint import Checkpoints

MOST_DEATHS = 3  # of a cell without progress
LEAVING = 10.0  # seconds for a process to end by itself
MOST_STARTS = 20  # of processes in a row that died before they had a cell in hand: not the cell's fault, but no use


def in_turn(cells: list[Cell], folder: Path, bar: Any) -> dict[str, str]:
    """Runs the cells here; returns the sentence of each that failed.

    bar: a harness.run.bar.Bar.
    """
    failures = {}
    for cell in cells:
        before = bar.n
        bar.set_description(cell.name)
        with on_cores(cell.cores):
            failure = execute(cell, folder, partial(bar.step, cell))
        if rest := cell.work - (bar.n - before):
            bar.step(cell, rest)
        if failure is not None:
            failures[cell.name] = failure
    return failures


@contextlib.contextmanager
def on_cores(number: int | None) -> Iterator[None]:
    """Inside, torch computes on so many cores; None changes nothing."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def without_denormals() -> None:
    """From here on the CPU takes numbers below 1.2e-38 for 0, on which one of Intel's spends a hundred times as long.

    A steep bias, as psa's at its start, makes weights of that size: a training step of DeiT-Ti took six times as long.
    Torch sets it for this thread and those that it starts, so this comes before anything that several threads share.
    """
    import torch

    torch.set_flush_denormal(True)


def at_once(cells: list[Cell], folder: Path, bar: Any, jobs: int, plan: Callable[[int], list[Cell]]) -> dict[str, str]:
    """Runs the cells in `jobs` processes, each with its share of the cores; returns the sentence of each that failed.

    plan(slot) is called in each process, slot 0 to jobs-1, and gives the same cells again; it can be pickled.
    Raises OSError where rows cannot be written.
    """
    queue, failures, spent = list(cells), {}, dict.fromkeys([cell.key for cell in cells], 0)
    deaths: dict[str, tuple[int, str]] = {}  # how often, and the checkpoint it had got to
    starts = 0
    workers: dict[int, Worker] = {}

    def next_cell() -> Cell | None:
        unfinished = {cell.key for cell in queue} | {w.cell.key for w in workers.values() if w.cell}
        return next((cell for cell in queue if cell.after is None or cell.after.key not in unfinished), None)

    with contextlib.ExitStack() as stack:
        stack.callback(end, workers)
        before = signal.signal(
            signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
        )  # as scancel and systemd end us
        stack.callback(signal.signal, signal.SIGTERM, before)
        while queue or any(worker.cell for worker in workers.values()):
            for slot in range(jobs):
                idle = slot not in workers or workers[slot].cell is None
                if idle and (cell := next_cell()) is not None:
                    queue.remove(cell)
                    if slot not in workers:
                        workers[slot] = Worker.start(slot, jobs, folder, plan)
                    workers[slot].take(cell)
                    bar.set_description(", ".join(w.cell.name for w in workers.values() if w.cell))
            for slot, message in heard(workers):
                worker = workers[slot]
                cell = worker.cell
                assert cell is not None
                match message:
                    case ("began",):
                        worker.began, starts = True, 0
                    case ("tick", count):
                        spent[cell.key] += count
                        bar.step(cell, count)
                    case ("done", failure):
                        if rest := cell.work - spent[cell.key]:
                            bar.step(cell, rest)
                        worker.cell = None
                        if failure is not None:
                            failures[cell.name] = failure
                    case ("disk", words):
                        raise OSError(words)
                    case ("died", how):
                        del workers[slot]
                        bar.step(cell, -spent[cell.key])
                        spent[cell.key] = 0
                        number, reached = deaths.get(cell.key, (0, ""))
                        now = newest(cell, folder)
                        starts += not worker.began
                        if worker.began:
                            number = 1 if now != reached else number + 1
                            deaths[cell.key] = (number, now)
                        bar.write(f"{cell.name}: its process {how}; it starts again", file=sys.stderr)
                        if number < MOST_DEATHS and starts < MOST_STARTS:
                            queue.insert(0, cell)
                            continue
                        failures[cell.name] = f"its process {how}, {max(number, starts)} times without progress"
                        give_up(cell, folder, failures[cell.name])
                        bar.step(cell, cell.work)
    return failures


@dataclass
class Worker:
    """A process and the cell that it runs."""

    process: Any
    pipe: Connection
    cell: Cell | None = field(default=None)
    began: bool = False

    @staticmethod
    def start(slot: int, jobs: int, folder: Path, plan: Callable[[int], list[Cell]]) -> Worker:
        context = processes.context()
        ours, theirs = context.Pipe()
        # no daemon, which could not have processes that read pictures; it ends when its pipe does
        process = context.Process(target=serve, args=(slot, jobs, folder, plan, theirs, source.known()))
        with processes.without_main():
            process.start()
        theirs.close()
        return Worker(process, ours)

    def take(self, cell: Cell) -> None:
        self.cell, self.began = cell, False
        with contextlib.suppress(OSError):  # it has died already: its sentinel tells
            self.pipe.send(cell.key)

    def end(self) -> None:
        """Waits for one that has nothing to do, so that it puts away what it shares with processes of its own."""
        if self.cell is None:
            self.process.join(LEAVING)
        self.process.terminate()
        self.process.join()


def end(workers: dict[int, Worker]) -> None:
    for worker in workers.values():
        worker.pipe.close()  # that ends it, where it waits for a cell
    for worker in workers.values():
        worker.end()


def heard(workers: dict[int, Worker]) -> Iterator[tuple[int, Any]]:
    """What the processes have to say, at least one word: ("died", how) where one is no more."""
    busy = {slot: worker for slot, worker in workers.items() if worker.cell is not None}
    connection.wait([thing for w in busy.values() for thing in (w.pipe, w.process.sentinel)])
    for slot, worker in busy.items():
        gone = not worker.process.is_alive()  # asked first: what it said last is still in the pipe
        said = []
        with contextlib.suppress(EOFError, OSError):
            while worker.pipe.poll():
                said.append(worker.pipe.recv())
        yield from ((slot, message) for message in said)
        if gone and not any(message[0] == "done" for message in said):
            worker.process.join()
            code = worker.process.exitcode
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            yield slot, ("died", f"{how} (out of memory?)" if code == -signal.SIGKILL else how)


def serve(
    slot: int, jobs: int, folder: Path, plan: Callable[[int], list[Cell]], pipe: Connection, read: dict[Path, Any]
) -> None:
    """A process: runs the cells whose keys it is told; `read` is what the first one knows of the source."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the first one ends the others
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # which the server was started with
    threading.Thread(target=orphaned, daemon=True).start()
    without_denormals()
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    source.know(read)
    cells = {cell.key: cell for cell in plan(slot)}

    def say(*message: object) -> None:
        try:
            pipe.send(message)
        except OSError:
            os._exit(1)  # the first process is no more, and nobody waits for this cell

    while True:
        try:
            key = pipe.recv()
        except (EOFError, OSError):
            return
        say("began")
        try:
            with on_cores(cells[key].cores):
                say("done", execute(cells[key], folder, lambda count=1: say("tick", count)))
        except OSError as error:
            say("disk", str(error))


def orphaned() -> None:
    """Ends this process with the one that started it, which may have been killed: nobody waits for the cell."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def newest(cell: Cell, folder: Path) -> str:
    """The name of a cell's newest checkpoint."""
    found = Checkpoints(cell.checkpoints(folder), 0).found()
    return found[0].name if found else ""
