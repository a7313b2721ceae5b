"""python -m harness.run --variants sp_sa,psa,rpe: trains, measures, records and renders a comparison.

The baseline always takes part. What is recorded is kept: the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.jobs.plan import RunPlan, cells, plan_run
from harness.jobs.study import Study
from harness.run.flags import parser, study_of

if TYPE_CHECKING:
    import torch

    from harness.jobs.cell import Cell
    from harness.report import Report


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns 0, 1 where a cell failed or a row is damaged, 2 for bad input, 130 for Ctrl-C."""
    args = parser().parse_args(argv)
    command = f"python -m harness.run {shlex.join(sys.argv[1:] if argv is None else argv)}".rstrip()
    return in_words("harness.run", lambda: listed(args.variant_file) if args.list else run(args, command))


def in_words(program: str, job: Callable[[], int]) -> int:
    """What a job that records cells returns; a sentence and a code where input, disk, Ctrl-C or a dead rank end it."""
    goes_on = "what was recorded is whole, and the same command goes on"
    try:
        return job()
    except ValueError as error:
        code, words = 2, str(error)
    except BrokenPipeError:  # who read our lines has seen enough: `--list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        code, words = 1, f"{error}; {goes_on}"
    except KeyboardInterrupt:
        code, words = 130, f"interrupted; {goes_on}"
    except RuntimeError as error:
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            raise
        code, words = 1, f"{str(error).splitlines()[0]}; this process ends, since all go together; {goes_on}"
    if code != 2 or spoken():
        print(f"{program}: {words}", file=sys.stderr)
    return code


def spoken() -> bool:
    """Whether this process is the one that speaks: the first of those that torchrun started."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


def listed(files: Sequence[Path]) -> int:
    """Prints the variants, those of the files among them."""
    from harness.jobs.variant_file import load
    from harness.run.catalogue import listing

    for path in files:
        load(path)
    print(*listing(), sep="\n")
    return 0


def run(args: argparse.Namespace, command: str) -> int:
    """Plans, checks, works through the cells that are missing, renders."""
    study = study_of(args)
    folder = args.output or Path("results") / study.name
    page = args.report or Path("reports") / f"{study.name}.html"
    device = args.device
    if args.slurm and device == "auto":
        device = "cuda" if args.slurm_gpus else "cpu"
    todo = plan_run(study, tuple(args.variant_file), device, args.variants, args.slurm or "")
    writable(folder)
    writable(page.parent)
    if page.is_dir():
        raise ValueError(f"--report {page} is a folder; name the HTML file")
    from harness import distributed

    here = not args.slurm
    planned = cells(todo, distributed.slot(), here)
    missing = [cell for cell in planned if cell.missing(folder, planned)]
    where = (args.slurm and f"Slurm's {args.slurm}") or device_name(
        todo.experiment(todo.arms[0], distributed.slot()).device
    )
    if args.status:
        from harness.jobs.slurm import status

        print(status(planned, folder))
        return 0
    if args.dry_run:
        if spoken():
            dry_run(todo, planned, missing, where)
        return 0
    if distributed.asked() > 1 and (study.jobs > 1 or args.slurm):
        raise ValueError("torchrun trains one cell on all its processes; leave out --jobs and --slurm")
    variants = {variant for arm in todo.arms for variant in arm.variants}
    if spoken():
        print(f"{study.name}: {len(variants)} variants, {len(study.seeds)} seeds on {where}; "
              f"{len(planned) - len(missing)} of {len(planned)} cells are there", flush=True)  # fmt: skip
        record(todo, folder, command)
    if args.slurm:
        from harness.jobs.slurm import Partition, submit

        partition = Partition(args.slurm, args.slurm_gpus, args.slurm_cpus, args.slurm_mem, args.slurm_time,
                              args.slurm_max_parallel)  # fmt: skip
        failures = submit(todo, planned, folder, partition)
    else:
        with distributed.together(todo.experiment(todo.arms[0], distributed.slot()).device):
            keys = distributed.agreed({cell.key for cell in missing})
            missing = [cell for cell in planned if cell.key in keys]
            failures = work(missing, folder, study.jobs, partial(cells, todo))
    return rendered(folder, page, failures) if spoken() else int(bool(failures))


def dry_run(todo: RunPlan, planned: list[Cell], missing: list[Cell], where: str) -> None:
    """Prints the cells and how long they will take."""
    from harness.jobs.estimate import estimate

    for cell in planned:
        print(f"{cell.key}  {'to do' if cell in missing else 'done '}  {cell.name}")
    for arm in todo.arms:
        for variant, sentence in arm.refused.items():
            print(f"{'':10}  refused  {variant}: {sentence}")
    print(f"{len(missing)} of {len(planned)} cells to do, about {clock(estimate(todo, missing))} on {where}; "
          f"nothing was written")  # fmt: skip


def rendered(
    folder: Path, page: Path, failures: dict[str, str], draw: Callable[[Path, Path], Report] | None = None
) -> int:
    """Renders what there is (`draw`: as another page than a study's), says what failed; the exit code."""
    from harness.report import render

    for name, sentence in failures.items():
        print(f"{name} failed: {sentence}", file=sys.stderr)
    found = (draw or render)(folder, page)
    for damage in found.damaged:
        print(damage, file=sys.stderr)
    print(f"report: {page}")
    return 1 if failures or found.damaged else 0


def writable(folder: Path) -> None:
    """Raises ValueError where rows could not be written; leaves nothing behind."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"the folder {folder} cannot be written; choose another with --output or --report")


def record(todo: RunPlan, folder: Path, command: str) -> None:
    """Writes what each arm holds fixed, and the refusals."""
    from harness.jobs.plan import refusals
    from harness.results import store

    known = store.recipes(folder) if len(todo.arms) > 1 else {}
    for arm in todo.arms:
        if arm.study.recipe_hash not in known:  # an ablation's arm may be a study that has described itself
            store.write_recipe(folder, arm.study.recipe_hash, described(arm.study, command))
        if arm.refused:
            experiment = todo.experiment(arm, here=not todo.place)
            store.write(folder / f"refused-{arm.study.recipe_hash}.jsonl", refusals(experiment, arm.refused))


def work(
    missing: list[Cell],
    folder: Path,
    jobs: int = 1,
    plan: Callable[[int], list[Cell]] = lambda _: [],
    unit: str = "epoch",
) -> dict[str, str]:
    """Runs the cells under one progress bar; returns the sentence of each that failed.

    With several jobs the trainings run at once; costs and timings come first, alone on the machine. Of the processes
    that torchrun started the first one does what is no training.
    """
    from tqdm import tqdm

    from harness.jobs import local

    steady = 0.1 if sys.stderr.isatty() else 10.0  # a log wants a line now and then
    total = sum(cell.work for cell in missing)
    with tqdm(total=total, unit=unit, mininterval=steady, smoothing=0.1, disable=not spoken()) as bar:
        if jobs == 1:
            return local.in_turn([c for c in missing if spoken() or c.seed is not None], folder, bar)
        failures = local.in_turn([cell for cell in missing if cell.seed is None], folder, bar)
        trainings = [cell for cell in missing if cell.seed is not None]
        return failures | local.at_once(trainings, folder, bar, jobs, plan)


def described(study: Study, command: str) -> dict[str, Any]:
    """The recipe as it is kept beside the rows."""
    flat = asdict(study)
    return {"command": command} | flat.pop("recipe") | {k: v for k, v in flat.items() if v is not None}


def device_name(device: torch.device) -> str:
    """The processor or the GPU in words."""
    from harness.results import provenance

    found = provenance.machine()
    return str(found["gpu"] if device.type == "cuda" else f"{found['cpu']}, {found['threads']} thread(s)")


def clock(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
