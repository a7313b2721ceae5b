"""The speed cell: one batch for all, halved for all; what is red or has no room is a null row and costs no other."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from harness import data
from harness.backbone.vit import ViT
from harness.jobs.experiment import Experiment
from harness.jobs.kinds import rounds
from harness.jobs.kinds.conditions import conditions
from harness.jobs.kinds.speed import Speed
from harness.measure import cost
from harness.measure.timing import interleave
from harness.measure.timing.ceiling import Ceiling
from harness.presets import digits
from harness.results import store
from tests.support import timings
from variants import backends
from variants.sp_sa import SPSA

VARIANTS = ["sa", "psa", "sp_sa"]
INFERENCE = ("images_per_s", "ratio", "peak_mib", "mfu")


@pytest.fixture
def experiment(monkeypatch):
    timings.quick(monkeypatch)
    monkeypatch.setattr(cost, "count", lambda model, images: 1e-3 * images.shape[-1] * len(images))
    preset = digits()
    study = replace(
        preset, size="nano", resolutions=(8, 12), speed_rounds=4, recipe=replace(preset.recipe, batch_size=8)
    )
    return Experiment(study, data.load("digits"), torch.device("cpu"))


def run(experiment, variants=VARIANTS):
    """The rows of the cell, each of them one that can be written; every tick is announced."""
    ticks = []
    cell = Speed(experiment, variants)
    found = list(cell.run(Path(), lambda: ticks.append(1)))
    assert len(ticks) == cell.work
    for row in found:
        store.check(row)
    frame = pd.DataFrame(found, columns=list(store.COLUMNS))
    assert not frame.duplicated(["variant", "metric", "test_px", "batch_size"]).any()
    return frame


def short_of_memory(monkeypatch, most, where=lambda model, images: True, error=torch.OutOfMemoryError):
    """A ViT that has no room for more than `most` images."""
    forward = ViT.forward

    def limited(self, images):
        if len(images) > most and where(self, images):
            raise error("no room")
        return forward(self, images)

    monkeypatch.setattr(ViT, "forward", limited)


def test_inference_is_timed_with_terms_that_are_kept_and_training_with_those_of_each_step(experiment, monkeypatch):
    calls, counted, prior, timed = [], [], SPSA.prior, interleave.interleave

    def watched(works, *rest):
        works["sp_sa"]()
        before = len(calls)
        works["sp_sa"]()
        counted.append(len(calls) - before)
        return timed(works, *rest)

    monkeypatch.setattr(SPSA, "prior", lambda self, offsets: calls.append(offsets) or prior(self, offsets))
    monkeypatch.setattr(interleave, "interleave", watched)
    run(experiment)
    layers = experiment.model("sp_sa").spatial_layers
    assert counted == [layers if condition.training else 0 for condition in conditions(experiment)]


def test_every_condition_gives_every_metric_of_every_variant(experiment):
    frame = run(experiment)
    assert frame["value"].notna().all()
    assert frame["note"].dropna().unique().tolist() == ["a 64 x 64 matmul in float32"]
    count = frame.groupby(["metric", "test_px", "batch_size"]).size()
    for prefix in ("", "train_"):
        for px in (8, 12):
            assert count[prefix + "images_per_s", px, 8] == count[prefix + "parity", px, 8] == 3
            assert count[prefix + "peak_mib", px, 8] == count[prefix + "mfu", px, 8] == 3
            assert count[prefix + "ratio", px, 8] == 2
            assert count[prefix + "aa_ratio", px, 8] == count[prefix + "ceiling_gmac_per_s", px, 8] == 1
    assert count["latency_ms", 8, 1] == count["parity", 8, 1] == 3
    assert (count["latency_ratio", 8, 1], count["latency_aa_ratio", 8, 1]) == (2, 1)
    assert count.sum() == 2 * 2 * 16 + 9
    timings = frame[frame["metric"].str.contains("ratio|images|latency|mfu")]
    assert (timings["n"] == timings["samples"].str.len()).all()
    assert dict(zip(frame["test_px"], frame["grid"], strict=True)) == {8: "4x4", 12: "6x6"}
    measured = frame[~frame["metric"].str.contains("ceiling")]
    assert measured["backend"].notna().all()


def test_timings_on_sdpa_say_which_kernel_ran(experiment):
    experiment = replace(experiment, study=replace(experiment.study, backend="sdpa"))
    frame, (images, _) = run(experiment, ["sa", "rel_bias"]), experiment.batch(8, (8, 8))
    kernels = {}
    for training in (False, True):
        with torch.set_grad_enabled(training):
            kernels[training] = {name: experiment.model(name).sdpa_kernel(images) for name in ("sa", "rel_bias")}
    assert kernels[True]["rel_bias"] == "math", "a bias that needs a gradient is written out on the CPU"
    assert kernels[False]["sa"] == "flash"
    silent = frame["metric"].str.contains("parity|ceiling")
    assert frame[silent]["params"].isna().all()
    for row in frame[~silent].itertuples():
        assert row.backend == "sdpa"
        assert row.params == {"kernel": kernels[row.metric.startswith("train_")][row.variant]}


def test_another_backend_has_no_kernel(experiment):
    frame = run(replace(experiment, study=replace(experiment.study, backend="eager")))
    assert frame["params"].isna().all()


def test_fewer_rounds_where_the_models_are_not_trained(experiment):
    found = conditions(replace(experiment, study=replace(experiment.study, speed_rounds=24)))
    assert [(c.prefix, c.size[0], c.batch_size, c.rounds) for c in found] == [
        ("", 8, 8, 24), ("", 12, 8, 8), ("latency_", 8, 1, 24), ("train_", 8, 8, 24), ("train_", 12, 8, 8),
    ]  # fmt: skip
    few = conditions(replace(experiment, study=replace(experiment.study, speed_rounds=4)))
    assert {c.rounds for c in few if c.size[0] == 12} == {3}
    assert {c.rounds for c in conditions(replace(experiment, study=replace(experiment.study, speed_rounds=1)))} == {1}


def test_the_share_of_the_ceiling_is_the_models_work_over_the_matmuls(experiment):
    frame = run(experiment).set_index(["metric", "variant", "test_px"])["samples"]
    for prefix, forwards in (("", 1), ("train_", 3)):
        for px in (8, 12):
            images, _ = experiment.batch(1, (px, px))
            gmac = 8 * forwards * cost.count(experiment.model("psa"), images)
            seconds, matmuls = (
                frame[prefix + metric, variant, px]
                for metric, variant in (("images_per_s", "psa"), ("ceiling_gmac_per_s", "sa"))
            )
            top = Ceiling(torch.device("cpu")).gmac
            expected = [gmac / mine / (top / theirs) for mine, theirs in zip(seconds, matmuls, strict=True)]
            assert frame[prefix + "mfu", "psa", px] == pytest.approx(expected)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, lambda _: RuntimeError("DefaultCPUAllocator: no room")])
def test_one_without_room_halves_the_batch_of_all(experiment, monkeypatch, error):
    short_of_memory(monkeypatch, 3, lambda model, _: model.spec == "psa" and not torch.is_grad_enabled(), error)
    frame = run(experiment).set_index("metric")
    inference = frame.loc[[*INFERENCE, "aa_ratio"]]
    assert set(inference["variant"]) == set(VARIANTS)
    assert set(inference["batch_size"]) == {2}
    assert set(inference["note"]) == {"batch halved from 8 to 2 for all variants: out of memory"}
    assert inference["value"].notna().all()
    assert set(frame.loc[["train_images_per_s", "train_ratio"], "batch_size"]) == {8}
    assert frame.loc["latency_ms", "note"].isna().all()


def test_memory_that_runs_out_in_the_middle_of_the_rounds_starts_them_anew(experiment, monkeypatch):
    calls = []

    def second_round(model, images):
        calls.append(model.spec)
        return len(calls) > 6 + 4 + 6  # the gate, the warm-up, a round and a half

    short_of_memory(monkeypatch, 4, second_round)
    frame = run(experiment).set_index("metric")
    assert set(frame.loc["images_per_s", "batch_size"]) == {4}
    assert set(frame.loc["images_per_s", "samples"].str.len()) == {4, 3}


def test_without_room_for_one_image_there_is_a_null_row_that_says_so(experiment, monkeypatch):
    short_of_memory(monkeypatch, 0, lambda model, images: images.shape[-1] == 12 and model.spec == "sp_sa")
    frame = run(experiment)
    assert frame.loc[frame["test_px"] == 8, "value"].notna().all()
    large = frame[(frame["test_px"] == 12) & ~frame["metric"].str.contains("parity|ceiling")]
    red = large[large["variant"] == "sp_sa"]
    assert red["value"].isna().all()
    assert red["note"].str.endswith(": out of memory with a single image").all()
    assert set(large["batch_size"]) == {8}
    assert large.loc[large["variant"] != "sp_sa", "value"].notna().all()


def test_a_batch_of_one_that_does_not_fit_the_rounds_is_null_for_all(experiment, monkeypatch):
    step = interleave.step

    def never(model, images, *rest):
        if images.shape[-1] == 12:
            raise torch.OutOfMemoryError("no room")
        return step(model, images, *rest)

    monkeypatch.setattr(interleave, "step", never)
    frame = run(experiment)
    lost = frame[frame["value"].isna()]
    assert set(lost["test_px"]) == {12}
    assert set(lost["batch_size"]) == {1}
    assert lost["metric"].str.startswith("train_").all()
    assert set(lost["note"]) == {"out of memory, from a batch of 8 down to a single image"}
    assert len(lost) == 3 * 4 - 1 + 2


def closed(monkeypatch, spec, training=(False, True)):
    """A gate that one variant does not pass."""
    gate = rounds.gate

    def shut(model, images, labels, trains, precision):
        fact, red = gate(model, images, labels, trains, precision)
        return (
            (fact | {"note": "too far off"}, "too far off")
            if model.spec == spec and trains in training
            else (fact, red)
        )

    monkeypatch.setattr(rounds, "gate", shut)


def test_a_variant_on_a_red_gate_has_no_speed_and_costs_no_other(experiment, monkeypatch):
    closed(monkeypatch, "psa", training=(True,))
    frame = run(experiment)
    lost = frame[frame["value"].isna()]
    assert set(lost["variant"]) == {"psa"}
    assert set(lost["metric"]) == {f"train_{metric}" for metric in INFERENCE}
    assert lost["note"].str.endswith(": too far off").all()
    assert frame.loc[frame["metric"] == "train_parity", "value"].notna().all()


def test_a_red_baseline_leaves_speeds_and_no_ratios(experiment, monkeypatch):
    closed(monkeypatch, "sa")
    frame = run(experiment)
    there = frame[frame["metric"].str.contains("images_per_s|latency_ms|mfu|peak") & (frame["variant"] != "sa")]
    assert there["value"].notna().all()
    ratios = frame[frame["metric"].str.endswith("ratio")]
    assert ratios["value"].isna().all()
    assert set(ratios["variant"]) == set(VARIANTS)
    others = ratios[ratios["variant"] != "sa"]
    assert others["note"].str.match(r"no ratio, since the baseline sa is not timed: \w+: too far off").all()


def test_where_all_are_red_all_is_null_and_nothing_breaks(experiment, monkeypatch):
    monkeypatch.setattr(rounds, "gate", lambda *_: ({"metric": "parity", "value": 1.0, "unit": "1"}, "too far off"))
    experiment = replace(experiment, study=replace(experiment.study, resolutions=(8,)))
    cell = Speed(experiment, VARIANTS)
    found = cell.run(Path(), lambda: None)
    assert {row["metric"] for row in found if row["value"] is not None} == {
        "parity", "ceiling_gmac_per_s", "train_ceiling_gmac_per_s",
    }  # fmt: skip


def test_a_row_names_the_backend_of_its_own_condition(experiment, monkeypatch):
    monkeypatch.setattr(backends, "SMALL", {"training": 0, "inference": 2**30})
    frame = run(experiment)
    backend = frame[frame["variant"] == "sp_sa"].groupby("metric")["backend"].agg(set)
    assert backend["images_per_s"] == backend["parity"] == backend["latency_ms"] == {"eager"}
    assert backend["train_images_per_s"] == backend["train_parity"] == {"tiled"}
