"""Timing on a machine whose cores are busy with others: what is alike stays within 3 % or is called not resolved.

The load is made up and the clock counts it, so each test gives the same figures everywhere.
"""

import random

import pytest
import torch

from harness.measure.timing import clock, interleave
from harness.results import stats

CPU = torch.device("cpu")
COPIES = [f"copy {number}" for number in range(6)]
LOADS = {"long spells": (0.4, 0.004), "spells as long as a sample": (0.06, 0.004)}  # seconds: a spell, a turn
SEEDS = range(16)


class Machine:
    """A clock of its own. Another process takes turns with the work, in spells with sleep between; all is drawn."""

    def __init__(self, load, seed):
        self.spell, self.turn = LOADS[load]
        self.draw, self.now = random.Random(seed), 0.0
        self.left, self.busy = 0.0, False

    def perf_counter(self):
        return self.now

    def work(self, milliseconds):
        needed = milliseconds / 1e3 * self.draw.lognormvariate(0, 0.01)
        while needed > 0:
            if self.left <= 0:
                self.busy, self.left = not self.busy, self.draw.expovariate(1 / self.spell)
            mine = min(needed, self.draw.uniform(0.001, 0.004))
            lost = self.draw.uniform(self.turn / 4, self.turn) if self.busy else 0.0
            needed, self.now, self.left = needed - mine, self.now + mine + lost, self.left - mine - lost


@pytest.fixture
def timed(monkeypatch):
    """Samples of copies of a baseline and of what takes 1.3 times as long, on such a machine."""

    def run(load, seed, how):
        machine = Machine(load, seed)
        monkeypatch.setattr(clock.time, "perf_counter", machine.perf_counter)
        subjects = {name: lambda: machine.work(1.0) for name in ["baseline", "again", *COPIES]}
        return how(subjects | {"slow": lambda: machine.work(1.3)})

    return run


def in_rounds(subjects):
    return interleave.interleave(subjects, 30, CPU, lambda: None)


def in_sequence(subjects):
    """What is not done: one subject after the other."""
    return {name: [clock.seconds(work, 20, CPU) for _ in range(30)] for name, work in subjects.items()}


def judged(samples, name):
    """The ratio to the baseline, and whether it is resolved, as the page has them."""
    ratio, aa = (
        stats.median_interval(interleave.ratio("ratio", samples[one], samples["baseline"])["samples"])
        for one in (name, "again")
    )
    return ratio.center, stats.ratio_resolved(ratio, stats.aa_floor(aa))


def off(samples):
    """Whether each copy is resolved, for those that seem to differ by more than 3 %."""
    found = [judged(samples, name) for name in COPIES]
    return [resolved for ratio, resolved in found if abs(ratio - 1) > 0.03]


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("seed", SEEDS)
def test_copies_stay_within_three_percent_or_are_not_resolved(timed, load, seed):
    assert not any(off(timed(load, seed, in_rounds)))


@pytest.mark.parametrize("load", LOADS)
def test_a_difference_that_is_there_is_still_resolved(timed, load):
    found = [judged(timed(load, seed, in_rounds), "slow") for seed in SEEDS]
    assert sum(resolved for _, resolved in found) >= 12
    assert all(ratio == pytest.approx(1.3, rel=0.03) for ratio, resolved in found if resolved)


def test_the_loads_are_heavy_enough_for_these_tests_to_fail(timed):
    """In sequence copies are told apart that are alike, and in rounds some are off, so that intervals have to help."""
    assert sum(any(off(timed("long spells", seed, in_sequence))) for seed in SEEDS) >= 3
    assert sum(len(off(timed("spells as long as a sample", seed, in_rounds))) for seed in SEEDS) >= 1
