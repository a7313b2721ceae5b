"""The conditions of the speed cell: what is timed together, and which facts each of them is to give."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.jobs.experiment import Experiment
from harness.results.metrics import unit_of

FEWEST = 3  # rounds: a median of fewer has no interval
Fact = dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """A kind of work on images of a size (height, width), for a number of rounds.

    `prefix` begins the metrics and names the work: "" inference, "train_" a training step, "latency_" a single image.
    """

    prefix: str
    size: tuple[int, int]
    batch_size: int
    rounds: int

    @property
    def training(self) -> bool:
        return self.prefix == "train_"

    def asked(self, variants: Iterable[str], baseline: str) -> list[tuple[str, str]]:
        """(variant, metric less the prefix) of each fact; where others have a ratio, the baseline has its A/A ratio."""
        latency = self.prefix == "latency_"
        each = ("ms", "ratio") if latency else ("images_per_s", "ratio", "peak_mib", "mfu")
        about_all = ("aa_ratio",) if latency else ("aa_ratio", "ceiling_gmac_per_s")
        pairs = [(variant, word) for variant in variants for word in each if (variant, word) != (baseline, "ratio")]
        return pairs + [(baseline, word) for word in about_all]

    def null(self, variant: str, word: str, why: str) -> Fact:
        """The fact that there is none, with the sentence that says why."""
        metric = self.prefix + word
        return {"variant": variant, "metric": metric, "value": None, "unit": unit_of(metric), "note": why}


def conditions(experiment: Experiment) -> list[Condition]:
    """Inference and training at every resolution, latency at the training size.

    A third of the rounds has to do where the models are not trained.
    """
    rounds, batch_size = experiment.study.speed_rounds, experiment.study.recipe.batch_size
    fewer = min(rounds, max(FEWEST, rounds // 3))
    first, *others = experiment.resolutions

    def everywhere(prefix: str) -> list[Condition]:
        elsewhere = [Condition(prefix, size, batch_size, fewer) for size in others]
        return [Condition(prefix, first, batch_size, rounds), *elsewhere]

    return [*everywhere(""), Condition("latency_", first, 1, rounds), *everywhere("train_")]
