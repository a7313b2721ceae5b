"""The search for a recipe: on the baseline and the validation split alone, resumable, in words."""

from dataclasses import replace

import pytest

from harness import search
from harness.presets import digits
from harness.results import store
from harness.training.recipe import Recipe


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    quick = replace(digits(), seeds=(0,), recipe=Recipe(epochs=2, warmup_epochs=1))
    monkeypatch.setattr(search, "preset", lambda name: quick)
    monkeypatch.setitem(search.GRIDS, "digits", {"lr": (1e-3, 2e-3), "pos_std": (0.5,)})


def test_it_reads_the_baseline_and_the_validation_split_alone(tmp_path, capsys):
    assert search.main(["--output", str(tmp_path)]) == 0
    frame = store.load(tmp_path / "digits")
    assert set(frame["metric"]) == {"val_top1"}
    assert set(frame["variant"]) == {"sa"}
    assert sorted(frame["note"]) == ["lr=0.001 pos_std=0.5", "lr=0.002 pos_std=0.5"]
    assert "lr=0.002 pos_std=0.5" in capsys.readouterr().out
    before = {f.name: f.read_bytes() for f in tmp_path.rglob("*.jsonl")}
    assert search.main(["--output", str(tmp_path)]) == 0
    assert before == {f.name: f.read_bytes() for f in tmp_path.rglob("*.jsonl")}


def test_ctrl_c_and_bad_input_are_sentences(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "work", interrupted)
    assert search.main(["--output", str(tmp_path)]) == 130
    assert "harness.search: interrupted; what was recorded is whole, and the same" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert search.main(["--output", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err
