"""python -m harness.run --variants sp_sa,psa,rpe: trains, measures, records and renders a comparison.

The baseline always takes part. What is recorded is kept: the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness.recipe import MEASURES, PRESETS, Recipe, Study, preset

if TYPE_CHECKING:
    import torch

    from harness.bench import Bench
    from harness.cell import Cell

VARIANTS = "sp_sa,psa,rpe"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, and leaves with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def parser() -> Parser:
    """The command line. A flag that is not given leaves the preset's value."""
    p = Parser(
        prog="python -m harness.run",
        description="Compare spatial-bias attentions in one Vision Transformer: accuracy, GMACs, parameters, "
        "throughput, memory, resolution transfer. Writes rows and one HTML report.",
        epilog="A variant is a name or a spec: sp_sa, 'sp_sa[hidden=16,scope=layer]', 'swin+rpe_2d[mode=bias]'; a "
        "family (rpe, windows, paper, all) stands for its members. Quote the brackets. Trade-offs are read from the "
        "report, whose path is the last line printed.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare, data, model, recipe, machine, files = (
        p.add_argument_group(title) for title in ("comparison", "data", "model", "recipe", "machine", "files")
    )
    compare.add_argument("--variants", help=f"specs and families (default: {VARIANTS}, or what --variant-file brings)")
    compare.add_argument(
        "--variant-file", type=Path, action="append", default=[], metavar="FILE",
        help="a Python file that registers variants of your own; may be given several times",
    )  # fmt: skip
    compare.add_argument("--baseline", help="what all are compared with (sa)")
    compare.add_argument("--preset", default="digits", help=f"{', '.join(PRESETS)} (default: %(default)s)")
    compare.add_argument("--seeds", type=seeds, help="paired seeds: 0-2 or 0,1,2")
    compare.add_argument("--resolutions", type=numbers, metavar="PX", help="test sizes for transfer: 8,12,16")
    compare.add_argument("--measure", type=words, metavar="WHAT", help=",".join(MEASURES))
    data.add_argument("--dataset", help="digits")
    data.add_argument("--data-dir", help="where the images lie")
    data.add_argument("--img-size", type=int, metavar="PX", help="training size in pixels")
    model.add_argument("--size", help="micro, tiny, small, base")
    model.add_argument("--patch-size", type=int, metavar="PX")
    model.add_argument("--num-heads", type=int, help="instead of the size's own")
    model.add_argument("--class-token", choices=("late", "input", "none"), help="late: after the spatial layers")
    model.add_argument("--spatial-layers", type=int, help="how many leading layers carry the variant")
    model.add_argument("--pos-embed", choices=("learned", "sincos", "none"))
    model.add_argument("--pos-std", type=float, help="standard deviation that a learned position embedding starts with")
    recipe.add_argument("--epochs", type=int)
    recipe.add_argument("-b", "--batch-size", type=int)
    recipe.add_argument("--lr", type=float, help="peak learning rate")
    recipe.add_argument("--min-lr", type=float)
    recipe.add_argument("--warmup-lr", type=float)
    recipe.add_argument("--warmup-epochs", type=int)
    recipe.add_argument("--weight-decay", type=float)
    recipe.add_argument("--smoothing", type=float, help="label smoothing")
    recipe.add_argument("--drop-path", type=float)
    recipe.add_argument("--clip-grad", type=float)
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    machine.add_argument("--backend", help="auto, eager, sdpa")
    machine.add_argument("--speed-rounds", type=int, help="interleaved rounds of timing")
    files.add_argument("--output", type=Path, help="folder of the rows (results/PRESET)")
    files.add_argument("--report", type=Path, help="the HTML file (reports/NAME.html)")
    files.add_argument("--dry-run", action="store_true", help="list the cells and estimate the time; write nothing")
    return p


def numbers(text: str) -> tuple[int, ...]:
    """ "8,12,16" -> (8, 12, 16)."""
    return tuple(int(word) for word in text.split(","))


def words(text: str) -> tuple[str, ...]:
    """ "cost,speed" -> ("cost", "speed")."""
    return tuple(word.strip() for word in text.split(","))


def seeds(text: str) -> tuple[int, ...]:
    """ "0-2" or "0,1,2" -> (0, 1, 2). Raises argparse.ArgumentTypeError for what is no such list."""
    found: list[int] = []
    for word in text.split(","):
        first, dash, last = word.partition("-")
        if not first.strip().isdecimal() or (dash and not last.strip().isdecimal()):
            raise argparse.ArgumentTypeError(f"{text!r} is no list of seeds; write 0-2 or 0,1,2")
        if dash and int(last) < int(first):
            raise argparse.ArgumentTypeError(f"{text!r} ends before it starts; write {last}-{first}")
        found += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(found))


def study_of(args: argparse.Namespace) -> Study:
    """The preset with the flags that were given. Raises ValueError for what is not to be had."""
    study = preset(args.preset)
    given = {key: value for key, value in vars(args).items() if value is not None}
    mine = {f.name for f in fields(Recipe)}
    recipe = replace(study.recipe, **{key: value for key, value in given.items() if key in mine})
    own = {f.name for f in fields(Study)} - {"name", "note", "recipe"}
    name = args.output.resolve().name or study.name if args.output else study.name
    chosen = replace(study, recipe=recipe, name=name, **{key: value for key, value in given.items() if key in own})
    if chosen.recipe_hash == study.recipe_hash:
        return chosen
    return replace(chosen, note=f"the preset {args.preset} with other settings, for which it was not tuned")


def device_of(name: str) -> torch.device:
    """The device of that name, `auto` the best there is. Raises ValueError for one that is not there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"there is no device {name!r}; choose auto, cpu, cuda or cuda:0")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: torch sees no CUDA GPU here; use --device cpu or auto")
    device = torch.device(name)
    if (device.index or 0) >= torch.cuda.device_count() and device.type == "cuda":
        raise ValueError(f"--device {name}: there are {torch.cuda.device_count()} GPUs, counted from cuda:0")
    return device


def choose(bench: Bench, text: str) -> tuple[list[str], dict[str, str]]:
    """The variants that take part, the baseline first, and the sentence for each that a family brought in vain.

    Raises ValueError for one that was asked for by name and cannot be built or executed.
    """
    from variants.registry import expand

    baseline = bench.study.baseline
    asked = {baseline: True} | {variant: named for variant, named in expand(text) if variant != baseline}
    taking_part, refused = [], {}
    for variant, by_name in asked.items():
        try:
            bench.try_out(variant)
        except ValueError as error:
            if by_name:
                raise ValueError(f"{variant}: {error}") from error
            refused[variant] = str(error)
        else:
            taking_part.append(variant)
    return taking_part, refused


def writable(folder: Path) -> None:
    """Raises ValueError where rows could not be written; leaves nothing behind."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"the folder {folder} cannot be written; choose another with --output or --report")


def estimate(bench: Bench, cells: list[Cell], variants: list[str]) -> float:
    """Seconds that the cells will take, from three training steps of each variant on this machine."""
    from harness.condition import conditions
    from harness.measure.clock import seconds
    from harness.measure.speed import LEAST_S, Subject

    batch_size = bench.study.recipe.batch_size
    steps = len(bench.data.train_x) // batch_size
    images, labels = bench.batch(batch_size, bench.image)
    timings = conditions(bench) if any(cell.name == "speed" for cell in cells) else []
    total = sum(2 * LEAST_S * c.rounds for c in timings)  # the second copy of the baseline and the matmul
    for variant in variants:
        step = Subject(bench.model(variant), images, labels, bench.study.recipe).training()
        step()
        a_step = seconds(step, 3, bench.device)
        trainings = sum(1 for cell in cells if cell.name.startswith(f"{variant} seed "))
        total += a_step * steps * bench.study.recipe.epochs * trainings
        for c in timings:  # a forward is a third of a step, and both grow with the pixels
            share = (1.0 if c.training else 1 / 3) * c.batch_size / batch_size * prod(c.size) / prod(bench.image)
            total += c.rounds * max(LEAST_S, 1.2 * share * a_step)
    return total


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
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own notes
    warnings.filterwarnings("ignore", message=".*torch.jit", category=FutureWarning)  # of timm's import

    from harness import data, results
    from harness.bench import Bench
    from harness.cells import plan, refusals
    from harness.variant_file import load
    from variants.registry import canonical

    files = [load(path) for path in args.variant_file]
    brought = ",".join(name for file in files for name in file.names)
    digests = {name: file.digest for file in files for name in file.names}
    study = replace(study, baseline=canonical(study.baseline))
    bench = Bench(study, data.load(study.dataset, study.data_dir), device_of(args.device), digests)
    bench.check()
    variants, refused = choose(bench, (brought or VARIANTS) if args.variants is None else args.variants)
    writable(folder)
    writable(page.parent)
    if page.is_dir():
        raise ValueError(f"--report {page} is a folder; name the HTML file")
    cells = plan(bench, variants)
    missing = [cell for cell in cells if not cell.done(folder)]
    if args.dry_run:
        for cell in cells:
            print(f"{cell.key}  {'to do' if cell in missing else 'done '}  {cell.name}")
        for variant, sentence in refused.items():
            print(f"{'':10}  refused  {variant}: {sentence}")
        print(f"{len(missing)} of {len(cells)} cells to do, about {clock(estimate(bench, missing, variants))} "
              f"on {device_name(bench.device)}; nothing was written")  # fmt: skip
        return 0
    print(f"{study.name}: {len(variants)} variants, {len(study.seeds)} seeds on {device_name(bench.device)}; "
          f"{len(cells) - len(missing)} of {len(cells)} cells are there", flush=True)  # fmt: skip
    results.write_recipe(folder, study.recipe_hash, described(study, command))
    if refused:
        results.write(folder / f"refused-{study.recipe_hash}.jsonl", refusals(bench, refused))
    failures = work(missing, folder)
    for name, sentence in failures.items():
        print(f"{name} failed: {sentence}", file=sys.stderr)
    from harness.report import render

    rendered = render(folder, page)
    for damage in rendered.damaged:
        print(damage, file=sys.stderr)
    print(f"report: {page}")
    return 1 if failures or rendered.damaged else 0


def work(cells: list[Cell], folder: Path) -> dict[str, str]:
    """Runs the cells under one progress bar; returns the sentence of each that failed."""
    from tqdm import tqdm

    failures = {}
    steady = 0.1 if sys.stderr.isatty() else 10.0  # a log wants a line now and then
    with tqdm(total=sum(cell.work for cell in cells), unit="epoch", mininterval=steady, smoothing=0.1) as bar:
        for cell in cells:
            before = bar.n
            bar.set_description(cell.name)
            failure = cell.run(folder, bar.update)
            bar.update(cell.work - (bar.n - before))
            if failure is not None:
                failures[cell.name] = failure
    return failures


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
