"""From a study to its cells: which variants take part, in each arm of it, on which device.

An `Order` is all that another process needs to plan the very same cells.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.jobs.size_matched import Arm
from harness.jobs.study import VARIANTS, Study

if TYPE_CHECKING:
    import torch

    from harness.data import Dataset
    from harness.jobs.cell import Cell
    from harness.jobs.experiment import Bench


@dataclass(frozen=True)
class Lot:
    """One arm of a study: what is held fixed, the variants that take part, the sentences of those that cannot."""

    study: Study
    variants: tuple[str, ...]
    widened: Mapping[str, Arm]
    refused: Mapping[str, str]


@dataclass(frozen=True)
class Order:
    """What a run is to do, and on which device. place: "", or the Slurm partition whose nodes do it."""

    files: tuple[Path, ...]
    device: str
    lots: tuple[Lot, ...]
    place: str = ""

    def bench(self, lot: Lot, slot: int = 0, here: bool = True) -> Bench:
        """The bench of one of its arms; not `here`, it only plans what other machines do, on the CPU."""
        made = bench_of(lot, self.files, self.device if here else "cpu", slot)
        return replace(made, place=self.place, kind=self.device.partition(":")[0] if self.place else made.device.type)


def order(study: Study, files: tuple[Path, ...], device: str, asked: str | None, place: str = "") -> Order:
    """Checks everything before any work. Raises ValueError for what is not to be had.

    With a place, the Slurm partition that does it, variants are tried out on the CPU.
    """
    quiet()
    from harness import distributed
    from harness.jobs.size_matched import widened
    from harness.jobs.variant_file import load
    from variants.registry import canonical

    brought = ",".join(name for path in files for name in load(path).names)
    text = asked if asked is not None else brought or study.variants or VARIANTS
    study = replace(study, baseline=canonical(study.baseline))
    lots = []
    for arm in study.arms():
        bench = bench_of(Lot(arm, (), {}, {}), files, "cpu" if place else device, distributed.slot())
        bench.check()
        variants, refused = choose(bench, text)
        extra = widened(bench, variants)
        lots.append(Lot(arm, (*variants, *extra), extra, refused))
    return Order(files, device, tuple(lots), place)


def cells(order: Order, slot: int = 0, here: bool = True) -> list[Cell]:
    """The cells of all arms: costs and timings first, then the trainings seed by seed.

    slot: the number of the process that asks, which takes the GPU of that number where there are several. here: whether
    this machine is to run them.
    """
    quiet()
    from harness.jobs.cells import plan

    found = [cell for lot in order.lots for cell in plan(order.bench(lot, slot, here), [*lot.variants])]
    return sorted(found, key=lambda cell: -1 if cell.seed is None else cell.seed)


def bench_of(lot: Lot, files: tuple[Path, ...], device: str, slot: int = 0) -> Bench:
    """The bench of an arm."""
    quiet()
    from harness.jobs.experiment import Bench
    from harness.jobs.variant_file import load

    digests = {name: load(path).digest for path in files for name in load(path).names}
    images = dataset(lot.study.dataset, lot.study.data_dir)
    return Bench(lot.study, images, device_of(device, slot), digests, lot.widened)


@cache
def dataset(name: str, data_dir: str | None) -> Dataset:
    """The images, read once a process."""
    from harness import data

    return data.load(name, data_dir)


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


def device_of(name: str, slot: int = 0) -> torch.device:
    """The device of that name, `auto` the best there is. Raises ValueError for one that is not there.

    Where the name leaves open which GPU, slots take them in turn.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"there is no device {name!r}; choose auto, cpu, cuda or cuda:0")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: torch sees no CUDA GPU here; use --device cpu or auto")
    if name == "cuda" and torch.cuda.device_count() > 1:
        return torch.device("cuda", slot % torch.cuda.device_count())
    device = torch.device(name)
    if (device.index or 0) >= torch.cuda.device_count() and device.type == "cuda":
        raise ValueError(f"--device {name}: there are {torch.cuda.device_count()} GPUs, counted from cuda:0")
    return device


def quiet() -> None:
    """Keeps the notes of torch's and timm's imports to themselves; called before these."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own notes
    warnings.filterwarnings("ignore", message=".*torch.jit", category=FutureWarning)  # of timm's import
