"""Measurements of trained models: each follows its training, and a new one on a finished study trains nothing."""

from dataclasses import replace

import pytest

from harness.jobs.kinds.measured import Measured
from harness.jobs.kinds.training import Trained
from harness.jobs.study import MEASURED, MEASUREMENTS
from harness.presets import digits
from harness.results import map_files, source, store
from tests.support.cells import experiment, planned, work


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    one = experiment(measure=("accuracy", "maps"), seeds=(0,), size="micro", spatial_layers=2)
    work(one, ["sp_sa", "gpsa", "swin"], folder)
    return folder


def test_a_cell_of_maps_follows_each_training_and_its_rows_name_their_layer(study):
    frame = store.load(study)
    maps = frame[frame["layer"].notna()]
    distances = maps[maps["metric"] == "attention_distance"]
    assert distances.groupby("variant")["layer"].apply(list).to_dict() == {
        variant: [1, 2, 3, 4] for variant in ("sp_sa", "gpsa", "swin")
    }
    assert all(len(heads) == 4 for heads in distances["samples"])
    assert (distances["n"] == 360).all()
    assert set(maps["seed"]) == {0}
    assert set(maps[maps["metric"] == "prior_min"]["layer"]) == {1, 2}
    assert set(maps[maps["metric"] == "gate"]["variant"]) == {"gpsa"}
    assert set(maps[maps["metric"] == "attention_prefix"]["layer"]) == {3, 4}  # after the class token has come
    assert frame.loc[frame["layer"].isna(), "metric"].isin(["top1", "val_top1", "loss", "train_s"]).sum() > 0


def test_the_file_beside_the_rows_has_the_maps_and_their_past(study):
    rows = study
    frame = store.load(rows)
    least = frame[(frame["metric"] == "prior_min")].set_index("layer")
    file = store.beside(rows, ".maps.npz")[least["cell"].iloc[0]]
    assert file.stat().st_size < 200_000
    book = map_files.unpacked(file)
    assert {epoch for _, kind, epoch in book if kind == "prior"} == {0, 1, 2, None}
    assert (book[1, "prior", 0] == 1.0).all()  # neutral at the start
    assert book[1, "prior", None].min() == pytest.approx(least.loc[1, "value"], rel=2e-3)
    assert book[1, "prior", None].shape == (4, 7, 7)
    swin = next(path for path in rows.glob("swin*.maps.npz"))
    assert {kind for _, kind, _ in map_files.unpacked(swin)} == {"kept", "attention"}
    assert not list((rows / "snapshots").glob("swin*"))  # nothing that training changes


def test_maps_can_be_added_later_without_training_anew(tmp_path):
    assert work(experiment(measure=("accuracy",), seeds=(0,)), ["sp_sa"], tmp_path) == ["sp_sa seed 0"]
    assert work(experiment(measure=("accuracy", "maps"), seeds=(0,)), ["sp_sa"], tmp_path) == ["sp_sa seed 0 maps"]
    (file,) = store.beside(tmp_path, ".maps.npz").values()
    assert {epoch for _, _, epoch in map_files.unpacked(file)} == {0, 1, 2, None}  # a training keeps them in any case


@pytest.mark.parametrize("word", MEASUREMENTS)
def test_a_measurement_without_a_training_is_refused_in_a_sentence(word):
    with pytest.raises(ValueError, match=f"{word} is read from trained weights; write --measure accuracy,{word}"):
        replace(digits(), measure=("cost", word))
    assert "maps" in MEASURED


def test_one_patch_has_no_other_to_look_at(tmp_path):
    one = experiment(patch_size=8, measure=("accuracy", "maps"))
    trained = Trained(one, "sa", 0)
    list(trained.run(tmp_path, lambda count=1: None))
    cell = Measured(one, trained, "maps")
    rows = list(cell.run(tmp_path, lambda count=1: None))
    assert (rows[0]["value"], rows[0]["note"]) == (None, "a 1x1 grid has no other patch")
    assert all(row["metric"] != "attention_entropy" for row in rows)
    store.write(cell.path(tmp_path), rows)


def test_a_new_measurement_on_a_finished_study_trains_nothing(tmp_path):
    """It is had for the price of itself as long as the weights are there; without them the trainings are done again."""
    before, after = (experiment(measure=("accuracy", "shift", *more)) for more in ((), ("corruption",)))
    few = experiment().data
    few = replace(few, test_x=few.test_x[:20], test_y=few.test_y[:20])
    before, after = replace(before, data=few), replace(after, data=few)
    trainings = {"sa seed 0", "sp_sa seed 0"}
    assert set(work(before, ["sa", "sp_sa"], tmp_path)) == trainings | {f"{name} shift" for name in trainings}
    kept = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file()}
    assert sum(file.suffix == ".safetensors" for file in kept) == 2
    assert set(work(after, ["sa", "sp_sa"], tmp_path)) == {f"{name} corruption" for name in trainings}
    assert kept == {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in kept}
    every, missing = planned(after, ["sa", "sp_sa"])
    assert missing(tmp_path) == []
    (file,) = (tmp_path / "weights").glob("sp_sa*")
    file.unlink()
    assert missing(tmp_path) == []  # the rows are enough
    next(cell for cell in every if cell.name == "sp_sa seed 0 corruption").path(tmp_path).unlink()
    assert [cell.name for cell in missing(tmp_path)] == ["sp_sa seed 0", "sp_sa seed 0 corruption"]
    frame = store.load(tmp_path)
    assert frame.groupby("kind")["metric"].agg(set)["shift"] == {"shift_px_consistency", "shift_patch_consistency"}
    assert not frame.loc[frame["kind"] == "training", "metric"].str.startswith("shift").any()


def test_maps_and_shift_of_weights_whose_training_changed_are_other_cells(monkeypatch):
    digest = source.digest

    def keys():
        return {cell.name: cell.key for cell in planned(experiment(measure=("accuracy", "shift", "maps")), ["sa"])[0]}

    def changed(what):
        monkeypatch.setattr(source, "digest", lambda modules: digest(modules) + "+" * (what in modules))
        return {name for name, key in keys().items() if key != before[name]}

    before = keys()
    assert changed("harness.jobs.kinds.training") == set(before)
    assert changed("harness.measure.maps") == {"sa seed 0 maps"}
