"""python -m harness.costs: parameters and GMACs of every variant, size and resolution. Exact, and nothing is trained.

Beside them stand the published models whose parameters or GMACs are known (results/published), each built as it was
published: in DeiT's sizes with the class token from the input on and every layer spatial.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.backbone.sizes import SIZES, size_of
from harness.jobs.lock import taken
from harness.jobs.study import Study
from harness.presets import PRESETS
from harness.results import targets
from harness.run.arguments import Parser, words
from harness.run.console import in_words, progress, rendered, work, writable

if TYPE_CHECKING:
    from harness.jobs.cell import Cell
    from harness.jobs.experiment import Experiment

VARIANTS = "all,psa[init=normal],gpsa[init=normal]"  # the local start needs a square of heads, which few sizes have
OF_SIZES = ("tiny", "small", "base", "convit_small", "sp_vit_s")
OF_PIXELS = (224, 384, 512)


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="python -m harness.costs", description=(__doc__ or "").partition(": ")[2].partition("\n")[0])
    p.add_argument("--variants", default=VARIANTS, help="specs and families (default: %(default)s)")
    p.add_argument("--variant-file", type=Path, action="append", default=[], metavar="FILE", help="your variants, too")
    p.add_argument("--sizes", type=words, help=f"of {', '.join(SIZES)} ({','.join(OF_SIZES)}); published models, too")
    p.add_argument("--resolutions", type=words, default=OF_PIXELS, metavar="PX", help="224,384,512")
    p.add_argument("--output", type=Path, default=Path("results/costs"), help="folder of the rows (%(default)s)")
    p.add_argument("--report", type=Path, default=Path("reports/costs.html"), metavar="FILE", help="(%(default)s)")
    p.add_argument("--force", action="store_true", help="replace files that this program did not write")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns 0, 1 where a cell failed or a row is damaged, 2 for bad input, 130 for Ctrl-C."""
    args = parser().parse_args(argv)
    command = f"python -m harness.costs {shlex.join(sys.argv[1:] if argv is None else argv)}".rstrip()
    return in_words("harness.costs", lambda: run(args, command))


def run(args: argparse.Namespace, command: str) -> int:
    """Counts what is missing, renders."""
    from harness.report.pages.costs import render
    from harness.results import store

    experiments = [experiment(args, size, px) for size in args.sizes or OF_SIZES for px in args.resolutions]
    writable(args.output)
    targets.check({"report": args.report}, args.output, args.force)
    cells = planned(args, experiments)
    with taken(args.output):
        missing = [cell for cell in cells if not cell.done(args.output)]
        print(f"{args.output}: {progress(cells, missing, args.output)}", flush=True)
        for one in experiments:
            store.write_recipe(args.output, one.study.recipe_hash, one.study.described(command))
        failures = work(missing, args.output, unit="count")
    return rendered(args.output, args.report, failures, render)


def experiment(args: argparse.Namespace, size: str, px: str | int) -> Experiment:
    """The experiment of a size and a resolution. Raises ValueError where either is not available."""
    from harness.jobs import checks
    from harness.jobs.plan import StudyArm, experiment_of

    if not str(px).isdecimal():
        raise ValueError(f"--resolutions {px} must be a number of pixels; write 224,384,512")
    size_of(size)
    made = experiment_of(StudyArm(study(size, int(px))), tuple(args.variant_file), "cpu")
    checks.check(made)
    return made


def study(size: str, px: int) -> Study:
    """What is held fixed: noise in ImageNet's shape, patches of 16, the size's own heads."""
    of = replace(PRESETS["speed"](), name="costs", size=size, num_heads=None, img_size=px, resolutions=())
    return replace(of, measure=("cost",), note="costs alone: nothing is trained")


def planned(args: argparse.Namespace, experiments: list[Experiment]) -> list[Cell]:
    """A cell for each variant, then one for each published model's body, with --sizes for those of these sizes.

    Raises ValueError for an unknown variant.
    """
    from harness.jobs.kinds.costs import Costs, as_published
    from harness.report.study.published import read
    from variants.registry import expand

    variants = dict.fromkeys(["sa", *(variant for variant, _ in expand(args.variants))])
    cells: list[Cell] = [Costs(experiments[0], variant, experiments) for variant in variants]
    sizes = args.sizes or tuple(SIZES)
    bodies = dict.fromkeys(
        (one.variant, one.size, int(one.test_px)) for one in read()
        if one.variant.partition("[")[0] in variants and one.size in sizes and (one.params_m or one.gmac)
    )  # fmt: skip
    return cells + [as_published(variant, experiment(args, size, px)) for variant, size, px in bodies]


if __name__ == "__main__":
    sys.exit(main())
