"""How long a binarised prior takes: the spatial layers with a mask over the same layers as trained, round by round.

Every backend that can execute the masks is timed: the study's own choice, sdpa with the mask, gathered keys, and
FlexAttention's blocks, which compile for seconds before. What differs from the plain formula, or cannot be compiled,
is a null row with its sentence.
"""

from __future__ import annotations

import contextlib
import copy
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.backbone.vit import ViT, grid_for
from harness.binarize.accuracy import TOKENS, Arm, OfArm, chosen, counted, dense, loaded, product
from harness.binarize.gathered import Gathered
from harness.binarize.masks import binarise, priors_of
from harness.jobs.cell import Tick
from harness.jobs.experiment import Experiment, Size
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
Fact = dict[str, Any]


@dataclass(frozen=True, eq=False)
class MaskedTimes(OfArm):
    """The time of the spatial layers with a mask over that of the trained ones, on several grids, round by round."""

    arms: Sequence[Arm]

    kind = "binarized-times"
    metric = "kept_ratio"

    @property
    def name(self) -> str:
        return f"{self.variant} {self.trained.name} times"

    @property
    def sizes(self) -> list[Size]:
        return list(dict.fromkeys([*self.experiment.resolutions, *larger(self.experiment)]))

    @property
    def work(self) -> int:
        return ROUNDS * len(self.sizes)

    def settings(self) -> Sequence[Any]:
        return [self.trained.key, [asdict(arm) for arm in self.arms], ROUNDS, LARGER, self.experiment.hardware()]

    def run(self, folder: Path, tick: Tick) -> Iterator[store.Row]:
        model = loaded(self.experiment, self.trained).eval()
        for size in self.sizes:
            for arm, fact in timed(self.experiment, model, self.arms, size, tick):
                yield self.row(self.variant, test=size, **fact) if arm is None else self.arm_row(arm, test=size, **fact)


def larger(experiment: Experiment) -> list[Size]:
    """The sizes in pixels of the larger grids that the study does not have; none smaller than its largest."""
    patch = experiment.study.patch_size
    most = max(h * w for h, w in experiment.resolutions)
    return [(patch * h, patch * w) for h, w in LARGER if patch * patch * h * w > most]


@torch.no_grad()
def timed(
    experiment: Experiment, model: ViT, every: Sequence[Arm], size: Size, tick: Tick
) -> list[tuple[Arm | None, Fact]]:
    """(arm, or None for the variant as trained, fact): time ratios by backend, the A/A ratio, pairs and GMACs."""
    grid = grid_for(size, experiment.study.patch_size)
    layers = [number for number, block in enumerate(model.blocks) if priors_of(block.attn.relation)]
    batch = max(1, min(64, TOKENS // (grid[0] * grid[1])))
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(batch, grid[0] * grid[1], model.size.width, generator=draw).to(experiment.device)
    plain = [model.blocks[number].attn for number in layers]
    ran = "+".join(sorted({one.executes(x, grid) for one in plain}))
    about = {"layers": len(layers), "over": ran} | ({"class_token": False} if model.size.class_token == "input" else {})
    gmac = dense(experiment, every[0].variant, size)
    works: dict[str, interleave.Work] = {name: partial(through, plain, x, grid) for name in ("", AGAIN)}
    ratios: dict[str, tuple[Arm, Fact]] = {}
    touched = [*plain]
    facts: list[tuple[Arm | None, Fact]] = []
    for arm in every:
        tables = chosen(experiment, model, arm, [size])
        masked = []
        for number in layers:
            masked.append(copy.deepcopy(model.blocks[number].attn))
            binarise(masked[-1], tables[number], arm.form)
            masked[-1].eval()
        if size != experiment.image:  # at the training size they are counted with the accuracy, seed by seed
            facts += [(arm, fact) for fact in counted(model, gmac, tables, grid)]
        truth = through([backed(one, "eager") for one in masked], x, grid)
        for backend, these in candidates(masked, x, grid).items():
            refused = obstacle(these, truth, x, grid)
            if refused:
                null = {"metric": "kept_ratio", "value": None, "unit": "1", "backend": backend, "note": refused}
                facts.append((arm, null | {"batch_size": batch}))
                continue
            params: Fact = about
            if backend == "gathered":
                executed = sum(one.plan.executed for one in these if isinstance(one, GatheredAttention))
                spared = len(layers) * model.size.num_heads * len(x[0]) ** 2 - executed
                fact = {"metric": "kept_executed_gmac", "value": gmac - product(model, spared), "unit": "GMAC"}
                facts.append((arm, fact | {"backend": backend}))
            elif backend == "flex":
                params = about | {"blocks": round(blocks(these, x, grid))}
            name = f"{arm.name} {backend}"
            touched += these
            works[name], ratios[name] = partial(through, these, x, grid), (arm, {"backend": backend, "params": params})
    with contextlib.ExitStack() as kept:
        for layer in touched:
            kept.enter_context(layer.keep_terms())
        samples = interleave.interleave(works, ROUNDS, experiment.device, tick)
    where = {"batch_size": batch, "precision": "float32"}  # the layers alone, without the model's autocast
    aa = interleave.ratio("kept_aa_ratio", samples[AGAIN], samples[""])
    facts.append((None, aa | where | {"backend": ran}))
    milliseconds = {"metric": "kept_plain_ms", "value": 1e3 * statistics.median(samples[""]), "unit": "ms",
                    "n": ROUNDS, "samples": samples[""]}  # fmt: skip
    facts.append((None, milliseconds | where | {"backend": ran}))
    for name, (arm, how) in ratios.items():
        facts.append((arm, interleave.ratio("kept_ratio", samples[name], samples[""]) | where | how))
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
