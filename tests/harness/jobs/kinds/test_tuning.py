"""Equal tuning: each variant's rates on the validation split alone, and all its trainings at the best of them."""

from collections import defaultdict
from dataclasses import replace

import pytest
import torch

from harness.jobs.cell import execute
from harness.jobs.kinds import training, tuning
from harness.jobs.plan import cells_of
from harness.jobs.slurm import chained
from harness.presets import digits
from harness.report import render
from harness.results import store
from tests.support.cells import RECIPE, experiment, work
from tests.support.page import undrawn

RATES = "1e-5,5e-4,2e-3,8e-3"
FEW = {"measure": ("accuracy",), "tune": RATES, "tune_seeds": 2}
SEEDS = (1_000_003, 1_000_004)


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


def tried(folder, variant):
    """Validation top-1 of a folder's tuning: by rate, then by seed."""
    rows, found = store.load(folder), defaultdict(dict)
    mine = rows[(rows["variant"] == variant) & (rows["metric"] == "tuning_top1")]
    for params, seed, value in zip(mine["params"], mine["seed"], mine["value"], strict=True):
        found[params["lr"]][int(seed)] = value
    return dict(found)


def test_every_variant_has_the_same_budget_and_the_best_rate_over_all_seeds_is_chosen(tuned):
    for variant in ("sa", "psa"):
        found = tried(tuned, variant)
        assert list(found) == [1e-5, 5e-4, 2e-3, 8e-3]
        (first, second), better = SEEDS, [rate for rate in found if len(found[rate]) == 2]
        assert len(better) == 2
        worse = [rate for rate in found if rate not in better]
        assert all(set(found[rate]) == {first} for rate in worse)
        assert min(found[rate][first] for rate in better) >= max(found[rate][first] for rate in worse)
        sums = {rate: found[rate][first] + found[rate][second] for rate in better}
        assert sums[chosen(tuned, variant)] == max(sums.values())
        rows = store.load(tuned)
        assert len(rows[(rows["variant"] == variant) & (rows["metric"] == "tuning_s")]) == 6


class Counted:
    """A tuning whose trainings have a given number of right answers by rate, one for each seed."""

    def __init__(self, monkeypatch, right, seeds):
        self.right, self.asked = right, []
        monkeypatch.setattr(tuning, "validated", self)
        (self.cell, _) = cells_of(experiment(measure=("accuracy",), tune=RATES, tune_seeds=seeds, seeds=(0,)), ["sa"])

    def __call__(self, cell, recipe, seed, tick, checkpoints):
        self.asked.append((recipe.lr, seed - SEEDS[0]))
        right = self.right[recipe.lr][seed - SEEDS[0]]
        if right is None:
            raise FloatingPointError("the loss is nan after epoch 1")
        return torch.arange(10) < right, 1.0

    def rate(self, folder):
        assert execute(self.cell, folder, lambda count=1: None) is None
        return chosen(folder, "sa")


def test_a_rate_that_is_best_by_luck_on_one_seed_is_not_chosen(monkeypatch, tmp_path):
    one = Counted(monkeypatch, {1e-5: [1], 5e-4: [2], 2e-3: [8, 8, 7], 8e-3: [9, 3, 9]}, seeds=3)
    assert one.rate(tmp_path) == 2e-3
    later = [(8e-3, 1), (2e-3, 1), (2e-3, 2), (8e-3, 2)]
    assert one.asked == [(1e-5, 0), (5e-4, 0), (2e-3, 0), (8e-3, 0), *later]
    assert one.cell.work == RECIPE.total_epochs * len(one.asked)


def test_on_one_seed_it_would_be(monkeypatch, tmp_path):
    one = Counted(monkeypatch, {1e-5: [1], 5e-4: [2], 2e-3: [8], 8e-3: [9]}, seeds=1)
    assert one.rate(tmp_path) == 8e-3


def test_a_rate_that_loses_the_loss_on_a_later_seed_is_not_chosen(monkeypatch, tmp_path):
    one = Counted(monkeypatch, {1e-5: [1], 5e-4: [2], 2e-3: [8, 5], 8e-3: [9, None]}, seeds=2)
    assert one.rate(tmp_path) == 2e-3


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
    assert seen == ["val"] * 6


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
    assert sum(again) == 6 * RECIPE.epochs
    kept = store.load(tuned)
    kept = kept[(kept["kind"] == "tuning") & (kept["variant"] == "sa") & (kept["metric"] != "tuning_s")]
    new = store.load(tmp_path)
    new = new[new["metric"] != "tuning_s"]
    assert kept["value"].tolist() == new["value"].tolist()
    assert not cell.checkpoints(tmp_path).exists()


def test_a_rate_at_which_the_loss_is_lost_is_recorded_and_not_chosen(tmp_path, monkeypatch):
    one = experiment(**FEW)
    (cell,) = [cell for cell in cells_of(one, ["sa"]) if cell.kind == "tuning"]
    true = tuning.validated

    def diverges(cell, recipe, *rest):
        if recipe.lr == 2e-3:
            raise FloatingPointError("the loss is nan after epoch 1")
        return true(cell, recipe, *rest)

    monkeypatch.setattr(tuning, "validated", diverges)
    assert execute(cell, tmp_path, lambda count=1: None) is None
    rows = store.load(tmp_path)
    (lost,) = rows[rows["value"].isna()]["params"]
    assert lost == {"lr": 2e-3}
    assert chosen(tmp_path, "sa") != 2e-3


def test_without_a_rate_that_holds_the_tuning_fails_and_its_trainings_say_why(tmp_path, monkeypatch):
    def diverges(*_):
        raise FloatingPointError("the loss is nan after epoch 1")

    monkeypatch.setattr(tuning, "validated", diverges)
    first, second = cells_of(experiment(**FEW), ["sa"])
    assert "name lower ones with --tune" in execute(first, tmp_path, lambda count=1: None)
    assert "sa tuning left no learning rate" in execute(second, tmp_path, lambda count=1: None)


@pytest.mark.parametrize(
    ("right", "wanted"),
    [
        ({1e-3: [5], 2e-3: [7], 4e-3: [6]}, [2e-3, 4e-3, 1e-3]),
        ({1e-3: [7], 2e-3: [7], 4e-3: [7]}, [2e-3, 1e-3, 4e-3]),
        ({1e-3: [7], 2e-3: [7], 4e-3: [1]}, [1e-3, 2e-3, 4e-3]),
        ({1e-3: [9], 2e-3: [3, 4], 4e-3: [5, 1]}, [2e-3, 4e-3]),
    ],
)
def test_the_rate_with_most_right_answers_comes_first_and_of_equals_the_middle_one(right, wanted):
    assert tuning.ranked(right) == wanted


def test_lr_stands_for_four_rates_around_the_recipes():
    study = replace(digits(), tune="lr")
    assert study.rates == (1e-3, 2e-3, 4e-3, 8e-3)
    assert study.recipe_hash == replace(digits(), tune="8e-3,4e-3,2e-3,1e-3").recipe_hash != digits().recipe_hash


def test_without_rates_the_number_of_seeds_changes_no_study():
    assert replace(digits(), tune_seeds=5).recipe_hash == digits().recipe_hash
    assert replace(digits(), tune="lr", tune_seeds=5).recipe_hash != replace(digits(), tune="lr").recipe_hash


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
        ({"tune": "lr", "seeds": (1_000_005,)}, "seed 1000005 is one that --tune trains with"),
        ({"tune": "lr", "tune_seeds": 0}, "tune_seeds"),
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
    with undrawn():
        render(tuned, page)
    text = page.read_text()
    assert "Learning rates" in text
    assert "the better half of them with the other ones" in text
    assert "trained once at each" not in text
    assert text.count(">chosen<") == 2
    for rate in ("1e-05", "0.0005", "0.002", "0.008"):
        assert f"<span>{rate}</span>" in text


def test_the_page_says_of_one_seed_that_it_was_one(tuned, tmp_path):
    for file in tuned.glob("*.jsonl"):
        rows = [line for line in file.read_text().splitlines() if f'"seed": {SEEDS[1]}' not in line]
        (tmp_path / file.name).write_text("\n".join(rows))
    with undrawn():
        render(tmp_path, tmp_path / "page.html")
    assert "trained once at each of these learning rates" in (tmp_path / "page.html").read_text()


def test_rows_of_a_tuned_study_name_no_weights_that_they_read(tuned):
    assert all(len(made.split("+")) == 2 for made in store.load(tuned)["source_hash"])
