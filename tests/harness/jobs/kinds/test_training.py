"""Cells that train: shares of the images, rules for new resolutions, fine-tuning, shifts, widened baselines."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from harness.jobs.experiment import Experiment
from harness.jobs.kinds.training import Trained, rule, training_of
from harness.jobs.plan import device_of
from harness.jobs.size_matched import widened
from harness.measure import cost
from harness.presets import digits
from harness.results import store
from harness.run import program
from harness.training.recipe import Recipe
from tests.support import bodies
from tests.support.page import undrawn
from tests.support.trainings import digits as images

FLAGS = ["--preset", "digits", *bodies.FLAGS,
         "--epochs", "2", "--warmup-epochs", "1", "--seeds", "0", "--jobs", "1", "--batch-size", "256", "--measure",
         "accuracy"]  # fmt: skip


def experiment(**changes):
    study = replace(digits(), recipe=Recipe(epochs=2, warmup_epochs=1, batch_size=256), **changes)
    return Experiment(study, images(), device_of("cpu"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A study with shares of the images, fine-tuning at a size that is not square, and widened baselines."""
    folder = tmp_path_factory.mktemp("study")
    flags = [
        "--variants", "sp_sa,rpe_2d[mode=bias]", "--train-fractions", "0.1,1", "--finetune-epochs", "1",
        "--resolutions", "8,8x12", "--match", "params", "--reach", "50", *FLAGS,
    ]  # fmt: skip
    with undrawn():
        assert program.main([*flags, "--output", str(folder / "rows"), "--report", str(folder / "page.html")]) == 0
    return store.load(folder / "rows"), folder


def test_shares_are_nested_drawn_by_the_seed_and_of_the_studys_own_images():
    one = experiment(train_images=500)
    small, large = (one.chosen(fraction, 3) for fraction in (0.1, 0.5))
    assert len(small) == 50
    assert set(small.tolist()) < set(large.tolist()) < set(one.own.tolist())
    assert len(one.own) == one.images == 500
    assert not torch.equal(small, one.chosen(0.1, 4))
    counts = torch.bincount(one.data.train_y[small])
    assert counts.max() - counts.min() <= 1


def test_every_share_makes_as_many_updates(rows):
    frame, _ = rows
    loss = frame[frame["metric"] == "loss"]
    assert set(loss["train_fraction"]) == {0.1, 1.0}
    assert set(loss.groupby(["variant", "train_fraction"])["epoch"].max()) == {2}
    one = experiment()
    model, recipe = one.model("sa"), one.study.recipe
    steps = {len(training_of(one, model, recipe, 0, f, (8, 8)).feed.order(0)) for f in (0.1, 1.0)}
    assert steps == {4}


def test_a_new_resolution_has_its_rule_in_the_row(rows):
    frame, _ = rows
    top1 = frame[frame["metric"] == "top1"]
    assert top1["note"].isna().all()
    said = top1.set_index(["variant", "test_px"])["params"]
    shot = {"transfer": "zero-shot", "position": "resampled"}
    assert said["sp_sa", "8x12"].tolist() == [shot | {"rule": "recomputed"}] * 2
    assert said["rpe_2d[mode=bias]", "8x12"].tolist() == [shot | {"rule": "resampled"}] * 2
    assert said["sa", "8x12"].tolist() == [shot] * 2
    assert said["sp_sa", 8].isna().all()
    model = experiment(pos_embed="none").model("sp_sa+rpe_2d[extent=3]")
    assert rule(model) == {"rule": "recomputed, clipped"}
    computed = experiment(pos_embed="sincos").model("sa")
    assert rule(computed) == {"position": "recomputed"}


def test_fine_tuning_starts_from_the_trained_weights_and_is_a_row_of_its_own(rows):
    frame, folder = rows
    tuned = frame[frame["metric"] == "finetuned_top1"]
    trained = frame[frame["metric"] == "top1"]
    assert set(tuned["test_px"]) == {"8x12"}
    assert set(tuned["train_px"]) == {8}
    assert set(tuned["epoch"]) == {1}
    assert len(tuned) == trained.drop_duplicates(["variant", "train_fraction"]).shape[0]
    said = tuned.set_index("variant")["params"]
    shot = {"transfer": "fine-tuned", "epochs": 1, "position": "resampled"}
    assert said["sp_sa"].tolist() == [shot | {"rule": "recomputed"}] * 2
    assert all({**shot, **params} == params for params in said)
    assert tuned["note"].isna().all()
    assert not set(tuned["cell"]) & set(trained["cell"])
    weights = [file.name for file in (folder / "rows" / "weights").iterdir()]
    assert sum("fine-tuned" in name for name in weights) == len(tuned)


@undrawn()
def test_a_training_that_failed_fails_its_fine_tuning_with_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    from harness.jobs.kinds import training

    def failing(*_):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(training, "train", failing)
    assert program.main(["--variants", "sa", "--finetune-epochs", "1", "--resolutions", "12", *FLAGS]) == 1
    err = capsys.readouterr().err
    assert "sa seed 0 failed: RuntimeError: out of luck" in err
    assert "fine-tuned at 12 px failed: ValueError: there are no weights at" in err


def test_the_baseline_is_widened_until_it_has_the_parameters(rows):
    frame, _ = rows
    found = frame[(frame["metric"] == "top1") & frame["variant"].str.startswith("sa as large as")]
    assert set(found["variant"]) == {"sa as large as sp_sa", "sa as large as rpe_2d[mode=bias]"}
    assert set(found["family"]) == {"controls"}
    assert set(found["params"].str["mlp_hidden"]) <= {257, 258, 259}
    own = frame[(frame["metric"] == "top1") & ~frame["variant"].str.startswith("sa as large as")]
    assert own["params"].str["mlp_hidden"].isna().all()


@pytest.mark.parametrize(("match", "spec"), [("params", "sp_sa[hidden=64]"), ("gmac", "rpe_2d")])
def test_a_widened_baseline_matches_to_half_a_hidden_unit(match, spec):
    one = experiment(match=match)
    arms = widened(one, ["sa", spec])
    ((name, arm),) = arms.items()
    one = replace(one, widened=arms)
    measure = cost.params if match == "params" else lambda model: cost.count(model, one.batch(1, (8, 8))[0])
    mine, theirs, plain = measure(one.model(name)), measure(one.model(spec)), measure(one.model("sa"))
    unit = (measure(replace(one, widened={name: replace(arm, mlp_hidden=arm.mlp_hidden + 1)}).model(name))) - mine
    assert abs(mine - theirs) <= unit / 2 * 1.0001
    assert abs(mine - theirs) < abs(plain - theirs)
    assert name.startswith("sa as ")


def test_at_most_so_many_images_are_shown_spread_over_the_split():
    one = experiment()
    shown = torch.cat([labels for _, labels in one.shown("test", (8, 8), most=100)])
    assert torch.equal(shown, one.data.test_y[::4])
    assert sum(len(labels) for _, labels in one.shown("test", (8, 8), most=None)) == 360


def test_other_images_are_other_cells():
    one = experiment()
    other = one.data.train_x.clone()
    other[0, 0, 0, 0] += 1
    assert one.key(["sa"]) == experiment().key(["sa"])
    assert one.key(["sa"]) != replace(one, data=replace(one.data, train_x=other)).key(["sa"])
    labels = one.data.test_y.flip(0)
    assert one.key(["sa"]) != replace(one, data=replace(one.data, test_y=labels)).key(["sa"])


@undrawn()
def test_a_training_whose_weights_are_lost_is_made_again_for_its_fine_tuning(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--variants", "sa", "--resolutions", "12", *FLAGS]
    assert program.main(flags) == 0
    for file in (tmp_path / "results/digits/weights").iterdir():
        file.unlink()
    assert program.main(flags) == 0
    assert "1 of 1 cell is there" in capsys.readouterr().out  # the rows are enough
    assert program.main([*flags, "--finetune-epochs", "1"]) == 0
    assert "0 of 2 cells are there" in capsys.readouterr().out


def tree(folder, damaged):
    """Eight pictures a class and split; one of them cut off."""
    for split in ("train", "val"):
        for number, name in enumerate(("bright", "dark")):
            (folder / split / name).mkdir(parents=True)
            for index in range(20):
                colour = (200 - 150 * number + index,) * 3
                Image.new("RGB", (40, 36), colour).save(folder / split / name / f"{index}.png")
    if damaged:
        path = folder / "train/bright/3.png"
        path.write_bytes(path.read_bytes()[:60])
    return path if damaged else folder


@undrawn()
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_tree_is_trained_on_and_a_damaged_picture_is_one_sentence(tmp_path, monkeypatch, capsys, workers):
    monkeypatch.chdir(tmp_path)
    flags = ["--variants", "sa", "--img-size", "16", "--patch-size", "8", "--resolutions", "16,24", "-j", workers]
    study = [*FLAGS, "--batch-size", "8", "--measure", "cost,accuracy"]
    tree(tmp_path / "good", False)
    assert program.main([*flags, *study, "--dataset", f"folder:{tmp_path / 'good'}"]) == 0
    frame = store.load("results/folder")
    assert frame["dataset"].str.fullmatch(r"good \([0-9a-f]{10}\)").all()
    assert set(frame.loc[frame["metric"] == "top1", "test_px"]) == {16, 24}
    (tmp_path / "good").rename(tmp_path / "moved")
    for where in (["--dataset", f"folder:{tmp_path / 'moved'}"], ["--dataset", "folder", "--data-dir", "moved"]):
        capsys.readouterr()
        assert program.main([*flags, *study, *where]) == 0
        assert "2 of 2 cells are there" in capsys.readouterr().out, "the same pictures elsewhere are trained on again"
    damaged = tree(tmp_path / "bad", True)
    capsys.readouterr()
    assert program.main([*flags, *study, "--dataset", f"folder:{tmp_path / 'bad'}", "--output", "bad-rows"]) == 1
    err = [line for line in capsys.readouterr().err.splitlines() if "failed" in line]
    assert len(err) == 1
    assert f"sa seed 0 failed: ValueError: {damaged} cannot be read as a picture" in err[0]


def test_keys_know_the_moments_of_the_images_but_not_how_their_sums_were_rounded():
    def key(shift):
        one = experiment()
        data = replace(one.data, mean=tuple(value + shift for value in one.data.mean))
        return Trained(replace(one, data=data), "sa", 0).key

    assert key(3e-8) == key(0.0)  # a float32 sum over another number of threads
    assert key(0.01) != key(0.0)
