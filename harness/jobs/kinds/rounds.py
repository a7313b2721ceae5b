"""The rounds of one condition: the gate, the interleaved timing, and what the samples say of each variant.

A variant takes part where its backend passes the gate on this very batch. Where the baseline does not, there are no
ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.backbone.vit import ViT
from harness.jobs.experiment import Experiment
from harness.jobs.kinds.conditions import Condition, Fact
from harness.measure import cost
from harness.measure.timing import interleave, memory
from harness.measure.timing.ceiling import FORWARDS, Ceiling
from harness.measure.timing.gate import gate
from harness.measure.timing.oom import unless_hopeless

AGAIN, MATMUL = "the baseline's second copy", "the matmul"


def timed(
    experiment: Experiment, models: dict[str, ViT], condition: Condition, tick: Callable[..., object], batch_size: int
) -> list[Fact]:
    """All facts of a condition, parity first, for the models by variant and the `AGAIN` of the baseline.

    `tick` is called after every round.
    """
    baseline, variants = experiment.study.baseline, [name for name in models if name != AGAIN]
    images, labels = experiment.batch(batch_size, condition.size)
    with torch.set_grad_enabled(condition.training):
        ran = {name: models[name].executes(images) for name in variants}
    found: list[Fact] = []
    red: dict[str, str] = {}
    for name in variants:
        parity, why = opened(models[name], images, labels, condition)
        found.append({"variant": name, "backend": ran[name]} | parity)
        if why is not None:
            red[name] = f"{ran[name]}: {why}"
    with torch.set_grad_enabled(condition.training):
        kernels = {name: models[name].sdpa_kernel(images) for name in variants if name not in red}
    green = {name: model for name, model in models.items() if (baseline if name == AGAIN else name) not in red}
    subjects = {
        name: interleave.Subject(model, images, labels, experiment.study.recipe) for name, model in green.items()
    }
    works = {name: one.training() if condition.training else one.inference() for name, one in subjects.items()}
    ceiling = Ceiling(experiment.device)
    matmul = {} if condition.prefix == "latency_" else {MATMUL: ceiling.work()}
    with ExitStack() as kept:
        for model in () if condition.training else green.values():  # from here on no weight changes
            kept.enter_context(model.keep_terms())
        samples = interleave.interleave(works | matmul, condition.rounds, experiment.device, tick)
        rounds = Rounds(condition, baseline, red, images, subjects, works, samples, ceiling)
        for variant, word in condition.asked(variants, baseline):
            kernel = kernels.get(variant) if word != "ceiling_gmac_per_s" else None
            how = {"backend": ran[variant]} | ({"params": {"kernel": kernel}} if kernel else {})
            found.append({"variant": variant} | how | rounds.fact(variant, word))
    return found


def opened(model: ViT, images: Tensor, labels: Tensor, condition: Condition) -> tuple[Fact, str | None]:
    """The gate; red for a model that has no room for a single image, so that it does not halve the batch of all."""
    found = unless_hopeless(
        lambda n: gate(model, images[:n], labels[:n], condition.training, model.precision), len(images)
    )
    if found is not None:
        return found
    red = "out of memory with a single image"
    return {"metric": "train_parity" if condition.training else "parity", "value": None, "unit": "1", "note": red}, red


@dataclass(frozen=True)
class Rounds:
    """What was timed, by name: `samples` are seconds a call, one a round; `red` has the sentence of what was not."""

    condition: Condition
    baseline: str
    red: dict[str, str]
    images: Tensor
    subjects: dict[str, interleave.Subject]
    works: dict[str, interleave.Work]
    samples: dict[str, list[float]]
    ceiling: Ceiling

    def fact(self, variant: str, word: str) -> Fact:
        """The fact of a variant's metric, less the prefix; null with a sentence where it could not be measured."""
        metric = self.condition.prefix + word
        if word == "ceiling_gmac_per_s":
            return self.ceiling.rate(metric, self.samples[MATMUL])
        if variant in self.red:
            return self.condition.null(variant, word, self.red[variant])
        mine = self.samples[variant]
        match word:
            case "ratio" if self.baseline in self.red:
                why = f"no ratio, since the baseline {self.baseline} is not timed: {self.red[self.baseline]}"
                return self.condition.null(variant, word, why)
            case "ratio":
                return interleave.ratio(metric, mine, self.samples[self.baseline])
            case "aa_ratio":
                return interleave.ratio(metric, self.samples[AGAIN], mine)
            case "images_per_s":
                return interleave.rate(metric, mine, len(self.images))
            case "ms":
                return interleave.latency(metric, mine)
            case "peak_mib":
                return memory.peak(metric, self.works[variant], self.subjects[variant].held(), self.images.device)
            case "mfu":
                return self.mfu(variant, metric)
        raise AssertionError(word)

    def mfu(self, variant: str, metric: str) -> Fact:
        """The share of the ceiling, by the GMAC of one image; null for an operation that the counter does not know."""
        try:
            gmac = cost.count(self.subjects[variant].model, self.images[:1])
        except NotImplementedError as error:
            return self.condition.null(variant, "mfu", str(error))
        gmac *= len(self.images) * FORWARDS[self.condition.prefix]
        return self.ceiling.share(metric, gmac, self.samples[variant], self.samples[MATMUL])
