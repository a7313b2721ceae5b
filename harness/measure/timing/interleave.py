"""Throughput that can rank: all variants in interleaved rounds, ratios to the baseline within a round, an A/A floor.

On a noisy machine the same module timed twice in sequence differs by 2.5 to 79 %, in interleaved rounds by 0.4 to 4 %.
So each round times every subject once, in an order drawn anew; a ratio is the median over rounds of (subject /
baseline), and a second copy of the baseline takes part as a subject like any other: what differs less from 1 than it
does is not resolved.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness.measure.timing.clock import Work, seconds
from harness.training.loop import optimizer, step
from harness.training.recipe import Recipe

WARM = (3, 100)  # the fewest and the most calls of a warm-up
LEAST_S = 0.02  # seconds of a sample: a hundred times what the clock and the first call add


def interleave(
    subjects: dict[str, Work], number: int, device: torch.device, tick: Callable[..., object], least_s: float = LEAST_S
) -> dict[str, list[float]]:
    """Seconds a call for each subject and round. Each sample repeats its subject often enough to last `least_s`.

    `tick` is called after every round.
    """
    repeats = {name: max(1, round(least_s / warm_up(work, device, least_s))) for name, work in subjects.items()}
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    order, shuffle = list(subjects), random.Random(0).shuffle
    for _ in range(number):
        shuffle(order)  # a rotation would keep the neighbours, and a subject can slow the one that follows it
        for name in order:
            samples[name].append(seconds(subjects[name], repeats[name], device))
        tick()
    return samples


def warm_up(work: Work, device: torch.device, least_s: float) -> float:
    """Seconds of the fastest of some calls on the measured shapes: they last `least_s`, or are as many as WARM allows.

    The fastest, since one call that others delayed would give its subject shorter samples than its equals have, which
    are delayed less often.
    """
    calls: list[float] = []
    while len(calls) < WARM[0] or (sum(calls) < least_s and len(calls) < WARM[1]):
        calls.append(seconds(work, 1, device))
    return min(calls)


def ratio(metric: str, mine: list[float], baseline: list[float]) -> dict[str, Any]:
    """The subject's time over the baseline's: the median of the ratios of each round; above 1 is slower."""
    samples = [one / base for one, base in zip(mine, baseline, strict=True)]
    return {"metric": metric, "value": statistics.median(samples), "unit": "1", "n": len(samples), "samples": samples}


def rate(metric: str, mine: list[float], batch_size: int) -> dict[str, Any]:
    """Images a second: the batch over the median time of a call; the samples are the seconds."""
    value = batch_size / statistics.median(mine)
    return {"metric": metric, "value": value, "unit": "1/s", "n": len(mine), "samples": mine}


def latency(metric: str, mine: list[float]) -> dict[str, Any]:
    """Milliseconds a call, the median; the samples are the seconds."""
    value = 1e3 * statistics.median(mine)
    return {"metric": metric, "value": value, "unit": "ms", "n": len(mine), "samples": mine}


class Subject:
    """A model on a batch [B, c, H, W], as work to be timed: a forward in inference mode, or a whole training step."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe):
        self.model, self.images, self.labels, self.recipe = model, images, labels, recipe
        self.optimizer = optimizer(model, recipe)

    def inference(self) -> Work:
        self.model.eval()

        def work() -> None:
            with torch.inference_mode():
                self.model(self.images)

        return work

    def training(self) -> Work:
        self.model.train()
        return lambda: step(self.model, self.images, self.labels, self.optimizer, self.recipe)

    def held(self) -> list[Tensor]:
        """The tensors that are there before the work starts; gradients are dropped first."""
        self.model.zero_grad(set_to_none=True)
        states = [t for state in self.optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
        return [*self.model.parameters(), *self.model.buffers(), *states, self.images, self.labels]
