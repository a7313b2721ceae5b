"""How long a binarised prior takes: the spatial layers with a mask over the same layers as trained, round by round.

Every backend that can execute the masks is timed: the study's own choice, sdpa with the mask, gathered keys, and
FlexAttention's blocks, which compile for seconds before. What differs from the plain formula, or cannot be compiled,
is a null row with its sentence.
"""

from __future__ import annotations

import contextlib
import copy
import statistics
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.backbone.vit import ViT, grid_for
from harness.binarize.accuracy import TOKENS, Arm, Trained, chosen, counted, dense, loaded, product, row
from harness.binarize.gathered import Gathered
from harness.binarize.masks import binarise, priors_of
from harness.jobs.cell import Cell, Tick
from harness.jobs.experiment import Bench, Size
from harness.measure.timing import interleave
from harness.results import store
from variants import Attention, backends
from variants.backends import flex
from variants.geometry import Grid
from variants.relation import Unsupported

ROUNDS = 10  # interleaved ones
LARGER = ((14, 14), (32, 32))  # grids that are timed beside the study's own
CLOSE = 1e-4  # how far what is timed may lie from the plain formula, of its largest number
AGAIN = "again"


def timing_cell(bench: Bench, trained: Trained, every: list[Arm]) -> Cell:
    """The time of the spatial layers with a mask over that of the trained ones, on several grids, round by round."""
    variant = trained.variant
    key = bench.key([variant], "kept times", trained.key, [asdict(a) for a in every], ROUNDS, LARGER, bench.hardware())
    patch = bench.study.patch_size
    sizes = list(dict.fromkeys([*bench.resolutions, *larger(bench)]))

    def rows(tick: Tick, folder: Path) -> tuple[list[store.Row], Tensor | None]:
        model = loaded(bench, trained).eval()
        found = []
        for size in sizes:
            for name, fact in timed(bench, model, every, size, tick):
                found.append(row(bench, name, variant, key, test=size, **trained.about, **fact))
        return found, None

    def failed(note: str) -> list[store.Row]:
        null = {"metric": "kept_ratio", "value": None, "unit": "1", "note": note}
        return [row(bench, variant, variant, key, **trained.about, **null)]

    assert all(side % patch == 0 for size in sizes for side in size)
    return Cell(f"{variant} {trained.name} times", key, ROUNDS * len(sizes), rows, failed, variant, trained.seed)


def larger(bench: Bench) -> list[Size]:
    """The sizes in pixels of the larger grids that the study does not have; none smaller than its largest."""
    patch = bench.study.patch_size
    most = max(h * w for h, w in bench.resolutions)
    return [(patch * h, patch * w) for h, w in LARGER if patch * patch * h * w > most]


@torch.no_grad()
def timed(bench: Bench, model: ViT, every: list[Arm], size: Size, tick: Tick) -> list[tuple[str, dict[str, Any]]]:
    """(arm or variant, fact): time ratios by backend, the baseline's own second copy, pairs and GMACs."""
    grid = grid_for(size, bench.study.patch_size)
    layers = [number for number, block in enumerate(model.blocks) if priors_of(block.attn.relation)]
    batch = max(1, min(64, TOKENS // (grid[0] * grid[1])))
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(batch, grid[0] * grid[1], model.size.width, generator=draw).to(bench.device)
    plain = [model.blocks[number].attn for number in layers]
    ran = "+".join(sorted({one.executes(x, grid) for one in plain}))
    bare = "; without the class token" if model.size.class_token == "input" else ""
    about = f"the {len(layers)} layers with the prior, over the same layers as trained, on {ran}{bare}"
    gmac = dense(bench, every[0].variant, size)
    works: dict[str, interleave.Work] = {name: partial(through, plain, x, grid) for name in ("", AGAIN)}
    ratios: dict[str, tuple[str, dict[str, Any]]] = {}
    facts: list[tuple[str, dict[str, Any]]] = []
    for arm in every:
        tables = chosen(bench, model, arm, [size])
        masked = []
        for number in layers:
            masked.append(copy.deepcopy(model.blocks[number].attn))
            binarise(masked[-1], tables[number], arm.form)
            masked[-1].eval()
        if size != bench.image:  # at the training size they are counted with the accuracy, seed by seed
            facts += [(arm.name, fact) for fact in counted(model, gmac, tables, grid)]
        truth = through([backed(one, "eager") for one in masked], x, grid)
        for backend, these in candidates(masked, x, grid).items():
            refused = obstacle(these, truth, x, grid)
            if refused:
                null = {"metric": "kept_ratio", "value": None, "unit": "1", "backend": backend, "note": refused}
                facts.append((arm.name, null | {"batch_size": batch}))
                continue
            note = about
            if backend == "gathered":
                executed = sum(one.plan.executed for one in these if isinstance(one, GatheredAttention))
                spared = len(layers) * model.size.num_heads * len(x[0]) ** 2 - executed
                fact = {"metric": "kept_executed_gmac", "value": gmac - product(model, spared), "unit": "GMAC"}
                facts.append((arm.name, fact | {"backend": backend, "note": "the pairs that gathering computes"}))
            elif backend == "flex":
                note += f"; {blocks(these, x, grid):.0f} % of the blocks are executed"
            name = f"{arm.name} {backend}"
            works[name], ratios[name] = partial(through, these, x, grid), (arm.name, {"backend": backend, "note": note})
    samples = interleave.interleave(works, ROUNDS, bench.device, tick)
    where = {"batch_size": batch, "precision": "float32"}  # the layers alone, without the model's autocast
    aa = interleave.ratio("kept_aa_ratio", samples[AGAIN], samples[""])
    facts.append((every[0].variant, aa | where | {"backend": ran}))
    milliseconds = {"metric": "kept_plain_ms", "value": 1e3 * statistics.median(samples[""]), "unit": "ms",
                    "n": ROUNDS, "samples": samples[""]}  # fmt: skip
    facts.append((every[0].variant, milliseconds | where | {"backend": ran}))
    for name, (arm_name, how) in ratios.items():
        facts.append((arm_name, interleave.ratio("kept_ratio", samples[name], samples[""]) | where | how))
    return facts


class GatheredAttention(Attention):
    """A layer with a mask that is executed by gathering."""

    plan: Gathered

    @staticmethod
    def of(layer: Attention, x: Tensor, grid: Grid) -> GatheredAttention:
        """Raises Unsupported for a class of its own, or terms beside prior and mask."""
        if type(layer) is not Attention:
            raise Unsupported(f"{type(layer).__name__} attends in its own way")
        made = GatheredAttention(layer.site, layer.relation, layer.qkv, layer.proj, backend="eager")
        made.plan = Gathered(layer.terms(x, grid), layer.num_heads)
        return made.eval()

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        return self.plan(q, k, v)


def candidates(layers: list[Attention], x: Tensor, grid: Grid) -> dict[str, list[Attention]]:
    """By backend: what can execute the masks, the study's own choice first."""
    terms = layers[0].terms(x, grid)
    found = {layers[0].executes(x, grid): layers}
    serving = backends.serving(terms, x.shape[1])
    for backend in ("sdpa", "flex"):
        if backend in serving:
            found[backend] = [backed(one, backend) for one in layers]
    with contextlib.suppress(Unsupported):  # the others remain
        found["gathered"] = [GatheredAttention.of(one, x, grid) for one in layers]
    return found


def obstacle(layers: list[Attention], truth: Tensor, x: Tensor, grid: Grid) -> str:
    """Why these layers are not timed: they are refused, or not the plain formula's `truth`; "" where they are."""
    try:
        out = through(layers, x, grid)
    except Unsupported as error:
        return str(error)
    gap = float((out - truth).abs().max() / truth.abs().max())
    if gap <= CLOSE:
        return ""
    return f"its output differs from eager's by {gap:.1e}, more than {CLOSE:.0e}, so it is not timed"


def blocks(layers: list[Attention], x: Tensor, grid: Grid) -> float:
    """Percent of the blocks of pairs that FlexAttention executes, a mean over the layers."""
    shares = []
    for layer in layers:
        masked, _ = flex.blocks(layer.terms(x, grid), layer.project(x, grid)[0], prefix=0)
        shares.append(100.0 if masked is None else 100 - masked.sparsity())
    return statistics.mean(shares)


def backed(layer: Attention, backend: str) -> Attention:
    one = copy.deepcopy(layer)
    one.backend = backend
    return one.eval()


def through(layers: list[Attention], x: Tensor, grid: Grid) -> Tensor:
    """x through the layers, one after another."""
    with torch.inference_mode():
        for layer in layers:
            x = layer(x, grid)
    return x
