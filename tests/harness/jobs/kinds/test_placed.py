"""Cells on canvases: n counts images, answers are kept for each place, and saliency knows where the object is."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from harness import data
from harness.jobs import checks
from harness.results import source, store
from tests.support.cells import RECIPE, experiment, work

MEASURED = ("shift", "calibration", "corruption", "maps", "saliency")


@cache
def translated():
    return data.load("digits:translated")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("placed")
    one = experiment(translated(), dataset="digits:translated", resolutions=(12, 18), finetune_epochs=1,
                     measure=("accuracy", *MEASURED))  # fmt: skip
    work(one, ["sa"], folder)
    return folder


WHOLE = ("top1", "finetuned_top1", "shift_px_consistency", "nll", "ece", "corrupted_top1")


@pytest.mark.parametrize("metric", WHOLE)
def test_what_is_of_all_canvases_counts_images_and_says_at_how_many_places(study, metric):
    rows = store.load(study).query("metric == @metric")
    assert len(rows)
    assert set(rows["n"]) == {360}
    assert all(params["places"] == 3 for params in rows["params"])


def test_what_is_of_some_canvases_is_of_so_many_images(study):
    rows = store.load(study)
    for metric, n in (("deletion", 120), ("coverage", 120), ("attention_distance", 360)):
        mine = rows[rows["metric"] == metric]
        assert set(mine["n"]) == {n}
        assert not any("places" in (params or {}) for params in mine["params"].dropna())
    assert set(rows[rows["metric"] == "val_top1"]["n"]) == {360}


def test_what_else_params_say_stays(study):
    rows = store.load(study)
    other = rows[(rows["metric"] == "top1") & (rows["test_px"] == 18)]["params"].iloc[0]
    assert other["transfer"] == "zero-shot"
    assert {"corruption", "severity", "places"} <= set(rows[rows["metric"] == "corrupted_top1"]["params"].iloc[0])


def test_the_answers_are_kept_for_each_place(study):
    rows = store.load(study).query("metric == 'top1' and test_px == 12")
    kept = np.load(store.correct(study)[rows["cell"].iloc[0]])
    assert kept.shape == (2, 1080)
    assert 100 * kept[0].mean() == pytest.approx(rows["value"].iloc[0])
    guesses = np.load(store.beside(study, ".log_probabilities.npy")[rows["cell"].iloc[0]]).argmax(1)
    labels = data.load("digits").test_y.numpy()
    assert (kept[0] == (guesses == labels.repeat(3))).all()
    assert not (kept[0] == (guesses == np.tile(labels, 3))).all()  # planted: first all images at their first places


def test_saliency_covers_the_objects_at_their_places(study):
    rows = store.load(study)
    area = rows[rows["metric"] == "object_area"]["value"].iloc[0]
    masks = translated().test_masks[::9]
    assert area == pytest.approx(100 * float(masks.double().mean()), abs=0.05)
    assert area != pytest.approx(100 * float((data.load("digits").test_x[::3] > 0).double().mean()), abs=5)


def test_settings_that_a_placed_set_would_ignore_are_refused():
    for name, value in (("aa", "rand-m9-mstd0.5-inc1"), ("color_jitter", 0.4)):
        one = experiment(translated(), recipe=replace(RECIPE, **{name: value}), resolutions=(12,))
        with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} means nothing for digits:translated"):
            checks.check(one)


def test_keys_hold_the_canvas_and_the_source_that_draws_on_it(monkeypatch):
    one = experiment(translated())
    assert one.images_hash != experiment(data.load("digits:translated", canvas=14)).images_hash
    assert one.images_hash != experiment(data.load("digits:cluttered")).images_hash
    digest, asked = source.digest, []
    monkeypatch.setattr(source, "digest", lambda modules: asked.extend(given := [*modules]) or digest(given))
    one.images_hash  # noqa: B018
    assert asked == ["harness.data.canvas"]
    asked.clear()
    experiment().images_hash  # noqa: B018
    assert asked == []
