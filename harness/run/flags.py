"""The command line of harness.run, and the study that it asks for. Names are timm's where timm has one; no torch.

The flags of a study and its recipe come from the fields of these two dataclasses: name, type and `Flag`.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from harness.ablations import ABLATIONS
from harness.jobs.study import Pixels, Study
from harness.presets import DEFAULT, PRESETS, preset
from harness.run.arguments import Parser, pixels, seeds, shares, words
from harness.training.recipe import Flag, Recipe

YES_NO = argparse.BooleanOptionalAction
GROUPS = ("comparison", "data", "model", "recipe", "machine", "Slurm", "files")
READ: dict[Any, dict[str, Any]] = {  # by a field's type: how its flag is read, and the name of its value in --help
    bool: {"action": YES_NO},
    int: {"type": int, "metavar": "N"},
    float: {"type": float, "metavar": "X"},
    str: {"metavar": "NAME"},
    tuple[float, float]: {"type": float, "nargs": 2, "metavar": ("LO", "HI")},
    tuple[int, ...]: {"type": seeds, "metavar": "SEEDS"},
    tuple[float, ...]: {"type": shares, "metavar": "SHARES"},
    tuple[str, ...]: {"type": words, "metavar": "NAMES"},
    tuple[Pixels, ...]: {"type": pixels, "metavar": "PX"},
}


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
    groups = {title: p.add_argument_group(title) for title in GROUPS}
    _add_own(groups)
    for settings in (Recipe, Study):
        for name, hint in get_type_hints(settings, include_extras=True).items():
            for flag in getattr(hint, "__metadata__", ()):
                _add(groups[flag.group], name, hint.__origin__, flag)
    return p


def _add(to: Any, name: str, kind: Any, flag: Flag) -> None:
    """Adds the flag of a dataclass's field."""
    if NoneType in get_args(kind):
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
    how = {"choices": get_args(kind)} if get_origin(kind) is Literal else READ[kind]
    own = {"metavar": flag.metavar} if flag.metavar else {}
    names = [*filter(None, [flag.short]), f"--{name.replace('_', '-')}"]
    to.add_argument(*names, default=None, help=flag.help.replace("%", "%%"), **(how | own))


def _add_own(groups: dict[str, Any]) -> None:
    """Adds the flags that are no field of a study: what to run and where."""
    to = groups["comparison"].add_argument
    to("--preset", default=DEFAULT, metavar="NAME", help=f"{', '.join(PRESETS)} (default: %(default)s); NAME:ABLATION "
       f"varies one factor: {', '.join(ABLATIONS)}")  # fmt: skip
    to("--variant-file", type=Path, action="append", default=[], metavar="FILE",
       help="a Python file that registers variants of your own; may be given several times")  # fmt: skip
    to("--list", action="store_true", help="print what variants there are, and nothing else")
    to = groups["machine"].add_argument
    to("--device", default="auto", metavar="NAME", help="auto, cpu, cuda (default: %(default)s)")
    to("--amp", action=YES_NO, default=None, help="train, test and time under autocast")
    to("--amp-dtype", choices=("bfloat16", "float16"), help="the type of --amp; only bfloat16 is supported")
    to = groups["Slurm"].add_argument
    to("--slurm", metavar="PARTITION", help="run the missing cells as an array of Slurm jobs")
    to("--slurm-gpus", type=int, default=0, metavar="N", help="GPUs a job (default: %(default)s)")
    to("--slurm-cpus", type=int, default=1, metavar="N", help="CPUs a job (default: %(default)s)")
    to("--slurm-mem", default="4G", metavar="SIZE", help="memory a job (default: %(default)s)")
    to("--slurm-time", type=int, default=240, metavar="MINUTES", help="a job's time (default: %(default)s)")
    to("--slurm-max-parallel", type=int, default=64, metavar="N", help="jobs at a time (default: %(default)s)")
    to("--status", action="store_true", help="which cells are done, running, failed, missing; run nothing")
    to = groups["files"].add_argument
    to("--output", type=Path, metavar="DIR", help="folder of the rows (default: results/PRESET, or of --dataset)")
    to("--report", type=Path, metavar="FILE", help="the HTML file (default: reports/NAME.html)")
    to("--force", action="store_true", help="replace files that this program did not write")
    to("--teach", action="store_true", help="make the label maps of --token-labels or the --teacher, and nothing else")
    to("--dry-run", action="store_true", help="list the cells and estimate the time; write nothing")


def study_of(args: argparse.Namespace) -> Study:
    """The preset with the flags that were given. Raises ValueError for values that do not fit."""
    study = preset(args.preset)
    given = {key: value for key, value in vars(args).items() if value is not None}
    if given.get("aa") == "none":
        given["aa"] = ""
    if "scale" in given:
        given["scale"] = tuple(given["scale"])
    if given.get("amp_dtype") == "float16":
        raise ValueError("--amp-dtype float16 needs a scaled loss, which this program does not have; use bfloat16")
    if "amp_dtype" in given and not given.get("amp"):
        raise ValueError("--amp-dtype has no effect without --amp; add --amp")
    if "tune_seeds" in given and not (given.get("tune") or study.tune):
        raise ValueError("--tune-seeds has no effect without --tune; add --tune")
    if "amp" in given:
        given["precision"] = "bfloat16" if given["amp"] else "float32"
    kind, _, path = given.get("dataset", "").partition(":")
    placed = path.endswith((":translated", ":cluttered"))  # which images in files cannot be, and `load` says so
    # where the images of a folder lie is no part of what a cell is
    if path and kind == "folder" and "data_dir" not in given and not placed:
        given |= {"dataset": kind, "data_dir": path}
    mine = {f.name for f in fields(Recipe)}
    recipe = replace(study.recipe, **{key: value for key, value in given.items() if key in mine})
    if study.vary is not None and study.vary[0] in given:
        flag = study.vary[0].replace("_", "-")
        raise ValueError(f"{args.preset} varies --{flag} itself; leave out the flag or the ablation")
    own = {f.name for f in fields(Study)} - {"name", "note", "recipe"}
    images = given.get("dataset", study.dataset)
    named = study.name if images == study.dataset else images.replace(":", "-")  # wherever a folder lies
    name = args.output.resolve().name or named if args.output else named
    if {"dataset", "img_size"} & {*given}:
        given.setdefault("resolutions", ())  # the preset's test sizes are of its own images
    chosen = replace(study, recipe=recipe, name=name, **{key: value for key, value in given.items() if key in own})
    if chosen.recipe_hash == study.recipe_hash:
        return chosen
    return replace(chosen, note=f"the preset {args.preset} with other settings, for which it was not tuned")
