"""From a study to its cells: which variants take part, in each arm of it, on which device.

A `RunPlan` is all that another process needs to plan the very same cells. Their order is seed by seed, so that an
interrupted study is balanced.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from harness.jobs.processes import uninterrupted
from harness.jobs.study import VARIANTS, Study
from harness.results.metrics import MEASUREMENTS
from harness.training.recipe import ANNOTATE

if TYPE_CHECKING:
    import torch

    from harness.data import Dataset
    from harness.jobs.cell import Cell
    from harness.jobs.experiment import Experiment, ModelSpec
    from harness.results.store import Row


@dataclass(frozen=True)
class StudyArm:
    """One arm of a study: what is held fixed, the variants that take part, the sentences of those that cannot."""

    study: Study
    variants: tuple[str, ...] = ()
    widened: Mapping[str, ModelSpec] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunPlan:
    """What a run is to do, and on which device. place: "", or the Slurm partition whose nodes do it."""

    files: tuple[Path, ...]
    device: str
    arms: tuple[StudyArm, ...]
    place: str = ""

    def experiment(self, arm: StudyArm, slot: int = 0, here: bool = True) -> Experiment:
        """The experiment of one of its arms; not `here`, it only plans what other machines do, on the CPU."""
        made = experiment_of(arm, self.files, self.device if here else "cpu", slot)
        return replace(made, place=self.place, device_type=self.device.partition(":")[0] if self.place else "")

    def teach(self, slot: int, make: bool) -> RunPlan:
        """The plan with what stands for each arm's label maps or teacher; make: these are made if needed.

        On as many cores as a training, so that they are the same wherever they are made; what is pretrained learns
        nothing, and takes all. Raises ValueError for what is not available or does not fit the images.
        """
        from harness.jobs import lesson
        from harness.jobs.local import on_cores

        arms = []
        for arm in self.arms:
            anew = replace(arm, study=replace(arm.study, taught=""))  # of which any content is right
            experiment = self.experiment(anew, slot, here=not self.place)
            if experiment.words is not None:
                pretrained = experiment.words.removeprefix(ANNOTATE).startswith("timm:")
                with on_cores(None if pretrained else experiment.cores):
                    taught = experiment.lesson.digest if make else lesson.known(experiment)
                arm = replace(arm, study=replace(arm.study, taught=taught))
            arms.append(arm)
        return replace(self, arms=tuple(arms))


def plan_run(study: Study, files: tuple[Path, ...], device: str, asked: str | None, place: str = "") -> RunPlan:
    """Checks everything before any work. Raises ValueError for what is not available.

    With a place, the Slurm partition that does it, variants are tried out on the CPU.
    """
    import_torch()
    from harness import distributed
    from harness.jobs import checks, memory
    from harness.jobs.size_matched import widened
    from harness.jobs.variant_file import load
    from variants.registry import canonical

    brought = ",".join(name for path in files for name in load(path).names)
    text = asked if asked is not None else brought or study.variants or VARIANTS
    study = replace(study, baseline=canonical(study.baseline))
    arms = []
    for arm in study.arms():
        experiment = experiment_of(StudyArm(arm), files, "cpu" if place else device, distributed.slot())
        checks.check(experiment)
        check_measurements(experiment)
        if not place:  # what a node of Slurm has is not known here
            memory.check(experiment)
        variants, refused = choose(experiment, text)
        extra = widened(experiment, variants)
        arm = replace(arm, jobs=1 if place else jobs_of(experiment, variants))
        arms.append(StudyArm(arm, (*variants, *extra), extra, refused))
    return RunPlan(files, device, tuple(arms), place)


def check_measurements(experiment: Experiment) -> None:
    """Raises ValueError where a measurement that is asked for cannot be made on this dataset."""
    for kind in MEASUREMENTS:
        if kind in experiment.study.measure:
            obstacle = getattr(import_module(f"harness.measure.{kind}"), "obstacle", lambda data: None)
            if (why := obstacle(experiment.data)) is not None:
                raise ValueError(why)


def cells(run: RunPlan, slot: int = 0, here: bool = True) -> list[Cell]:
    """The cells of all arms: costs and timings first, then what tunes, then the trainings seed by seed.

    slot: the number of the process that asks, which takes the GPU of that number where there are several. here: whether
    this machine is to run them.
    """
    found = [cell for arm in run.arms for cell in cells_of(run.experiment(arm, slot, here), arm.variants)]
    return sorted(found, key=lambda cell: cell.turn)


def cells_of(experiment: Experiment, variants: Sequence[str]) -> Iterator[Cell]:
    """The cells of one experiment: each training before what reads its weights."""
    from harness.jobs.kinds.cost import Cost
    from harness.jobs.kinds.finetuning import Finetuned
    from harness.jobs.kinds.measured import Measured
    from harness.jobs.kinds.speed import Speed
    from harness.jobs.kinds.training import Trained
    from harness.jobs.kinds.tuning import Tuned

    study, wanted = experiment.study, experiment.study.measure
    if "cost" in wanted:
        yield Cost(experiment, variants)
    if "speed" in wanted:
        yield Speed(experiment, variants)
    if "accuracy" not in wanted:
        return
    tunings = {variant: Tuned(experiment, variant) for variant in variants} if study.rates else {}
    yield from tunings.values()
    for seed in study.seeds:
        trainings = [Trained(experiment, v, seed, f, tunings.get(v)) for f in study.train_fractions for v in variants]
        yield from trainings
        if study.finetune_epochs:
            yield from (Finetuned(experiment, cell, size) for cell in trainings for size in experiment.resolutions[1:])
        for kind in MEASUREMENTS:
            if kind in wanted:
                yield from (Measured(experiment, cell, kind) for cell in trainings)


def refusals(experiment: Experiment, refused: Mapping[str, str]) -> list[Row]:
    """A null row with its sentence for each variant that a family brought and that cannot be built."""
    return [
        experiment.row(variant, cell="refused", kind="refused", source_hash=f"+{experiment.source_of(variant)}",
                       metric="params", value=None, unit="1", note=note)
        for variant, note in refused.items()
    ]  # fmt: skip


def experiment_of(arm: StudyArm, files: tuple[Path, ...], device: str, slot: int = 0) -> Experiment:
    """The experiment of an arm."""
    import_torch()
    from harness.jobs.experiment import Experiment
    from harness.jobs.local import without_denormals
    from harness.jobs.variant_file import load

    without_denormals()
    for path in files:
        load(path)
    study = arm.study
    images = dataset(study.dataset, study.data_dir, study.background, study.allow_skipped, **study.placing)
    return Experiment(study, images, device_of(device, slot), arm.widened)


@cache
def dataset(
    name: str,
    data_dir: str | None,
    background: str | None = None,
    allow_skipped: float = 0.01,
    **placing: int | None,
) -> Dataset:
    """The images, read once a process."""
    from harness import data

    return data.load(name, data_dir, 0, background=background or "white", allow_skipped=allow_skipped, **placing)


def choose(experiment: Experiment, text: str) -> tuple[list[str], dict[str, str]]:
    """The variants that take part, the baseline first, and the sentence for each that a family brought in vain.

    Raises ValueError for one that was asked for by name and cannot be built or executed.
    """
    from variants.registry import expand

    baseline = experiment.study.baseline
    asked = {baseline: True} | {variant: named for variant, named in expand(text) if variant != baseline}
    taking_part, refused = [], {}
    for variant, by_name in asked.items():
        try:
            experiment.try_out(variant)
        except ValueError as error:
            if by_name:
                raise ValueError(f"{variant}: {error}") from error
            refused[variant] = str(error)
        else:
            taking_part.append(variant)
    return taking_part, refused


def jobs_of(experiment: Experiment, variants: Sequence[str] = ()) -> int:
    """How many trainings run at a time: as asked, else as the CPU has cores and memory for, and one on a GPU."""
    from harness import distributed
    from harness.jobs import memory
    from harness.results.provenance import cores
    from variants.registry import parse

    study = experiment.study
    if any(part.cls.__module__ == "__main__" for variant in variants for part in parse(variant)):
        return 1  # a variant that a script or a notebook registered: other processes do not have it
    if study.jobs is not None:
        return study.jobs
    if experiment.device.type != "cpu" or distributed.asked() > 1:
        return 1
    return max(1, min(cores() // study.threads, memory.at_once(experiment)))


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


def import_torch() -> None:
    """Imports torch and timm without their notes; Ctrl-C waits for the end of it.

    In the midst of it Ctrl-C would leave modules half made, or end Python without a word from an extension.
    """
    quiet()
    with uninterrupted():
        import timm  # noqa: F401
        import torch  # noqa: F401


def quiet() -> None:
    """Keeps the notes of torch's and timm's imports to themselves; called before these."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own notes
    warnings.filterwarnings("ignore", message=".*torch.jit", category=FutureWarning)  # of timm's import
