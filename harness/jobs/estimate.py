"""How long the cells of an order will take, from a few steps of each variant on this machine."""

from __future__ import annotations

from math import prod

from harness.jobs.cell import Cell
from harness.jobs.experiment import Experiment
from harness.jobs.kinds.conditions import conditions
from harness.jobs.local import on_cores
from harness.jobs.plan import RunPlan, cells_of
from harness.measure.timing.clock import seconds
from harness.measure.timing.interleave import LEAST_S, Subject

PIXELS = {"cpu": 64 * 32 * 32, "cuda": 256 * 224 * 224}  # of a trial batch: a full one of large images is too slow


def estimate(run: RunPlan, missing: list[Cell]) -> float:
    """Seconds for the missing cells, one after another, or `jobs` trainings at a time."""
    total = 0.0
    for arm in run.arms:
        experiment = run.experiment(arm, here=not run.place)
        steps = {variant: a_step(experiment, variant) for variant in arm.variants}
        wanted = {cell.key for cell in missing}
        mine = [cell for cell in cells_of(experiment, arm.variants) if cell.key in wanted]
        total += sum(cell.updates * steps[cell.variant] for cell in mine if cell.variant) / experiment.study.at_a_time
        if any(cell.kind == "speed" for cell in mine):
            total += timing(experiment, steps)
    return total


def a_step(experiment: Experiment, variant: str) -> float:
    """Seconds of a training step, on as many cores as a training has, by the fastest of three."""
    recipe = experiment.study.recipe
    few = max(2, min(recipe.batch_size, PIXELS[experiment.device.type] // prod(experiment.image)))
    with on_cores(experiment.cores):
        images, labels = experiment.batch(few, experiment.image)
        step = Subject(experiment.model(variant), images, labels, recipe).training()
        step()
        return min(seconds(step, 1, experiment.device) for _ in range(3)) * recipe.batch_size / few


def timing(experiment: Experiment, steps: dict[str, float]) -> float:
    """Seconds of the speed cell: a forward is a third of a step, and both grow with the pixels."""
    planned, batch_size = conditions(experiment), experiment.study.recipe.batch_size
    total = sum(2 * LEAST_S * c.rounds for c in planned)  # the second copy of the baseline and the matmul
    for a_step in steps.values():
        for c in planned:
            share = (1.0 if c.training else 1 / 3) * c.batch_size / batch_size * prod(c.size) / prod(experiment.image)
            total += c.rounds * max(LEAST_S, 1.2 * share * a_step)
    return total
