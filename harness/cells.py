"""The cells of a study: one of exact costs, one of timings, and a training for each variant and seed."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from harness import results
from harness.bench import Bench
from harness.cell import Cell, Tick
from harness.measure import cost, parity
from harness.speed_cell import speed_cell
from harness.train import train


def plan(bench: Bench, variants: list[str]) -> list[Cell]:
    """The cells of a study: costs, timings, then trainings seed by seed, so that an interrupted study is balanced."""
    wanted, found = bench.study.measure, []
    if "cost" in wanted:
        found.append(cost_cell(bench, variants))
    if "speed" in wanted:
        found.append(speed_cell(bench, variants))
    if "accuracy" in wanted:
        found += [training_cell(bench, variant, seed) for seed in bench.study.seeds for variant in variants]
    return found


def refusals(bench: Bench, refused: dict[str, str]) -> list[results.Row]:
    """A null row with its sentence for each variant that a family brought and that cannot be built."""
    return [bench.row(v, "refused", metric="params", value=None, unit="1", note=note) for v, note in refused.items()]


def training_cell(bench: Bench, variant: str, seed: int) -> Cell:
    """Trains one variant with one seed, then reads the test split once at every resolution."""
    key = bench.key([variant], "accuracy", seed)

    def rows(tick: Tick) -> tuple[list[results.Row], Tensor | None]:
        data, recipe = bench.data, bench.study.recipe
        model = bench.model(variant, seed)
        start = time.perf_counter()
        losses = train(model, bench.train_images, bench.train_labels, recipe, seed, tick)
        seconds = time.perf_counter() - start
        found = [{"metric": "loss", "value": loss, "unit": "nat", "epoch": e + 1} for e, loss in enumerate(losses)]
        found.append({"metric": "train_s", "value": seconds, "unit": "s"})
        found.append(accuracy_fact("val_top1", bench.right(model, data.val_x, data.val_y, bench.image)))
        each = [bench.right(model, data.test_x, data.test_y, size) for size in bench.resolutions]
        found += [accuracy_fact("top1", r) | {"test": size} for r, size in zip(each, bench.resolutions, strict=True)]
        common = {"seed": seed, "backend": model.executes(bench.train_images[: recipe.batch_size])}
        last = {"epoch": recipe.epochs}
        return [bench.row(variant, key, **common, **(last | fact)) for fact in found], torch.stack(each)

    def failed(note: str) -> list[results.Row]:
        return [bench.row(variant, key, metric="top1", value=None, unit="%", seed=seed, note=note)]

    return Cell(f"{variant} seed {seed}", key, bench.study.recipe.epochs, rows, failed)


def cost_cell(bench: Bench, variants: list[str]) -> Cell:
    """What is exact: parameters and GMAC of every variant, and its proof against its paper."""
    key = bench.key(variants, "cost", parity.recorded())

    def rows(tick: Tick) -> tuple[list[results.Row], Tensor | None]:
        found = []
        for variant in variants:
            model = bench.model(variant)
            found.append(bench.row(variant, key, metric="params", value=cost.params(model), unit="1"))
            try:
                counted: dict[str, Any] = {"value": cost.count(model, bench.train_images[:1])}
            except NotImplementedError as error:  # an operation that the counter does not know costs this variant alone
                counted = {"value": None, "note": str(error)}
            found.append(bench.row(variant, key, metric="gmac", unit="GMAC", batch_size=1, **counted))
            found.append(bench.row(variant, key, **parity.badge(variant)))
            tick()
        return found, None

    def failed(note: str) -> list[results.Row]:
        return [bench.row(variant, key, metric="gmac", value=None, unit="GMAC", note=note) for variant in variants]

    return Cell("cost", key, len(variants), rows, failed)


def accuracy_fact(metric: str, right: Tensor) -> dict[str, Any]:
    """The share of a bool [n] as a fact, in percent."""
    return {"metric": metric, "value": 100 * float(right.float().mean()), "unit": "%", "n": len(right)}
