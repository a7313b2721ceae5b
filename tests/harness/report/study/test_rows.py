"""Which rows are stale, which are replaced by later ones, and what tells two numbers of one metric apart."""

import pandas as pd
import pytest

from harness.report.study.rows import superseded, tidy
from harness.results import store
from tests.support import rows as made

DAYS = [f"2026-01-{day:02d}T00:00:00+00:00" for day in range(1, 9)]


def tidied(tmp_path, rows):
    """The rows in the order that they are given in, a day each."""
    store.write(tmp_path / "cell.jsonl", [row | {"when": day} for row, day in zip(rows, DAYS, strict=False)])
    return tidy(store.load(tmp_path))


def row(source, kind="training", variant="sa", metric="top1", **columns):
    return made.row(variant, metric, 90.0, source_hash=source, kind=kind, **columns)


STALE = {
    "old rows: whatever is not of the newest row's source": (
        [row("feed", None), row("beef", None), row("feed", None)], [False, True, False]),
    "new rows of one state": (
        [row("t1+sa1"), row("m1+sa1", "maps"), row("t1+psa1", variant="psa")], [False, False, False]),
    "a changed variant makes its own rows stale alone": (
        [row("t1+sa1"), row("t1+psa1", variant="psa"), row("m1+psa1", "maps", "psa"), row("t1+psa2", variant="psa")],
        [False, True, True, False]),
    "a changed kind makes its own rows stale alone, of every variant": (
        [row("t1+sa1"), row("t1+psa1", variant="psa"), row("m1+sa1", "maps"), row("t2+sa1")],
        [True, True, False, False]),
    "a newer row of another kind and variant says nothing": (
        [row("t1+sa1"), row("m7+psa9", "maps", "psa")], [False, False]),
    "what reads the weights of an older training is stale": (
        [row("t1+sa1"), row("m1+sa1+t1", "maps"), row("t2+sa1"), row("m1+sa1+t2", "maps", seed=1)],
        [True, True, False, False]),
    "kinds are compared on one dataset": (
        [row("t1+sa1", dataset="digits"), row("t2+sa1", dataset="fashion_mnist")], [False, False]),
    "an arm of a variant goes with the variant": (
        [row("b1+sp1", "binarized", "sp_sa kept 25 %", params={"spec": "sp_sa"}), row("t1+sp2", variant="sp_sa")],
        [True, False]),
    "an old row beside new ones is of another source than the newest": (
        [row("feed", None), row("t1+sa1"), row("feed")], [False, False, False]),
    "an old row is compared as a whole": ([row("feed", None), row("t1+sa1")], [True, False]),
    "without a kind halves are not compared": ([row("t1+sa1", None), row("t2+sa1", None)], [True, False]),
}  # fmt: skip


@pytest.mark.parametrize("case", STALE)
def test_what_is_stale(tmp_path, case):
    rows, expected = STALE[case]
    assert tidied(tmp_path, rows)["stale"].tolist() == expected


def test_what_recipes_execute_besides_is_compared_among_their_own(tmp_path):
    rows = [row("t1+sa1", recipe_hash="plain"), row("d1+sa1", recipe_hash="hard"), row("d1+sa1", recipe_hash="tokens"),
            row("m1+sa1+t1", "maps", recipe_hash="plain"), row("m1+sa1+d1", "maps", recipe_hash="hard"),
            row("d2+sa1", recipe_hash="soft")]  # fmt: skip
    stored = tidied(tmp_path, rows)
    assert stored["stale"].tolist() == [True, True, True, True, True, False]  # without recipes all are one kind
    recipes = {"plain": {}, "hard": {"teacher": "net"}, "soft": {"teacher": "net"}, "tokens": {"token_labels": "net"}}
    assert tidy(store.load(tmp_path), recipes)["stale"].tolist() == [False, True, True, False, True, False]
    started = {"plain": {"init_from": "weights"}, "hard": {}, "tokens": {}, "soft": {}}
    assert tidy(store.load(tmp_path), started)["stale"].tolist()[0] is False


def corrupted(value, corruption, severity, **columns):
    params = {"corruption": corruption, "severity": severity}
    return made.row("sa", "corrupted_top1", value, seed=0, test_px=8, **({"params": params} | columns))


def replaced(tmp_path, rows):
    tidy_rows = tidied(tmp_path, rows)
    tidy_rows["recipe"] = ""
    return superseded(tidy_rows).tolist()


def test_severities_do_not_replace_each_other(tmp_path):
    rows = [corrupted(80.0, "noise", 1), corrupted(70.0, "noise", 2), corrupted(60.0, "blur", 1),
            corrupted(81.0, "noise", 1)]  # fmt: skip
    assert replaced(tmp_path, rows) == [True, False, False, False]


def test_a_failure_is_replaced_by_its_own_part_and_by_any_where_it_knows_none(tmp_path):
    failed = corrupted(None, "noise", 2, note="out of memory")
    nowhere = corrupted(None, "", 0, note="no weights", params=None)
    other, same = corrupted(80.0, "noise", 1), corrupted(70.0, "noise", 2)
    assert replaced(tmp_path / "a", [failed, other]) == [False, False]
    assert replaced(tmp_path / "b", [failed, other, same]) == [True, False, False]
    assert replaced(tmp_path / "c", [nowhere, other]) == [True, False]
    assert replaced(tmp_path / "d", [other, nowhere]) == [False, False]


def test_what_else_params_say_tells_nothing_apart(tmp_path):
    first, second = (made.row("sa", "top1", 90.0, seed=0, test_px=8, params={"mlp_hidden": wide}) for wide in (1, 2))
    assert replaced(tmp_path, [first, second]) == [True, False]
    assert isinstance(tidied(tmp_path / "again", [first]), pd.DataFrame)
