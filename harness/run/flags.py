"""The command line of harness.run, and the study that it asks for. Names are timm's where timm has one; no torch."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

from harness.jobs.study import MEASURES, VARIANTS, Pixels, Study
from harness.presets import ABLATIONS, PRESETS, preset
from harness.training.recipe import Recipe

YES_NO = argparse.BooleanOptionalAction


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
    for title, add in GROUPS.items():
        add(p.add_argument_group(title))
    return p


def _comparison(to: Any) -> None:
    to.add_argument("--variants", help=f"specs and families (default: {VARIANTS}, the preset's, or --variant-file's)")
    to.add_argument(
        "--variant-file", type=Path, action="append", default=[], metavar="FILE",
        help="a Python file that registers variants of your own; may be given several times",
    )  # fmt: skip
    to.add_argument("--list", action="store_true", help="print what variants there are, and nothing else")
    to.add_argument("--baseline", help="what all are compared with (sa)")
    to.add_argument(
        "--preset", default="digits", metavar="NAME",
        help=f"{', '.join(PRESETS)} (default: %(default)s); NAME:ABLATION varies one factor: {', '.join(ABLATIONS)}",
    )  # fmt: skip
    to.add_argument("--seeds", type=seeds, help="paired seeds: 0-2 or 0,1,2")
    to.add_argument("--resolutions", type=pixels, metavar="PX", help="test sizes for transfer: 8,12,8x16")
    to.add_argument("--finetune-epochs", type=int, help="fine-tune at each other resolution, too")
    to.add_argument("--train-fractions", type=shares, metavar="SHARES", help="of the training images: 0.01,0.1,1")
    to.add_argument("--match", choices=("params", "gmac"), help="add the baseline widened to each variant's size")
    to.add_argument("--reach", type=shares, metavar="PERCENT", help="validation accuracies to time: 80,90")
    to.add_argument("--measure", type=words, metavar="WHAT", help=",".join(MEASURES))


def _data(to: Any) -> None:
    to.add_argument("--dataset", help="digits, fashion_mnist, cifar10, folder:PATH, probes:same_row ...")
    to.add_argument("--data-dir", help="where the images lie")
    to.add_argument("--train-images", type=int, help="use so many of the training images")
    to.add_argument("--img-size", type=int, metavar="PX", help="training size in pixels")
    to.add_argument("-j", "--workers", type=int, help="processes that read pictures")


def _model(to: Any) -> None:
    to.add_argument("--size", help="micro, tiny, small, base, convit_small, sp_vit_s ...")
    to.add_argument("--patch-size", type=int, metavar="PX")
    to.add_argument("--num-heads", type=int, help="instead of the size's own")
    to.add_argument("--class-token", choices=("late", "input", "none"), help="late: after the spatial layers")
    to.add_argument("--spatial-layers", type=int, help="how many leading layers carry the variant")
    to.add_argument("--pos-embed", choices=("learned", "sincos", "none"))
    to.add_argument("--pos-std", type=float, help="standard deviation that a learned position embedding starts with")
    to.add_argument("--peg", action=YES_NO, default=None, help="CPVT's depthwise convolution after each block")


def _recipe(to: Any) -> None:
    to.add_argument("--epochs", type=int)
    to.add_argument("-b", "--batch-size", type=int)
    to.add_argument("--lr", type=float, help="peak learning rate")
    to.add_argument("--min-lr", type=float)
    to.add_argument("--warmup-lr", type=float)
    to.add_argument("--warmup-epochs", type=int)
    to.add_argument("--cooldown-epochs", type=int)
    to.add_argument("--weight-decay", type=float)
    to.add_argument("--smoothing", type=float, help="label smoothing")
    to.add_argument("--drop-path", type=float)
    to.add_argument("--clip-grad", type=float)
    to.add_argument("--crop-pad", type=int, metavar="PX", help="shift images in memory by up to so many pixels")
    to.add_argument("--scale", type=float, nargs=2, metavar=("LO", "HI"), help="share of a picture that a crop keeps")
    to.add_argument("--hflip", type=float, help="share of images that are mirrored")
    to.add_argument("--color-jitter", type=float)
    to.add_argument("--aa", help="AutoAugment or RandAugment policy: rand-m9-mstd0.5-inc1, none")
    to.add_argument("--aug-repeats", type=int)
    to.add_argument("--reprob", type=float, help="share of images with an erased rectangle")
    to.add_argument("--mixup", type=float)
    to.add_argument("--cutmix", type=float)
    to.add_argument("--mixup-prob", type=float)
    to.add_argument("--mixup-switch-prob", type=float)
    to.add_argument("--model-ema", action=YES_NO, default=None, help="a moving average of the weights counts")
    to.add_argument("--model-ema-decay", type=float)
    to.add_argument("--model-ema-warmup", action=YES_NO, default=None)
    to.add_argument("--val-interval", type=int, metavar="EPOCHS", help="epochs from validation to validation")


def _machine(to: Any) -> None:
    to.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    to.add_argument("--backend", help="auto, eager, sdpa, tiled, grouped, flex")
    to.add_argument("--amp", action=YES_NO, default=None, help="train, test and time under autocast")
    to.add_argument("--amp-dtype", choices=("bfloat16", "float16"), help="bfloat16")
    to.add_argument("--torchcompile", action=YES_NO, default=None)
    to.add_argument("--jobs", type=int, help="cells at a time, each with its share of the cores")
    to.add_argument("--checkpoint-interval", type=float, metavar="S", help="seconds between checkpoints")
    to.add_argument("--speed-rounds", type=int, help="interleaved rounds of timing")


def _files(to: Any) -> None:
    to.add_argument("--output", type=Path, help="folder of the rows (results/PRESET)")
    to.add_argument("--report", type=Path, help="the HTML file (reports/NAME.html)")
    to.add_argument("--dry-run", action="store_true", help="list the cells and estimate the time; write nothing")


def _slurm(to: Any) -> None:
    to.add_argument("--slurm", metavar="PARTITION", help="run the missing cells as an array of Slurm jobs")
    to.add_argument("--slurm-gpus", type=int, default=0, metavar="N", help="GPUs a job (default: %(default)s)")
    to.add_argument("--slurm-cpus", type=int, default=1, metavar="N", help="CPUs a job (default: %(default)s)")
    to.add_argument("--slurm-mem", default="4G", metavar="SIZE", help="memory a job (default: %(default)s)")
    to.add_argument(
        "--slurm-time", type=int, default=240, metavar="MINUTES", help="a job's time (default: %(default)s)"
    )
    to.add_argument("--slurm-max-parallel", type=int, default=64, metavar="N", help="jobs at a time (%(default)s)")
    to.add_argument("--status", action="store_true", help="which cells are done, running, failed, missing; run nothing")


GROUPS = {
    "comparison": _comparison, "data": _data, "model": _model, "recipe": _recipe, "machine": _machine, "Slurm": _slurm,
    "files": _files,
}  # fmt: skip


def pixels(text: str) -> tuple[Pixels, ...]:
    """ "8,12,8x16" -> (8, 12, (8, 16)): squares by their side, others HEIGHTxWIDTH."""
    found: list[Pixels] = []
    for word in text.split(","):
        height, x, width = word.strip().partition("x")
        if not height.isdecimal() or (x and not width.isdecimal()):
            raise argparse.ArgumentTypeError(f"{text!r} is no list of sizes in pixels; write 8,12 or 8x12")
        found.append((int(height), int(width)) if x and width != height else int(height))
    return tuple(found)


def shares(text: str) -> tuple[float, ...]:
    """ "0.01,0.1,1" -> (0.01, 0.1, 1.0), each once."""
    return tuple(dict.fromkeys(float(word) for word in text.split(",")))


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
    if given.get("aa") == "none":
        given["aa"] = ""
    if "scale" in given:
        given["scale"] = tuple(given["scale"])
    if given.get("amp_dtype") == "float16":
        raise ValueError("--amp-dtype float16 wants its loss scaled, which this loop leaves out; use bfloat16")
    if "amp_dtype" in given and not given.get("amp"):
        raise ValueError("--amp-dtype means nothing without --amp; add it")
    if "amp" in given:
        given["precision"] = "bfloat16" if given["amp"] else "float32"
    kind, _, path = given.get("dataset", "").partition(":")
    if path and kind == "folder" and "data_dir" not in given:  # where the images lie is no part of what a cell is
        given |= {"dataset": kind, "data_dir": path}
    mine = {f.name for f in fields(Recipe)}
    recipe = replace(study.recipe, **{key: value for key, value in given.items() if key in mine})
    if study.vary is not None and study.vary[0] in given:
        flag = study.vary[0].replace("_", "-")
        raise ValueError(f"{args.preset} varies --{flag} itself; leave the flag out, or the ablation")
    own = {f.name for f in fields(Study)} - {"name", "note", "recipe"}
    name = args.output.resolve().name or study.name if args.output else study.name
    chosen = replace(study, recipe=recipe, name=name, **{key: value for key, value in given.items() if key in own})
    if chosen.recipe_hash == study.recipe_hash:
        return chosen
    return replace(chosen, note=f"the preset {args.preset} with other settings, for which it was not tuned")
