"""The search for a recipe: on the baseline and the validation split alone, resumable, in words."""

from dataclasses import replace

import pandas as pd
import pytest

from harness import search
from harness.presets import digits
from harness.results import store
from harness.training.recipe import Recipe
from tests.support.bodies import SMALL


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    quick = replace(digits(), **SMALL, seeds=(0,), train_images=320, recipe=Recipe(epochs=2, warmup_epochs=1))
    monkeypatch.setattr(search, "preset", lambda name: quick)
    monkeypatch.setitem(search.GRIDS, "digits", {"lr": (1e-3, 2e-3), "pos_std": (0.5,)})


def test_it_reads_the_baseline_and_the_validation_split_alone(tmp_path, capsys):
    assert search.main(["--output", str(tmp_path), "--jobs", "1"]) == 0
    frame = store.load(tmp_path / "digits")
    assert set(frame["metric"]) == {"val_top1"}
    assert set(frame["variant"]) == {"sa"}
    assert sorted(params["lr"] for params in frame["params"]) == [0.001, 0.002]
    assert {params["pos_std"] for params in frame["params"]} == {0.5}
    assert all(set(params) == {"lr", "pos_std"} for params in frame["params"])
    assert set(frame["kind"]) == {"search"}
    assert frame["note"].isna().all()
    shown = capsys.readouterr().out
    best = frame.loc[frame["value"].idxmax(), "params"]
    assert shown.splitlines()[2].startswith(f"lr={best['lr']:g} pos_std=0.5")
    before = {f.name: f.read_bytes() for f in tmp_path.rglob("*.jsonl")}
    assert search.main(["--output", str(tmp_path), "--jobs", "1"]) == 0
    assert before == {f.name: f.read_bytes() for f in tmp_path.rglob("*.jsonl")}


def test_the_table_groups_by_point_and_leaves_out_other_cells():
    points = [{"lr": 0.001, "pos_std": 1.0}, {"lr": 0.002, "pos_std": 1.0}]
    rows = pd.DataFrame(
        [{"cell": f"{place}{seed}", "params": point, "value": 70.0 + 10 * place + seed}
         for place, point in enumerate(points) for seed in (0, 2)]
        + [{"cell": "another", "params": points[0], "value": 99.0}]
    )  # fmt: skip
    lines = search.table(rows, ["00", "02", "10", "12"]).splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["lr=0.002", "pos_std=1", "81.0", "80.0", "82.0", "2"], ["lr=0.001", "pos_std=1", "71.0", "70.0", "72.0", "2"],
    ]  # fmt: skip


def test_ctrl_c_and_bad_input_are_sentences(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "work", interrupted)
    assert search.main(["--output", str(tmp_path), "--jobs", "1"]) == 130
    assert "harness.search: interrupted; what was recorded is whole, and the same" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert search.main(["--output", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err
