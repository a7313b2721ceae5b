"""python -m harness.run --variants sp_sa,psa,rpe: trains, measures, records and renders a comparison.

The baseline always takes part. What is recorded is kept: the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.jobs import lesson, processes
from harness.jobs.lock import taken
from harness.jobs.plan import RunPlan, cells, plan_run, quiet
from harness.jobs.study import VARIANTS
from harness.results import provenance, targets
from harness.run.console import clock, in_words, progress, rendered, spoken, work, writable
from harness.run.flags import parser, study_of
from harness.run.planned import plan_of

if TYPE_CHECKING:
    import torch

    from harness.jobs.cell import Cell
    from harness.jobs.experiment import Experiment
    from harness.jobs.study import Study


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns 0, 1 where a cell failed or a row is damaged, 2 for bad input, 130 for Ctrl-C."""
    args = parser().parse_args(argv)
    command = f"python -m harness.run {shlex.join(sys.argv[1:] if argv is None else argv)}".rstrip()
    return in_words("harness.run", lambda: listed(args.variant_file) if args.list else run(args, command))


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
    folder, page = places(args, study)
    writable(folder)
    targets.check({"report": page}, folder, args.force)
    if "torch" in sys.modules or not at_once(args, study, folder):
        return planned_run(args, study, folder, page, command)
    quiet()
    with processes.early():  # so that this process and the server import torch at the same time
        return planned_run(args, study, folder, page, command, early=True)


def planned_run(
    args: argparse.Namespace, study: Study, folder: Path, page: Path, command: str, early: bool = False
) -> int:
    """What `run` does once its target is known; early: the server of processes was started."""
    device = args.device
    if args.slurm and device == "auto":
        device = "cuda" if args.slurm_gpus else "cpu"
    todo = plan_run(study, tuple(args.variant_file), device, args.variants, args.slurm or "")
    if early and todo.arms[0].study.at_a_time == 1:
        processes.dismiss()
    from harness import distributed

    here = not args.slurm
    slot = distributed.slot()
    todo = todo.teach(slot, make=False)
    planned = cells(todo, slot, here)
    first = todo.experiment(todo.arms[0], slot, here)
    where = (args.slurm and f"Slurm's {args.slurm}") or device_name(first.device)
    if args.status:
        from harness.jobs.slurm import status

        print(status(planned, folder))
        return 0
    if args.dry_run:
        if spoken():
            dry_run(todo, planned, [cell for cell in planned if cell.missing(folder, planned)], where)
        return 0
    if first.words is not None and (args.teach or any(cell.missing(folder, planned) for cell in planned)):
        if args.slurm_gpus and not first.study.taught:
            raise ValueError(f"{first.words} makes what the study learns from, and that is not done yet; run the same "
                             f"command with --teach and without --slurm on a machine with a GPU first")  # fmt: skip
        todo = todo.teach(slot, make=True)
        planned = cells(todo, slot, here)
        first = todo.experiment(todo.arms[0], slot, here)
    if args.teach:
        if first.words is None:
            raise ValueError("--teach makes label maps or a teacher, and the study has none; add --token-labels or "
                             "--teacher")  # fmt: skip
        if spoken():
            print("; ".join(lesson.described(first).values()))
        return 0
    if distributed.asked() > 1 and (study.at_a_time > 1 or args.slurm):
        raise ValueError("torchrun trains one cell on all its processes; leave out --jobs and --slurm")
    with taken(folder) if here and spoken() else nullcontext():  # with Slurm, while it submits
        failures = carry_out(args, todo, first, planned, folder, where, command)
    return rendered(folder, page, failures) if spoken() else int(bool(failures))


def places(args: argparse.Namespace, study: Study) -> tuple[Path, Path]:
    """The folder of the rows, and the page."""
    return args.output or Path("results") / study.name, args.report or Path("reports") / f"{study.name}.html"


def at_once(args: argparse.Namespace, study: Study, folder: Path) -> bool:
    """Whether several trainings will run at a time, as far as it is known before torch is there.

    A wrong answer does no harm: the server starts later, or is ended where nobody needs it.
    """
    if args.slurm or args.status or args.dry_run or args.teach or "accuracy" not in study.measure:
        return False
    if args.device not in ("auto", "cpu") or (args.device == "auto" and any(Path("/dev").glob("nvidia[0-9]*"))):
        return False
    trainings = len(study.seeds) * len({study.baseline, *(args.variants or study.variants or VARIANTS).split(",")})
    several = study.jobs != 1 and provenance.cores() > study.threads and trainings > 1
    return several and "WORLD_SIZE" not in os.environ and not (folder / "recipes").exists()


def carry_out(
    args: argparse.Namespace,
    todo: RunPlan,
    first: Experiment,
    planned: list[Cell],
    folder: Path,
    where: str,
    command: str,
) -> dict[str, str]:
    """Works through the cells that are missing, here or on Slurm's nodes; the sentence of each that failed."""
    from harness import distributed
    from harness.report.text.formatting import plural

    missing = [cell for cell in planned if cell.missing(folder, planned)]
    variants = {variant for arm in todo.arms for variant in arm.variants}
    study = todo.arms[0].study
    if spoken():
        print(f"{study.name}: {plural(len(variants), 'variant')}, {plural(len(study.seeds), 'seed')} on {where}; "
              f"{progress(planned, missing, folder)}; {first.data.facts}", flush=True)  # fmt: skip
        record(todo, folder, command)
    if args.slurm:
        from harness.jobs.slurm import Partition, submit

        partition = Partition(args.slurm, args.slurm_gpus, args.slurm_cpus, args.slurm_mem, args.slurm_time,
                              args.slurm_max_parallel)  # fmt: skip
        return submit(todo, planned, folder, partition)
    with distributed.together(first.device):
        if distributed.agreed(study.taught) != study.taught:
            raise ValueError(f"{first.words} is another one on each machine; let all share one cache (XDG_CACHE_HOME)")
        keys = distributed.agreed({cell.key for cell in missing})
        missing = [cell for cell in planned if cell.key in keys]
        return work(missing, folder, study.at_a_time, partial(cells, todo))


def dry_run(todo: RunPlan, planned: list[Cell], missing: list[Cell], where: str) -> None:
    """Prints the cells and how long they will take."""
    from harness.jobs.estimate import estimate
    from harness.report.text.formatting import plural

    for cell in planned:
        print(f"{cell.key}  {'to do' if cell in missing else 'done '}  {cell.name}")
    for arm in todo.arms:
        for variant, sentence in arm.refused.items():
            print(f"{'':10}  refused  {variant}: {sentence}")
    print(f"{len(missing)} of {plural(len(planned), 'cell')} to do, about {clock(estimate(todo, missing))} on {where}; "
          f"nothing was written")  # fmt: skip
    if todo.arms[0].study.taught == "" and (todo.arms[0].study.token_labels or todo.arms[0].study.teacher):
        print("what the study learns from is not made yet: the time for that is not in it, and keys will be others")


def record(todo: RunPlan, folder: Path, command: str) -> None:
    """Writes what each arm holds fixed, and the refusals."""
    from harness.jobs.plan import refusals
    from harness.results import store

    known = store.recipes(folder)
    for arm in todo.arms:
        experiment = todo.experiment(arm, here=not todo.place)
        before = known.get(arm.study.recipe_hash)
        if before is None or len(todo.arms) == 1:  # an ablation's arm may be a study that has described itself
            described = arm.study.described(command) | {"images": str(experiment.data.facts)}
            said: dict[str, Any] = {
                name: before[name] for name in ("lessons", "lessons_made") if before and name in before
            }
            described |= said or lesson.described(experiment)
            own = [variant for variant in arm.variants if variant not in arm.widened]
            described |= plan_of(arm.study, own, before)
            store.write_recipe(folder, arm.study.recipe_hash, described)
        if arm.refused:
            store.write(folder / f"refused-{arm.study.recipe_hash}.jsonl", refusals(experiment, arm.refused))


def device_name(device: torch.device) -> str:
    """The processor or the GPU in words."""
    from harness.report.text.formatting import plural
    from harness.results import provenance

    found = provenance.machine()
    return str(found["gpu"] if device.type == "cuda" else f"{found['cpu']}, {plural(found['threads'], 'thread')}")
