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

from harness.flags import parser, study_of
from harness.plan import Order, bench_of, cells, order
from harness.recipe import Study

if TYPE_CHECKING:
    import torch

    from harness.cell import Cell


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns 0, 1 where a cell failed or a row is damaged, 2 for bad input, 130 for Ctrl-C."""
    args = parser().parse_args(argv)
    command = f"python -m harness.run {shlex.join(sys.argv[1:] if argv is None else argv)}".rstrip()
    return in_words("harness.run", lambda: run(args, command))


def in_words(program: str, job: Callable[[], int]) -> int:
    """What a job that records cells returns; a sentence and a code where input, disk or Ctrl-C end it."""
    try:
        return job()
    except ValueError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{program}: {error}; what was recorded is whole, and the same command goes on", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted; what was recorded is kept, and the same command goes on", file=sys.stderr)
        return 130


def run(args: argparse.Namespace, command: str) -> int:
    """Plans, checks, works through the cells that are missing, renders."""
    study = study_of(args)
    folder = args.output or Path("results") / study.name
    page = args.report or Path("reports") / f"{study.name}.html"
    todo = order(study, tuple(args.variant_file), args.device, args.variants)
    writable(folder)
    writable(page.parent)
    if page.is_dir():
        raise ValueError(f"--report {page} is a folder; name the HTML file")
    planned = cells(todo)
    missing = [cell for cell in planned if not cell.done(folder)]
    where = device_name(bench_of(todo.lots[0], todo.files, todo.device).device)
    if args.dry_run:
        from harness.estimate import estimate

        for cell in planned:
            print(f"{cell.key}  {'to do' if cell in missing else 'done '}  {cell.name}")
        for lot in todo.lots:
            for variant, sentence in lot.refused.items():
                print(f"{'':10}  refused  {variant}: {sentence}")
        print(f"{len(missing)} of {len(planned)} cells to do, about {clock(estimate(todo, missing))} on {where}; "
              f"nothing was written")  # fmt: skip
        return 0
    variants = {variant for lot in todo.lots for variant in lot.variants}
    print(f"{study.name}: {len(variants)} variants, {len(study.seeds)} seeds on {where}; "
          f"{len(planned) - len(missing)} of {len(planned)} cells are there", flush=True)  # fmt: skip
    record(todo, folder, command)
    failures = work(missing, folder, study.jobs, partial(cells, todo))
    for name, sentence in failures.items():
        print(f"{name} failed: {sentence}", file=sys.stderr)
    from harness.report import render

    rendered = render(folder, page)
    for damage in rendered.damaged:
        print(damage, file=sys.stderr)
    print(f"report: {page}")
    return 1 if failures or rendered.damaged else 0


def writable(folder: Path) -> None:
    """Raises ValueError where rows could not be written; leaves nothing behind."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"the folder {folder} cannot be written; choose another with --output or --report")


def record(todo: Order, folder: Path, command: str) -> None:
    """Writes what each arm holds fixed, and the refusals."""
    from harness import results
    from harness.cells import refusals

    for lot in todo.lots:
        results.write_recipe(folder, lot.study.recipe_hash, described(lot.study, command))
        if lot.refused:
            bench = bench_of(lot, todo.files, todo.device)
            results.write(folder / f"refused-{lot.study.recipe_hash}.jsonl", refusals(bench, dict(lot.refused)))


def work(
    missing: list[Cell], folder: Path, jobs: int = 1, plan: Callable[[int], list[Cell]] = lambda _: []
) -> dict[str, str]:
    """Runs the cells under one progress bar; returns the sentence of each that failed.

    With several jobs the trainings run at once; costs and timings come first, alone on the machine.
    """
    from tqdm import tqdm

    from harness import pool

    steady = 0.1 if sys.stderr.isatty() else 10.0  # a log wants a line now and then
    with tqdm(total=sum(cell.work for cell in missing), unit="epoch", mininterval=steady, smoothing=0.1) as bar:
        if jobs == 1:
            return pool.in_turn(missing, folder, bar)
        failures = pool.in_turn([cell for cell in missing if cell.seed is None], folder, bar)
        trainings = [cell for cell in missing if cell.seed is not None]
        return failures | pool.at_once(trainings, folder, bar, jobs, plan)


def described(study: Study, command: str) -> dict[str, Any]:
    """The recipe as it is kept beside the rows."""
    flat = asdict(study)
    return {"command": command} | flat.pop("recipe") | {k: v for k, v in flat.items() if v is not None}


def device_name(device: torch.device) -> str:
    """The processor or the GPU in words."""
    from harness import origin

    found = origin.machine()
    return str(found["gpu"] if device.type == "cuda" else f"{found['cpu']}, {found['threads']} thread(s)")


def clock(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    sys.exit(main())
