"""python -m harness.binarize results/NAME --keep 0.5,0.25,0.1: trained sp_sa priors made masks, measured, recorded.

Every trained sp_sa of the study loses the offsets on which its prior says least: accuracy without and with a short
fine-tuning, the pairs that are left, and the time they take. Rows go beside the study's own; what is done is kept.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.jobs.lock import taken
from harness.jobs.plan import StudyArm, experiment_of, import_torch
from harness.jobs.study import Study
from harness.results import targets
from harness.run.arguments import Parser, shares, words
from harness.run.console import in_words, progress, rendered, work, writable
from harness.training.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

    from harness.binarize.accuracy import Trained
    from harness.jobs.cell import Cell
    from harness.jobs.experiment import Experiment

CHOICES = ("deviation", "mass")


def parser() -> Parser:
    p = Parser(
        prog="python -m harness.binarize",
        description="Make the learned priors of a study's trained sp_sa binary: keep a share of the offsets of each "
        "head as a mask, and measure accuracy, pairs, GMACs and time.",
    )
    p.add_argument("folder", type=Path, metavar="results/NAME", help="a study's folder with its rows and weights/")
    p.add_argument("--keep", type=shares, default=(0.5, 0.25, 0.1), metavar="SHARES", help="of offsets: 0.5,0.25,0.1")
    p.add_argument("--by", type=words, default=("deviation",), metavar="HOW", help="deviation,mass (deviation)")
    p.add_argument("--finetune-epochs", type=int, default=0, metavar="N", help="fine-tune so many epochs, too (0)")
    p.add_argument("--no-times", action="store_true", help="leave the timings out")
    p.add_argument("--data-dir", metavar="DIR", help="where the images lie, if not where they were")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    p.add_argument("--report", type=Path, metavar="FILE", help="the HTML file (default: reports/NAME.html)")
    p.add_argument("--force", action="store_true", help="replace files that this program did not write")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns 0, 1 where a cell failed or a row is damaged, 2 for bad input, 130 for Ctrl-C."""
    args = parser().parse_args(argv)
    command = f"python -m harness.binarize {shlex.join(sys.argv[1:] if argv is None else argv)}"
    return in_words("harness.binarize", lambda: run(args, command))


def run(args: argparse.Namespace, command: str) -> int:
    """Checks, works through the cells that are missing, renders."""
    from harness.results import store

    for keep in args.keep:
        if not (0 < keep <= 1 and math.isfinite(keep)):
            raise ValueError(f"--keep {keep:g} is no share of offsets; write numbers above 0 and up to 1: 0.5,0.25,0.1")
    for by in args.by:
        if by not in CHOICES:
            raise ValueError(f"--by {by} is not available; choose {', '.join(CHOICES)}")
    if args.finetune_epochs < 0:
        raise ValueError(f"--finetune-epochs {args.finetune_epochs} is not available; it is at least 0")
    folder = args.folder
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; name one that harness.run has written, such as results/digits")
    frame = store.load(folder)
    by_recipe = trained(frame, folder)
    writable(folder)
    page = args.report or Path("reports") / f"{folder.resolve().name}.html"
    targets.check({"report": page}, folder, args.force)
    cells = [cell for recipe_hash, found in by_recipe.items() for cell in planned(args, folder, recipe_hash, found)]
    with taken(folder):
        missing = [cell for cell in cells if not cell.done(folder)]
        first = any(cell.kind == "binarized-times" for cell in missing)
        patience = "; timings compile FlexAttention first, some seconds for each grid and form" if first else ""
        print(f"{folder}: {progress(cells, missing, folder)}{patience}", flush=True)
        failures = work(missing, folder)
    return rendered(folder, page, failures)


def trained(frame: pd.DataFrame, folder: Path) -> dict[str, list[Trained]]:
    """By recipe hash the trainings of a variant with an sp_sa, the newest of each seed and share of the images.

    Raises ValueError where there is none.
    """
    import_torch()
    from harness.binarize.accuracy import Trained

    rows = frame[(frame["metric"] == "top1") & frame["value"].notna() & frame["seed"].notna()]
    newest: dict[tuple[str, str, int, float], Trained] = {}
    for row in rows.sort_values("when", kind="stable").to_dict("records"):
        if multiplies(row["variant"]):
            seed, fraction = int(row["seed"]), float(row["train_fraction"] or 1.0)
            newest[row["recipe_hash"], row["variant"], seed, fraction] = Trained(
                row["variant"], seed, fraction, row["cell"], row["source_hash"],
                weights(folder, row["variant"], seed, row["cell"]), row["dataset"],
            )  # fmt: skip
    if not newest:
        others = ", ".join(dict.fromkeys(rows["variant"])) or "none"
        raise ValueError(f"no sp_sa was trained in {folder} (trained: {others}); run python -m harness.run --variants "
                         f"sp_sa --output {folder} first")  # fmt: skip
    found: dict[str, list[Trained]] = {}
    for (recipe_hash, *_), one in newest.items():
        found.setdefault(recipe_hash, []).append(one)
    return found


def multiplies(spec: str) -> bool:
    """Whether a variant has an sp_sa that multiplies the score."""
    from variants.registry import parse

    try:
        parts = parse(spec)
    except ValueError:  # a control arm's name is no spec, and a variant file's is not known here
        return False
    return any(part.name == "sp_sa" and dict(part.settings).get("combine", "mul") == "mul" for part in parts)


def weights(folder: Path, variant: str, seed: int, key: str) -> Path:
    """The file of a training's weights; where it is missing the name that it would have."""
    found = sorted((folder / "weights").glob(f"*-{key}.safetensors"))
    return found[0] if found else folder / "weights" / f"{variant}-seed-{seed}-{key}.safetensors"


def planned(args: argparse.Namespace, folder: Path, recipe_hash: str, found: Sequence[Trained]) -> list[Cell]:
    """The cells of the trainings of one recipe: accuracies seed by seed, then the timings of the first seed."""
    from harness.binarize.accuracy import MaskedAccuracy, arms
    from harness.binarize.masks import BYS, FORMS
    from harness.binarize.times import MaskedTimes
    from harness.results import store

    study = study_of(store.recipes(folder).get(recipe_hash, {}), recipe_hash, folder)
    study = replace(study, data_dir=args.data_dir or study.data_dir)
    experiment = experiment_of(StudyArm(study), (), args.device)
    other = next((one for one in found if content(one.dataset) != content(experiment.dataset)), None)
    if other is not None:
        raise ValueError(f"{other.variant} {other.name} was trained on {other.dataset}, but {study.data_dir} holds "
                         f"{experiment.dataset}; name the folder of the same images with --data-dir")  # fmt: skip
    old = next((one for one in found if one.source != source_of(experiment, one)), None)
    if old is not None:
        raise ValueError(f"{old.variant} {old.name} in {folder} was trained by another state of the source, so "
                         f"rows of its masks would say what they are not; run the study again")  # fmt: skip
    bys = [by for by in BYS if by in args.by]
    cells: list[Cell] = []
    timed: set[str] = set()
    for one in sorted(found, key=lambda one: one.seed):
        every = arms(one.variant, args.keep, bys, FORMS)
        cells += [MaskedAccuracy(experiment, one, arm, args.finetune_epochs) for arm in every]
    for one in sorted(found, key=lambda one: (one.seed, -one.fraction)):
        if not args.no_times and one.variant not in timed:
            timed.add(one.variant)
            every = arms(one.variant, args.keep, bys, FORMS)
            timings = [arm for arm in every if arm.keep < 1 or arm.form == "ones"]  # dropping the prior is a control
            cells.append(MaskedTimes(experiment, one, timings))
    return cells


def source_of(experiment: Experiment, trained: Trained) -> str:
    """The source hash that the rows of this training have by today's source."""
    from harness.jobs.kinds import training

    cell = training.Trained(experiment, trained.variant, trained.seed, trained.fraction)
    return f"{cell.kind_hash}+{experiment.source_of(trained.variant)}"


def content(dataset: str) -> str:
    """What tells a row's dataset from another one: of a tree what is in it, whatever the folder's name."""
    name, _, digest = dataset.rpartition(" (")
    return digest if name else dataset


def study_of(recipe: Mapping[str, Any], recipe_hash: str, folder: Path) -> Study:
    """The study that a recipe beside the rows describes. Raises ValueError where it is not the one that was run."""
    known = {f.name for f in fields(Recipe)}
    given = {name: tupled(value) for name, value in recipe.items()}
    try:
        inner = Recipe(**{name: value for name, value in given.items() if name in known})
        own = {f.name for f in fields(Study)} - {"recipe"}
        study = Study(recipe=inner, **{name: value for name, value in given.items() if name in own})
    except TypeError as error:
        raise ValueError(f"{folder}/recipes/{recipe_hash}.json is missing or not whole, so the model cannot be built; "
                         f"run the study again") from error  # fmt: skip
    if study.recipe_hash != recipe_hash:
        raise ValueError(f"{folder}/recipes/{recipe_hash}.json describes another study ({study.recipe_hash}) to this "
                         f"version of the program; run the study again")  # fmt: skip
    return study


def tupled(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(tupled(one) for one in value) if isinstance(value, list) else value
