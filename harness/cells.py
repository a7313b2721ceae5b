"""Cells: the independent pieces of a study, each hashed by what it depends on and recorded whole or not at all.

A training cell is (variant, seed); one cell holds the exact costs and one the interleaved timings of all variants. A
cell whose file is there is done, so the same command goes on where it was interrupted. Changed source gives a cell
another hash: what was recorded stays, and the report calls it stale.
"""

from __future__ import annotations

import io
import math
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness import results
from harness.bench import Bench
from harness.measure import cost, memory, parity, speed
from harness.train import train

Tick = Callable[[], None]


@dataclass(frozen=True)
class Cell:
    """One piece of work: `work` is the number of its ticks, `rows` does it."""

    name: str
    key: str
    work: int
    rows: Callable[[Tick], tuple[list[results.Row], Tensor | None]]
    failed: Callable[[str], list[results.Row]]

    def path(self, folder: Path) -> Path:
        slug = re.sub(r"[^A-Za-z0-9_.=-]+", "-", self.name).strip("-")[:80]
        return folder / f"{slug}-{self.key}.jsonl"

    def done(self, folder: Path) -> bool:
        path = self.path(folder)
        return path.exists() and path.stat().st_size > 0

    def run(self, folder: Path, tick: Tick) -> str | None:
        """Does the work and records it; returns the sentence of what went wrong, which is recorded too."""
        path = self.path(folder)
        failure = path.with_suffix(".failed.jsonl")
        try:
            rows, right = self.rows(tick)
        except Exception as error:  # one cell must not cost the others; the traceback is kept, the exit code tells
            sentence = f"{type(error).__name__}: {error}"
            results.write(failure, self.failed(f"{sentence}\n{traceback.format_exc()}"))
            return sentence
        if right is not None:
            packed = io.BytesIO()
            np.save(packed, right.cpu().numpy(), allow_pickle=False)
            results.write_bytes(path.with_suffix(".correct.npy"), packed.getvalue())
        results.write(path, rows)
        failure.unlink(missing_ok=True)
        return None


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
        common = {"seed": seed, "backend": model.executes(bench.train_images[:1])}
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


def speed_cell(bench: Bench, variants: list[str]) -> Cell:
    """Inference and training throughput of all variants in the same interleaved rounds, and their peak memory."""
    key = bench.key(variants, "speed", bench.study.baseline, bench.study.speed_rounds, bench.hardware())
    baseline, again = bench.study.baseline, f"{bench.study.baseline}, a second copy"

    def rows(tick: Tick) -> tuple[list[results.Row], Tensor | None]:
        images, labels = bench.batch()
        models = {name: bench.model(baseline if name == again else name) for name in [*variants, again]}
        ran = {name: model.executes(images) for name, model in models.items()}
        found: list[results.Row] = []
        for variant in variants:
            gap = parity.parity(models[variant], images)
            red = not gap <= parity.GATE["float32"]
            note = f"differs from eager by {gap:.1e}, so its speed is not measured" if red else None
            value = gap if math.isfinite(gap) else None
            found.append(
                bench.row(variant, key, metric="parity", value=value, unit="1", backend=ran[variant], note=note)
            )
            if red:
                del models[variant]
        subjects = {name: speed.Subject(model, images, labels, bench.study.recipe) for name, model in models.items()}
        for prefix, work in (("", "inference"), ("train_", "training")):
            works = {name: getattr(subject, work)() for name, subject in subjects.items()}
            samples = speed.interleave(works, bench.study.speed_rounds, bench.device, tick)
            for name, subject in subjects.items():
                facts = []
                if name == again:
                    facts.append(speed.ratio(f"{prefix}aa_ratio", samples[again], samples[baseline]))
                elif name != baseline:
                    facts.append(speed.ratio(f"{prefix}ratio", samples[name], samples[baseline]))
                if name != again:
                    peak = memory.peak_mib(works[name], subject.held(), bench.device)
                    facts.append(speed.rate(f"{prefix}images_per_s", samples[name], len(images)))
                    facts.append({"metric": f"{prefix}peak_mib", "value": peak, "unit": "MiB"})
                about = baseline if name == again else name
                found += [bench.row(about, key, backend=ran[name], **fact) for fact in facts]
        return found, None

    def failed(note: str) -> list[results.Row]:
        return [bench.row(v, key, metric="images_per_s", value=None, unit="1/s", note=note) for v in variants]

    return Cell("speed", key, 2 * bench.study.speed_rounds, rows, failed)


def accuracy_fact(metric: str, right: Tensor) -> dict[str, Any]:
    """The share of a bool [n] as a fact, in percent."""
    return {"metric": metric, "value": 100 * float(right.float().mean()), "unit": "%", "n": len(right)}
