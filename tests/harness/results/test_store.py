"""Rows: refused when they are wrong, whole on disk, readable around damage."""

import json

import pytest

from harness.results import store

GOOD = {"study": "s", "variant": "sa", "metric": "top1", "value": 97.5, "unit": "%"}


def test_rows_survive_the_round_trip(tmp_path):
    rows = [GOOD, GOOD | {"value": None, "note": "out of memory"}, GOOD | {"samples": [1.0, 2.0]}]
    store.write(tmp_path / "a.jsonl", rows)
    frame = store.load(tmp_path)
    assert list(frame.columns) == list(store.COLUMNS)
    assert frame["value"].tolist()[::2] == [97.5, 97.5]
    assert frame["value"].isna().tolist() == [False, True, False]
    assert frame["samples"][2] == [1.0, 2.0]
    assert frame.attrs["damaged"] == []
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"value": float("nan")}, "finite number or null"),
        ({"value": float("inf")}, "finite number or null"),
        ({"value": "97"}, "finite number or null"),
        ({"value": True}, "finite number or null"),
        ({"value": None}, "no note says why"),
        ({"samples": [1.0, float("nan")]}, "not all finite"),
        ({"accuracy": 1}, "unknown column 'accuracy'"),
        ({"metric": None}, "needs a metric"),
        ({"n": "x"}, "a whole number or null"),
        ({"n": float("inf")}, "a whole number or null"),
    ],
)
def test_a_wrong_row_is_refused_and_nothing_is_written(tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        store.write(tmp_path / "a.jsonl", [GOOD, GOOD | change])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    store.write(tmp_path / "a.jsonl", [GOOD])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(tmp_path / "a.jsonl", [GOOD, GOOD])
    assert len(store.load(tmp_path)) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def test_damaged_lines_are_named_and_the_rest_is_read(tmp_path):
    store.write(tmp_path / "a.jsonl", [GOOD, GOOD])
    whole = (tmp_path / "a.jsonl").read_bytes()
    lines = [b'{"study": "s"', b"\xff\xfe", b"[1]", json.dumps(GOOD | {"value": "x"}).encode(), b"[" * 100_000,
             json.dumps(GOOD).replace("97.5", "1" + 400 * "0").encode()]  # fmt: skip
    (tmp_path / "b.jsonl").write_bytes(b"\n".join(lines) + b"\n" + whole)
    frame = store.load(tmp_path)
    assert len(frame) == 4
    damaged = frame.attrs["damaged"]
    assert [(d.file.endswith("b.jsonl"), d.line) for d in damaged] == [(True, n) for n in range(1, 7)]
    assert str(damaged[0]).startswith(f"{tmp_path / 'b.jsonl'}:1: ")


def test_no_folder_and_no_rows_are_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="no results at"):
        store.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no rows at"):
        store.load(tmp_path)


def test_recipes_are_kept_beside_the_rows(tmp_path):
    store.write_recipe(tmp_path, "abc", {"lr": 0.1})
    (tmp_path / "recipes" / "bad.json").write_text("{")
    assert store.recipes(tmp_path) == {"abc": {"lr": 0.1}}


def test_the_tidy_csv_holds_every_row(tmp_path):
    import pandas as pd

    store.write(tmp_path / "a.jsonl", [GOOD | {"machine": {"cpu": "x"}}, GOOD | {"note": 'a "quoted", note'}])
    store.to_csv(store.load(tmp_path), tmp_path / "tidy.csv")
    back = pd.read_csv(tmp_path / "tidy.csv")
    assert back["value"].tolist() == [97.5, 97.5]
    assert back["note"][1] == 'a "quoted", note'
    assert json.loads(back["machine"][0]) == {"cpu": "x"}


def test_a_layer_is_a_whole_number_or_none():
    row = {"study": "s", "variant": "sa", "metric": "attention_distance", "value": 1.0}
    store.check(row | {"layer": 3})
    store.check(row)
    with pytest.raises(ValueError, match="the layer of attention_distance is '3'; it is a whole number or null"):
        store.check(row | {"layer": "3"})
