"""The rounds are pairs, half of them with the baseline first; others on the cores are seen; what the table says."""

import os
import time
from types import SimpleNamespace

import pytest
import torch

from . import others, pairs
from .conditions import verdict
from .side_by_side import parted
from .table import lines


class Fixture:
    """pytest-benchmark's fixture as far as pairs need it: setup, timed target, teardown, round by round."""

    disabled = False

    def __init__(self):
        self.extra_info = {}
        self.stats = SimpleNamespace(stats=SimpleNamespace(data=[]))

    def pedantic(self, target, setup, teardown, rounds):
        for _ in range(rounds):
            setup()
            start = time.perf_counter()
            target()
            self.stats.stats.data.append(time.perf_counter() - start)
            teardown()


def test_each_round_is_a_pair_and_half_begin_with_the_baseline():
    calls = []
    found = pairs.ratios(Fixture(), lambda: calls.append("s"), lambda: calls.append("b"), 10)
    timed = "".join(calls[2 * pairs.WARM_UP :])
    rounds = [timed[i : i + 2] for i in range(0, 20, 2)]
    assert len(found) == 10
    assert (rounds.count("bs"), rounds.count("sb")) == (5, 5)
    assert rounds not in (["bs", "sb"] * 5, ["bs"] * 5 + ["sb"] * 5)


def test_a_ratio_is_the_subjects_time_over_the_baselines_in_its_own_round(monkeypatch):
    now, calls = [0.0], []

    def work(seconds):
        def run():
            calls.append(seconds)
            slowed = 4 if (len(calls) - 2 * pairs.WARM_UP - 1) // 2 % 2 else 1  # the machine, in every other round
            now[0] += slowed * seconds

        return run

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    fixture = Fixture()
    assert pairs.ratios(fixture, work(3), work(2), 4) == pytest.approx([1.5] * 4)
    assert sorted(fixture.stats.stats.data) == [3, 3, 12, 12]
    assert 0 <= fixture.extra_info["busy"] <= 1


@pytest.mark.parametrize(("working", "ours", "share"), [(20, 20, 0), (15, 10, 0.25), (10, 10, 0), (20, 10, 0.5)])
def test_others_count_where_they_took_cores_that_were_wanted(monkeypatch, working, ours, share):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert others.busy((0, 0, 0), (10, working, ours)) == share


def test_others_do_not_count_where_there_are_cores_enough(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert others.busy((0, 0, 0), (10, 70, 20)) == 0
    assert others.busy((0, 0, 0), (10, 80, 10)) == 0.5


@pytest.mark.parametrize(
    ("low", "high", "bound", "says"),
    [(1, 1.1, 1.1, "met"), (1, 1.2, 1.1, "not resolved"), (1.1, 1.2, 1.1, "not resolved"), (1.2, 1.3, 1.1, "not met"),
     (None, None, 1.1, "not resolved"), (1, 2, None, "")],
)  # fmt: skip
def test_a_target_is_met_not_met_or_not_resolved(low, high, bound, says):
    assert verdict(low, high, bound) == says


def test_the_table_names_condition_baseline_ratio_target_and_a_busy_machine():
    record = {"condition": "14x14-B16-training", "baseline": "sa", "variant": "sp_sa", "ratio": 1.2, "ratio_low": 1.15,
              "ratio_high": 1.25, "target": 1.1, "backend": "tiled", "busy": 0.4}  # fmt: skip
    text = "\n".join(lines([record, record | {"variant": "psa", "target": None, "busy": 0.0}]))
    assert text.count("14x14-B16-training, over sa") == 1
    assert (
        "sp_sa                      1.200  [1.150, 1.250]   tiled     target 1.1: not resolved     others had 40%"
        in text
    )
    assert text.endswith("tiled")
    assert list(lines([])) == []


def test_flags_of_the_programs_that_are_compared_follow_two_dashes():
    words = ["--rounds", "2", "OLD", "NEW", "--", "--preset", "digits", "--", "x"]
    assert parted(words) == (words[:4], words[5:])
    assert parted(["OLD", "NEW"]) == (["OLD", "NEW"], [])
