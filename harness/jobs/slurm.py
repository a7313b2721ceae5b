"""The missing cells as an array of Slurm jobs, by submitit; and who is where.

A job runs one training and its fine-tunings, or one cell of costs or timings (alone on its node). On a time limit or a
preemption submitit queues it anew, and it goes on from its checkpoint on the shared folder; so it does where somebody
requeues it. Rows are written as everywhere, whole or not at all, and jobs take no lock; which job has which cells is
one small file a submission. The order of truth: a cell's rows, then squeue, then that nobody has it; no accounting.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from harness.jobs.cell import Cell, execute
from harness.jobs.lock import taken
from harness.jobs.plan import RunPlan, cells
from harness.results import provenance
from harness.results.store import write_bytes

ALIVE = {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED",
         "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED"}  # fmt: skip
POLL_S = 2.0
GRACE = 5  # polls that a finished job's rows may take to arrive over NFS
MOST_TIMEOUTS = 1000  # a long training may meet its time limit often
WARNING_S = 90  # before the limit


@dataclass(frozen=True)
class Partition:
    """What a job asks for; time in minutes."""

    name: str
    gpus: int
    cpus: int
    mem: str
    time: int
    max_parallel: int

    def __post_init__(self) -> None:
        for flag, least in (("gpus", 0), ("cpus", 1), ("time", 1), ("max_parallel", 1)):
            if getattr(self, flag) < least:
                word = flag.replace("_", "-")
                raise ValueError(f"--slurm-{word} {getattr(self, flag)} must be at least {least}")


@dataclass(frozen=True)
class Task:
    """What a job does: some cells of an order, in their turn."""

    todo: RunPlan
    keys: tuple[str, ...]
    folder: Path
    threads: int

    def __call__(self) -> dict[str, str]:
        """Runs the cells that are not done; the sentences of those that failed."""
        import torch

        torch.set_num_threads(self.threads)
        planned = {cell.key: cell for cell in cells(self.todo)}
        own = [planned[key] for key in self.keys]
        mine = [cell for cell in own if cell.missing(self.folder, own)]
        found = {cell.name: execute(cell, self.folder, lambda *_: None) for cell in mine}
        return {name: sentence for name, sentence in found.items() if sentence is not None}

    def checkpoint(self) -> Any:
        """What submitit queues anew: the same, since a training's own checkpoint knows how far it was."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(todo: RunPlan, planned: list[Cell], folder: Path, where: Partition) -> dict[str, str]:
    """Submits what is missing and nobody has yet, and waits for all; the sentence of each cell that failed.

    Ctrl-C leaves the jobs alone: the same command waits for them again. Raises ValueError where there is no submitit or
    no Slurm, or where Slurm refuses.
    """
    folder = folder.absolute()
    with taken(folder):  # two that submit at once would not see each other's jobs
        submitted, states = jobs(folder), squeue(folder)
        if states is None:
            raise ValueError("Slurm does not answer, so it is not known who has which cell; try again")
        held = {key for job, keys in submitted.items() if states.get(job, "") in ALIVE for key in keys}
        missing = [cell for cell in planned if cell.missing(folder, planned) and cell.key not in held]
        later = {cell.key for cell in missing if cell.after is not None and cell.after.key in held}
        if later:
            who = "1 cell reads" if len(later) == 1 else f"{len(later)} cells read"
            print(f"{who} weights that jobs of an earlier command still train; give this command again when these are "
                  f"done", file=sys.stderr)  # fmt: skip
        chains = chained([cell for cell in missing if cell.key not in later])
        for alone in (False, True):
            mine = [chain for chain in chains if (chain[0].kind == "speed") == alone]
            if mine:
                tasks = [Task(todo, tuple(cell.key for cell in chain), folder, where.cpus) for chain in mine]
                write_jobs(folder, array(tasks, folder, where, alone))
    return wait([cell for cell in planned if not cell.done(folder) and cell.key not in later], folder)


def chained(missing: list[Cell]) -> list[list[Cell]]:
    """Each cell with those that start from what it leaves, and those that start from these."""
    chains: dict[str, list[Cell]] = {}
    for cell in missing:
        before = cell.after.key if cell.after is not None else ""
        chains[cell.key] = chains.get(before, [])
        chains[cell.key].append(cell)
    return list({id(chain): chain for chain in chains.values()}.values())


def array(tasks: list[Task], folder: Path, where: Partition, alone: bool) -> dict[str, tuple[str, ...]]:
    """Submits tasks as one array; job id -> the keys of its cells."""
    try:
        import submitit
    except ImportError as error:
        raise ValueError("--slurm needs submitit; pip install 'spatial-bias-experiment[slurm]'") from error
    try:
        executor = submitit.AutoExecutor(
            folder / "slurm" / "logs", cluster="slurm", slurm_max_num_timeout=MOST_TIMEOUTS
        )
        gpus = {"gpus_per_node": where.gpus} if where.gpus else {}
        executor.update_parameters(
            name="cells", slurm_partition=where.name, timeout_min=where.time, cpus_per_task=where.cpus,
            slurm_mem=where.mem, slurm_array_parallelism=where.max_parallel,
            slurm_signal_delay_s=min(WARNING_S, 60 * where.time // 4),
            slurm_setup=[f"export PYTHONPATH={shlex.quote(str(provenance.ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}"],
            slurm_additional_parameters={"requeue": True} | ({"exclusive": True} if alone else {}), **gpus,
        )  # fmt: skip
        found = executor.submit_array(tasks)
    except (RuntimeError, submitit.core.utils.FailedJobError) as error:
        raise ValueError(f"Slurm does not take the jobs: {' '.join(str(error).split())[-300:]}") from error
    return {job.job_id: task.keys for job, task in zip(found, tasks, strict=True)}


def write_jobs(folder: Path, submitted: dict[str, tuple[str, ...]]) -> None:
    first = next(iter(submitted))
    write_bytes(folder / "slurm" / f"{first}.json", (json.dumps(submitted, indent=1) + "\n").encode())


def jobs(folder: Path) -> dict[str, list[str]]:
    """Job id -> the keys of its cells, of all submissions, the newest last."""
    files = sorted((folder / "slurm").glob("*.json"), key=lambda file: file.stat().st_mtime)
    return {job: keys for file in files for job, keys in json.loads(file.read_text()).items()}


def squeue(folder: Path) -> dict[str, str] | None:
    """Job id -> state, of the jobs submitted for this folder that Slurm remembers; None where it does not answer."""
    ids = sorted({job.partition("_")[0] for job in jobs(folder)})
    if not ids:
        return {}
    command = ["squeue", "--array", "--states=all", "--noheader", "--format=%i|%T", f"--jobs={','.join(ids)}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ValueError("there is no Slurm here: squeue is not found; run this where you submit jobs") from error
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return dict(line.split("|") for line in done.stdout.split())


def wait(missing: list[Cell], folder: Path) -> dict[str, str]:
    """Until each cell is done, has failed, or has no job any more."""
    failures: dict[str, str] = {}
    absent: dict[str, int] = {}
    owner = {key: job for job, keys in jobs(folder).items() for key in keys}
    with tqdm(total=len(missing), unit="cell") as bar:
        open_ = list(missing)
        while open_:
            states = squeue(folder)
            for cell in list(open_):
                job = owner.get(cell.key, "")
                if not cell.done(folder):
                    if states is None or states.get(job, "") in ALIVE:
                        absent.pop(cell.key, None)
                        continue
                    absent[cell.key] = absent.get(cell.key, 0) + 1
                    if absent[cell.key] < GRACE:
                        continue
                    failures[cell.name] = gone(cell, folder, job, states.get(job, "unknown to Slurm"))
                open_.remove(cell)
                bar.update()
            if states is not None:
                counts = [list(states.values()).count(state) for state in ("RUNNING", "PENDING")]
                bar.set_description(f"{counts[0]} running, {counts[1]} pending")
            if open_:
                time.sleep(POLL_S)
    return failures


def gone(cell: Cell, folder: Path, job: str, state: str) -> str:
    """Why a cell has no rows."""
    failed = cell.path(folder).with_suffix(".failed.jsonl")
    if failed.exists():
        return str(json.loads(failed.read_text().splitlines()[0])["note"]).splitlines()[0]
    log = folder / "slurm" / "logs" / f"{job}_0_log.err"
    return f"its job {job} is {state} and left no rows; see {log}; the same command submits it again"


def status(planned: list[Cell], folder: Path) -> str:
    """A table of the cells: done, running, pending, failed or missing."""
    folder = folder.absolute()
    states = squeue(folder) or {}
    owner = {key: job for job, keys in jobs(folder).items() for key in keys}
    lines, counts = [], dict.fromkeys(("done", "running", "pending", "failed", "missing"), 0)
    for cell in planned:
        job = owner.get(cell.key, "")
        state = states.get(job, "")
        if cell.done(folder):
            word = "done"
        elif state in ALIVE:
            word = "pending" if state == "PENDING" else "running"
        else:
            word = "failed" if cell.path(folder).with_suffix(".failed.jsonl").exists() else "missing"
        counts[word] += 1
        held = f"  (job {job})" if word in ("running", "pending") else ""
        lines.append(f"{cell.key}  {word:8}  {cell.name}{held}")
    summary = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
    return "\n".join([*lines, f"{summary} of {len(planned)} cell{'' if len(planned) == 1 else 's'}"])
