"""How long the cells of an order will take, from a few steps of each variant on this machine."""

from __future__ import annotations

from math import prod

import torch

from harness.jobs.cell import Cell
from harness.jobs.cells import plan
from harness.jobs.experiment import Bench
from harness.jobs.kinds.conditions import conditions
from harness.jobs.plan import Order
from harness.measure.timing.clock import seconds
from harness.measure.timing.interleave import LEAST_S, Subject

PIXELS = {"cpu": 64 * 32 * 32, "cuda": 256 * 224 * 224}  # of a trial batch: a full one of large images is too slow


def estimate(order: Order, missing: list[Cell]) -> float:
    """Seconds for the missing cells, one after another, or `jobs` trainings at a time."""
    total = 0.0
    for lot in order.lots:
        bench = order.bench(lot, here=not order.place)
        steps = {variant: a_step(bench, variant) for variant in lot.variants}
        wanted = {cell.key for cell in missing}
        mine = [cell for cell in plan(bench, [*lot.variants]) if cell.key in wanted]
        total += sum(cell.updates * steps[cell.variant] for cell in mine if cell.variant) / bench.study.jobs
        if any(cell.name == "speed" for cell in mine):
            total += timing(bench, steps)
    return total


def a_step(bench: Bench, variant: str) -> float:
    """Seconds of a training step, on this process's share of the cores, by the fastest of three."""
    recipe, jobs = bench.study.recipe, bench.study.jobs
    few = max(2, min(recipe.batch_size, PIXELS[bench.device.type] // prod(bench.image)))
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // jobs))
    try:
        images, labels = bench.batch(few, bench.image)
        step = Subject(bench.model(variant), images, labels, recipe).training()
        step()
        return min(seconds(step, 1, bench.device) for _ in range(3)) * recipe.batch_size / few
    finally:
        torch.set_num_threads(threads)


def timing(bench: Bench, steps: dict[str, float]) -> float:
    """Seconds of the speed cell: a forward is a third of a step, and both grow with the pixels."""
    planned, batch_size = conditions(bench), bench.study.recipe.batch_size
    total = sum(2 * LEAST_S * c.rounds for c in planned)  # the second copy of the baseline and the matmul
    for a_step in steps.values():
        for c in planned:
            share = (1.0 if c.training else 1 / 3) * c.batch_size / batch_size * prod(c.size) / prod(bench.image)
            total += c.rounds * max(LEAST_S, 1.2 * share * a_step)
    return total
