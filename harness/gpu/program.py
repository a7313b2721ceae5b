"""python -m harness.gpu --minutes 8 --out DIR: what does a spatial bias cost on my card?

In the order of their weight, as many as end in time: the card; every backend against eager; throughput and memory of
whole models at three resolutions; the attention alone, backend beside backend; trainings of the default study. Each
result is written as it comes, and the same command goes on with what is missing. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.presets import DEFAULT, PRESETS
from harness.results import targets
from harness.run.arguments import Parser
from harness.run.console import in_words, rendered, writable

if TYPE_CHECKING:
    import torch

    from harness.gpu.plan import Piece
    from harness.jobs.cell import Cell
    from harness.jobs.study import Study
    from harness.results.store import Row

VARIANTS = "sp_sa,rel_bias,psa[init=normal],rpe_2d,rope_mixed,lepe,swin,cswin"
PIXELS = (224, 384, 512)
CARD, MODELS = "card", "models"  # folders of rows
# seconds of a piece on an H200, guessed: no card has run them yet; a plan corrects itself as pieces end
GUESSED = {
    "card": 2.0, "checks by sdpa": 1.0, "checks by grouped": 1.0, "checks by tiled": 2.0, "checks by triton": 12.0,
    "checks by auto": 4.0, "checks by flex": 8.0, "models": 45.0, "layers": 20.0, "training": 12.0,
}  # fmt: skip
ASKED = "name,driver_version,memory.total,power.limit,clocks.max.sm,clocks.max.memory,clocks.sm,temperature.gpu"


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="python -m harness.gpu", description=(__doc__ or "").partition(": ")[2].partition("\n")[0])
    p.add_argument("--minutes", type=float, default=8.0, help="no piece is begun that would end later (%(default)s)")
    p.add_argument("--out", type=Path, default=Path("results/gpu"), metavar="DIR", help="(default: %(default)s)")
    p.add_argument("--variants", default=VARIANTS, help="of the models (default: %(default)s)")
    p.add_argument("--device", default="auto", help="auto, cuda, cuda:1; cpu for a try without meaning (%(default)s)")
    p.add_argument("--report", type=Path, metavar="FILE", help="the HTML file (default: DIR/report.html)")
    p.add_argument("--dry-run", action="store_true", help="show the plan with the seconds of each piece, do nothing")
    p.add_argument("--ahead", action="store_true", help="compile the triton backend's kernels for cards not here")
    p.add_argument("--force", action="store_true", help="replace files that this program did not write")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program; returns 0, 1 where something failed, 2 for bad input, 130 for Ctrl-C."""
    args = parser().parse_args(argv)
    command = f"python -m harness.gpu {shlex.join(sys.argv[1:] if argv is None else argv)}".rstrip()
    return in_words("harness.gpu", lambda: run(args, command))


def run(args: argparse.Namespace, command: str) -> int:
    if args.ahead:
        from harness.gpu import ahead

        return ahead.write()
    if not 0 < args.minutes < 24 * 60:
        raise ValueError(f"--minutes {args.minutes:g} is no time to work in; it is more than 0 and less than a day")
    device = card(args.device, args.dry_run)
    found = pieces(args, device, command)
    if args.dry_run:
        show(found, 60 * args.minutes)
        return 0
    page = args.report or args.out / "report.html"
    writable(args.out)
    targets.check({"report": page}, None, args.force)
    return work(found, args, page, device)


def card(asked: str, dry: bool) -> torch.device:
    """The device; a plan alone wants none. Raises ValueError where there is no card."""
    import torch

    from harness.jobs.plan import device_of

    if asked == "auto" and not torch.cuda.is_available():
        if not dry:
            raise ValueError("there is no CUDA device here; --dry-run shows the plan, and --ahead compiles the triton "
                             "backend's kernels without a card")  # fmt: skip
        return torch.device("cpu")
    return device_of(asked)


def work(found: list[Piece], args: argparse.Namespace, page: Path, device: torch.device) -> int:
    from harness.gpu.plan import carry_out
    from harness.jobs.lock import taken

    with taken(args.out):
        outcome = carry_out(found, 60 * args.minutes, time.monotonic, lambda words: print(words, file=sys.stderr))
    if outcome.left:
        print(f"{len(outcome.left)} of {len(found)} pieces did not fit: {', '.join(outcome.left)}; the same command "
              f"goes on with them")  # fmt: skip
    folder, red = args.out / CARD / mark(device), 0
    if folder.is_dir():
        words, red = summary(folder)
        print(words)
    if list((args.out / MODELS).glob("*.jsonl")):
        return max(rendered(args.out / MODELS, page, outcome.failed), int(red > 0))
    for name, why in outcome.failed.items():
        print(f"{name} failed: {why}", file=sys.stderr)
    return int(red > 0 or bool(outcome.failed))


def pieces(args: argparse.Namespace, device: torch.device, command: str) -> list[Piece]:
    """All that there is to do, what matters most first."""
    from harness.gpu import checks, layers
    from harness.gpu.plan import Piece, recorded

    folder, about = args.out / CARD / mark(device), partial(origin, device)
    found = [recorded("card", "card", GUESSED["card"], folder, lambda: [about() | identity(device)],
                      about() | {"metric": "card"})]  # fmt: skip
    for backend, spec in ((backend, spec) for backend, specs in checks.SERVED.items() for spec in specs):
        null = about() | {"variant": spec, "backend": backend, "metric": "parity"}
        kind, name = f"checks by {backend}", re.sub(r"[^\w.-]+", "-", f"check-{backend}-{spec}").strip("-")
        found.append(recorded(name, kind, GUESSED[kind], folder,
                              partial(checks.rows, backend, spec, about(), device), null))  # fmt: skip
    from harness.jobs.cell import execute
    from harness.jobs.plan import StudyArm, cells_of, experiment_of, import_torch
    from harness.results import store
    from harness.run.program import plan_of
    from variants.registry import expand

    import_torch()
    variants = tuple(dict.fromkeys(["sa", *(variant for variant, _ in expand(args.variants))]))

    def of_study(study: Study, kind: str) -> Iterator[Piece]:
        experiment = experiment_of(StudyArm(study), (), str(device))  # nothing is tried out before: that takes minutes

        def work(cell: Cell) -> str | None:
            described = study.described(command) | {"images": str(experiment.data.facts)}
            store.write_recipe(args.out / MODELS, study.recipe_hash, described | plan_of(study, variants[1:], None))
            return execute(cell, args.out / MODELS, lambda *given: None)

        for cell in cells_of(experiment, variants):
            yield Piece(f"{study.name} {cell.name}", kind, GUESSED[kind], partial(cell.done, args.out / MODELS),
                        partial(work, cell))  # fmt: skip

    for px in PIXELS:
        found += of_study(models(px), "models")
    for side in layers.IMAGES:
        null = about() | {"metric": "layer_forward_ms"}
        found.append(recorded(f"layer-{side}x{side}", "layers", GUESSED["layers"], folder,
                              partial(layers.rows, side, about(), device), null))  # fmt: skip
    found += of_study(replace(PRESETS[DEFAULT](), measure=("accuracy",)), "training")
    return found


def models(px: int) -> Study:
    """DeiT-S in bfloat16 at one resolution, in batches of 64, timed alone."""
    made = PRESETS["speed"]()
    recipe = replace(made.recipe, batch_size=64)
    return replace(
        made, name=f"gpu-{px}", size="small", num_heads=None, img_size=px, resolutions=(px,), recipe=recipe,
        measure=("speed",), precision="bfloat16", note="",
    )  # fmt: skip


def origin(device: torch.device) -> Row:
    """What all rows of a run have in common, beside its cells'."""
    from harness.results import provenance

    return {
        "study": "gpu", "variant": "sa", "device": device.type, "code": provenance.code(),
        "machine": provenance.machine(), "versions": provenance.versions(), "when": provenance.now(),
    }  # fmt: skip


def identity(device: torch.device) -> Row:
    """The card as torch and nvidia-smi know it: one row, whose value is its memory."""
    import torch

    if device.type != "cuda":
        return {"metric": "card", "value": None, "note": f"no card: this ran on {device}"}
    properties = torch.cuda.get_device_properties(device)
    params: dict[str, Any] = {"name": properties.name, "capability": f"{properties.major}.{properties.minor}",
                              "multiprocessors": properties.multi_processor_count}  # fmt: skip
    try:
        command = ["nvidia-smi", f"--query-gpu={ASKED}", "--format=csv,noheader", f"--id=GPU-{properties.uuid}"]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
        params |= dict(zip(ASKED.split(","), (word.strip() for word in told.split(",")), strict=True))
    except (OSError, ValueError, subprocess.SubprocessError):
        params["nvidia-smi"] = "did not answer"
    return {"metric": "card", "value": properties.total_memory / 2**30, "unit": "GiB", "params": params}


def show(found: list[Piece], seconds: float) -> None:
    """The plan: each piece with its seconds, and which of them fit."""
    total = 0.0
    for piece in found:
        total += piece.seconds
        print(f"{piece.seconds:5.0f} s  {piece.name}{'' if total <= seconds else '  (if time is left)'}")
    print(f"{total:5.0f} s  all {len(found)} pieces; {seconds:.0f} s are given")


def mark(device: torch.device) -> str:
    """The folder of a card's rows: its name, and a digest of the source that is measured."""
    import torch

    from harness.gpu import ahead

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{'-'.join(re.findall(r'[A-Za-z0-9]+', name))}-{ahead.source()[:8]}"


def summary(folder: Path) -> tuple[str, int]:
    """The layers' table and the red checks, in words, and how many are red."""
    from harness.results import store

    rows = store.load(folder)
    checked = rows[rows["metric"].isin(["parity", "train_parity"])]
    red = checked[checked["note"].notna()]
    lines = [f"{len(checked) - len(red)} of {len(checked)} comparisons with eager hold"]
    lines += [f"  {row.backend} {row.variant} {row.precision}: {row.note}" for row in red.itertuples()]
    ratios = rows[rows["metric"].isin(["layer_forward_ratio", "layer_training_ratio"]) & rows["value"].notna()]
    if len(ratios):
        lines.append("time of the attention alone, over plain attention's by torch's fused kernel")
        lines.append(ratios.pivot_table(index=["variant", "backend"], columns=["metric", "grid"], values="value")
                     .round(3).to_string())  # fmt: skip
    return "\n".join(lines), len(red)
