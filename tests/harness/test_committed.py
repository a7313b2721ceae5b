"""The committed rows are what this source computes: a sample of their trainings begins again, with the same numbers."""

import json

import pytest

from harness.binarize.program import study_of
from harness.jobs.kinds.training import by_epoch, training_of, validator
from harness.jobs.plan import StudyArm, experiment_of
from harness.results import store
from harness.training import loop
from tests.support.paths import ROOT

FOLDER = ROOT / "results" / "reference"

EPOCHS = {"digits": 2, "fashion_mnist": 1}  # from the third on, processors that round otherwise drift apart
LOSS = 3e-6  # how far means of losses lie apart on two kinds of processors, relative
SAMPLE = [  # (dataset, position embedding of the recipe, variant, seed)
    ("digits", None, "sa", 0), ("digits", None, "sp_sa", 1), ("digits", None, "psa", 2), ("digits", None, "swin", 3),
    ("digits", "none", "rope_mixed", 0), ("digits", "none", "lepe", 1), ("digits", "none", "log_cpb", 4),
    ("fashion_mnist", None, "sa", 0), ("fashion_mnist", None, "rel_bias", 1),
]  # fmt: skip


class Enough(Exception):
    """The first epochs are done."""


@pytest.fixture(scope="module")
def reference():
    rows = store.load(FOLDER)
    return rows[rows["metric"].isin(["loss", "val_top1"])], store.recipes(FOLDER)


def began(experiment, variant, seed, fraction, folder, epochs):
    """Loss and validation accuracy of the first epochs, by (metric, epoch)."""
    model = experiment.model(variant, seed)
    training = training_of(experiment, model, experiment.study.recipe, seed, fraction, experiment.image)
    validate = validator(experiment, folder)

    def until(model, epoch):
        found = validate(model, epoch)
        if found is not None:
            training.history.validated[str(epoch)] = found
        if epoch == epochs:
            raise Enough
        return found

    with pytest.raises(Enough):
        loop.train(training, lambda *_: None, validate=until)
    return {(f["metric"], f["epoch"]): f["value"] for f in by_epoch(training.history, len(experiment.data.val_y))}


def recorded(reference, dataset, pos_embed, variant, seed):
    """The rows of a training's first epochs, and its experiment."""
    rows, recipes = reference
    plain = {key for key, recipe in recipes.items() if recipe.get("pos_embed") == pos_embed
             and not recipe.get("class_token") and not recipe.get("spatial_layers")}  # fmt: skip
    rows = rows[rows["recipe_hash"].isin(plain) & (rows["dataset"] == dataset)]
    rows = rows[(rows["variant"] == variant) & (rows["seed"] == seed) & (rows["epoch"] <= EPOCHS[dataset])]
    assert rows["cell"].nunique() >= 1
    rows = rows[rows["cell"] == rows["cell"].iloc[0]]
    key, fraction = rows["recipe_hash"].iloc[0], float(rows["train_fraction"].iloc[0])
    study = study_of(recipes[key], key, FOLDER)
    return rows.set_index(["metric", "epoch"])["value"].to_dict(), experiment_of(StudyArm(study), (), "cpu"), fraction


def agrees(found, rows, images):
    for (metric, epoch), value in rows.items():
        if metric == "loss":
            assert found[metric, epoch] == pytest.approx(value, rel=LOSS)
        else:  # rounding may turn an image that lies between two classes
            assert abs(found[metric, epoch] - value) <= 100.1 / images


@pytest.mark.parametrize(("dataset", "pos_embed", "variant", "seed"), SAMPLE)
def test_a_committed_training_begins_with_the_same_numbers(reference, dataset, pos_embed, variant, seed, tmp_path):
    try:
        rows, experiment, fraction = recorded(reference, dataset, pos_embed, variant, seed)
    except ValueError as error:
        if dataset == "digits" or "recipe" in str(error):
            raise
        pytest.skip(f"{error}")  # Fashion-MNIST is a package of its own
    assert len(rows) >= EPOCHS[dataset]
    agrees(began(experiment, variant, seed, fraction, tmp_path, EPOCHS[dataset]), rows, len(experiment.data.val_y))


def test_another_learning_rate_or_seed_is_seen(reference, tmp_path, monkeypatch):
    rows, experiment, fraction = recorded(reference, "digits", None, "sp_sa", 1)
    with pytest.raises(AssertionError):
        agrees(began(experiment, "sp_sa", 2, fraction, tmp_path, 2), rows, len(experiment.data.val_y))
    follow = loop.follow
    monkeypatch.setattr(loop, "follow", lambda *given: follow(*given) * (1 + 1e-5))
    with pytest.raises(AssertionError):
        agrees(began(experiment, "sp_sa", 1, fraction, tmp_path, 2), rows, len(experiment.data.val_y))


def test_every_committed_cell_is_named_by_its_key():
    for study in ("reference", "priors"):
        for file in sorted((ROOT / "results" / study).glob("*.jsonl")):
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            assert {row["cell"] for row in rows} == {file.stem.rpartition("-")[2]}, file.name
            assert len({row["kind"] for row in rows if row.get("kind")}) <= 1
