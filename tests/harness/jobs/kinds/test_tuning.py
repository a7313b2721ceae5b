"""Equal tuning: each variant's rates on the validation split alone, and all its trainings at the best of them."""

from dataclasses import replace

import pytest

from harness.jobs.cell import execute
from harness.jobs.kinds import training, tuning
from harness.jobs.plan import cells_of
from harness.jobs.slurm import chained
from harness.presets import digits
from harness.report import render
from harness.results import store
from tests.support.cells import RECIPE, experiment, work

RATES = "1e-5,5e-4,2e-3,8e-3"
FEW = {"measure": ("accuracy",), "tune": RATES}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A folder with two variants, tuned and then trained."""
    folder = tmp_path_factory.mktemp("tuned")
    assert work(experiment(**FEW), ["sa", "psa"], folder) == ["sa tuning", "psa tuning", "sa seed 0", "psa seed 0"]
    return folder


def losses(folder, variant):
    rows = store.load(folder)
    mine = rows[(rows["metric"] == "loss") & (rows["variant"] == variant)]
    return mine.sort_values("epoch")["value"].tolist()


def chosen(folder, variant):
    rows = store.load(folder)
    (found,) = rows[(rows["metric"] == "tuned_lr") & (rows["variant"] == variant)]["value"]
    return found


def test_every_variant_has_the_same_budget_and_its_best_rate_is_chosen(tuned):
    rows = store.load(tuned)
    for variant in ("sa", "psa"):
        mine = rows[(rows["variant"] == variant) & (rows["metric"] == "tuning_top1")]
        by_rate = {params["lr"]: value for params, value in zip(mine["params"], mine["value"], strict=True)}
        assert list(by_rate) == [1e-5, 5e-4, 2e-3, 8e-3]
        assert by_rate[chosen(tuned, variant)] == max(by_rate.values()) > by_rate[1e-5]
        assert len(rows[(rows["variant"] == variant) & (rows["metric"] == "tuning_s")]) == 4
    assert set(rows[rows["kind"] == "tuning"]["seed"]) == {1_000_003.0}


def test_a_training_is_the_one_with_that_rate(tuned, tmp_path):
    recipe = replace(RECIPE, lr=chosen(tuned, "psa"))
    work(experiment(measure=("accuracy",), recipe=recipe), ["psa"], tmp_path)
    assert losses(tuned, "psa") == losses(tmp_path, "psa")


def test_a_training_that_kept_the_recipes_rate_is_rejected(tuned, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "tuned_rate", lambda cell, folder: cell.experiment.study.recipe.lr)
    work(experiment(**FEW), ["psa"], tmp_path)
    assert chosen(tuned, "psa") != RECIPE.lr
    assert losses(tuned, "psa") != losses(tmp_path, "psa")


def test_no_test_image_is_read(monkeypatch, tmp_path):
    one = experiment(**FEW)
    seen = []
    monkeypatch.setattr(type(one), "shown", lambda self, split, *rest, **more: seen.append(split) or shown(split))

    def shown(split):
        return iter([(one.data.normalise(one.data.val_x), one.data.val_y)])

    (cell,) = [cell for cell in cells_of(one, ["sa"]) if cell.kind == "tuning"]
    assert execute(cell, tmp_path, lambda count=1: None) is None
    assert seen == ["val"] * 4


def test_an_interrupted_tuning_goes_on_to_the_same_bits(tuned, tmp_path):
    one = experiment(**FEW, checkpoint_interval=0)
    (cell,) = [cell for cell in cells_of(one, ["sa"]) if cell.kind == "tuning"]
    ticks = []

    def stop_in_the_second_rate(count=1):
        ticks.append(count)
        if sum(ticks) == RECIPE.epochs + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(cell, tmp_path, stop_in_the_second_rate)
    again = []
    assert execute(cell, tmp_path, lambda count=1: again.append(count)) is None
    assert again[:2] == [RECIPE.epochs, 1]  # what the checkpoints of the first two rates hold
    assert sum(again) == 4 * RECIPE.epochs
    kept = store.load(tuned)
    kept = kept[(kept["kind"] == "tuning") & (kept["variant"] == "sa") & (kept["metric"] != "tuning_s")]
    new = store.load(tmp_path)
    new = new[new["metric"] != "tuning_s"]
    assert kept["value"].tolist() == new["value"].tolist()
    assert not cell.checkpoints(tmp_path).exists()


def test_a_rate_at_which_the_loss_is_lost_is_recorded_and_not_chosen(tmp_path, monkeypatch):
    one = experiment(**FEW)
    (cell,) = [cell for cell in cells_of(one, ["sa"]) if cell.kind == "tuning"]
    true = tuning.train

    def diverges(training, *rest):
        if training.recipe.lr == 2e-3:
            raise FloatingPointError("the loss is nan after epoch 1")
        return true(training, *rest)

    monkeypatch.setattr(tuning, "train", diverges)
    assert execute(cell, tmp_path, lambda count=1: None) is None
    rows = store.load(tmp_path)
    (lost,) = rows[rows["value"].isna()]["params"]
    assert lost == {"lr": 2e-3}
    assert chosen(tmp_path, "sa") != 2e-3


def test_without_a_rate_that_holds_the_tuning_fails_and_its_trainings_say_why(tmp_path, monkeypatch):
    def diverges(*_):
        raise FloatingPointError("the loss is nan after epoch 1")

    monkeypatch.setattr(tuning, "train", diverges)
    first, second = cells_of(experiment(**FEW), ["sa"])
    assert "name lower ones with --tune" in execute(first, tmp_path, lambda count=1: None)
    assert "sa tuning left no learning rate" in execute(second, tmp_path, lambda count=1: None)


@pytest.mark.parametrize(
    ("right", "wanted"),
    [({1e-3: 5, 2e-3: 7, 4e-3: 6}, 2e-3), ({1e-3: 7, 2e-3: 7, 4e-3: 7}, 2e-3), ({1e-3: 7, 2e-3: 7, 4e-3: 1}, 1e-3)],
)
def test_of_equal_rates_the_middle_one_is_chosen(right, wanted):
    assert tuning.best(right) == wanted


def test_lr_stands_for_four_rates_around_the_recipes():
    study = replace(digits(), tune="lr")
    assert study.rates == (1e-3, 2e-3, 4e-3, 8e-3)
    assert study.recipe_hash == replace(digits(), tune="8e-3,4e-3,2e-3,1e-3").recipe_hash != digits().recipe_hash


def test_keys_depend_on_the_rates_and_on_nothing_new_without_them():
    def keys(tune):
        return {cell.name: cell.key for cell in cells_of(experiment(measure=("accuracy",), tune=tune), ["sa"])}

    plain, some, others = keys(None), keys(RATES), keys("1e-5,5e-4,2e-3,9e-3")
    assert list(plain) == ["sa seed 0"]
    assert list(some) == ["sa tuning", "sa seed 0"]
    assert len({plain["sa seed 0"], some["sa seed 0"], others["sa seed 0"]}) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tune": "1e-3,2e-3"}, "2 learning rates; name at least 4"),
        ({"tune": "fast"}, "no list of learning rates"),
        ({"tune": "-1,1e-3,2e-3,4e-3"}, "no list of learning rates"),
        ({"tune": "nan,1e-3,2e-3,4e-3"}, "no list of learning rates"),
        ({"tune": "1e-9,1e-3,2e-3,4e-3"}, "below min_lr"),
        ({"tune": "lr", "seeds": (1_000_003,)}, "choose another"),
    ],
)
def test_bad_rates_are_refused_in_a_sentence(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(digits(), **changes)


def test_a_job_of_slurm_tunes_trains_and_measures_one_variant():
    one = experiment(measure=("accuracy", "shift"), tune=RATES, seeds=(0, 1))
    chains = chained(list(cells_of(one, ["sa", "psa"])))
    assert [[cell.name for cell in chain] for chain in chains] == [
        [f"{v} tuning", f"{v} seed 0", f"{v} seed 0 shift", f"{v} seed 1", f"{v} seed 1 shift"] for v in ("sa", "psa")
    ]


def test_the_page_shows_each_rate_and_the_one_that_was_chosen(tuned, tmp_path):
    page = tmp_path / "page.html"
    render(tuned, page)
    text = page.read_text()
    assert "Learning rates" in text
    assert text.count(">chosen<") == 2
    for rate in ("1e-05", "0.0005", "0.002", "0.008"):
        assert f"<span>{rate}</span>" in text


def test_rows_of_a_tuned_study_name_no_weights_that_they_read(tuned):
    assert all(len(made.split("+")) == 2 for made in store.load(tuned)["source_hash"])
