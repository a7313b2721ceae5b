"""Convergence on the page: curves by epoch and by seconds, and what a target takes, against numbers known before."""

import numpy as np
import pytest

from harness.report.analysis import learning
from harness.report.figures import convergence
from harness.report.study.study import study as take_apart
from harness.report.tables import reached
from harness.results import stats, store
from tests.support import rows as made
from tests.support.page import Page, cells, render, table_of

# by seed: validation top-1 and seconds at the end of epochs 1, 2, ...
TOP1 = {0: [70.0, 85.0, 90.0, 89.0, 96.0], 1: [60.0, 90.5, 91.0, 92.0, 94.0], 2: [75.0, 80.0, 85.0, 90.0, 96.5]}
SECONDS = {0: [2.0, 3.0, 5.0, 7.0, 11.0], 1: [1.0, 4.0, 6.0, 8.0, 9.0], 2: [2.5, 3.5, 4.5, 6.5, 7.5]}
KNOWN = {90.0: ((3 + 2 + 4) / 3, (5.0 + 4.0 + 6.5) / 3, 3), 95.0: (5.0, (11.0 + 7.5) / 2, 2)}


def known(variant="sa", device="cpu"):
    found = []
    for seed, values in TOP1.items():
        for epoch, (value, seconds) in enumerate(zip(values, SECONDS[seed], strict=True), start=1):
            about = {"seed": seed, "epoch": epoch, "test_px": 8, "device": device}
            found.append(made.row(variant, "val_top1", value, unit="%", n=200, **about))
            found.append(made.row(variant, "train_s", seconds, unit="s", **about))
    return found


def settings(tmp_path, rows, recipe=made.RECIPE):
    folder = made.save(tmp_path / "study", rows, recipe)
    return take_apart(store.load(folder), store.recipes(folder)).settings


def reaches(rows, tmp_path):
    setting = settings(tmp_path, rows)[0]
    return {target: learning.reach(learning.learnings(setting)[0], target) for target in KNOWN}


def has_the_known_answers(found):
    return all(
        (one.epochs.value, one.seconds.value, one.reached) == (pytest.approx(epochs), pytest.approx(seconds), count)
        for target, (epochs, seconds, count) in KNOWN.items()
        for one in [found[target]]
    )


def test_epochs_and_seconds_to_a_target_are_those_worked_out_by_hand(tmp_path):
    found = reaches(known(), tmp_path)
    assert has_the_known_answers(found)
    assert (found[95.0].reached, found[95.0].seeds) == (2, 3)
    interval = stats.mean_interval([3.0, 2.0, 4.0])
    assert (found[90.0].epochs.low, found[90.0].epochs.high) == pytest.approx((interval.low, interval.high))


MUTANTS = {
    "above, not at": lambda by_epoch, target: min((e for e, v in by_epoch.items() if v > target), default=None),
    "the epoch after": lambda by_epoch, target: min((e + 1 for e, v in by_epoch.items() if v >= target), default=None),
    "the last that is": lambda by_epoch, target: max((e for e, v in by_epoch.items() if v >= target), default=None),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_another_epoch_than_the_first_at_or_above_is_noticed(mutant, tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "first_at_least", MUTANTS[mutant])
    rows = [r for r in known() if r["epoch"] < 6]
    extra = [r | {"epoch": 6, "value": r["value"] + 1} for r in known() if r["epoch"] == 5]
    assert not has_the_known_answers(reaches(rows + extra, tmp_path))


@pytest.mark.parametrize("moved", [-1, 1])
def test_seconds_of_another_epoch_are_noticed(moved, tmp_path):
    rows = [r | {"epoch": r["epoch"] + moved} if r["metric"] == "train_s" else r for r in known()]
    assert not has_the_known_answers(reaches(rows, tmp_path))


def test_the_table_says_how_many_seeds_and_why_there_is_a_dash(tmp_path):
    weaker = [r | {"value": r["value"] - 4} if r["metric"] == "val_top1" else r for r in known("psa")]
    failed = [made.row("swin", "top1", None, seed=0, note="the loss became NaN in epoch 3")]
    page = Page(render(tmp_path, known() + weaker + failed))
    sa, psa, swin = (cells(page, variant, 5)[0] for variant in ("sa", "psa", "swin"))
    assert sa[1].split() == ["3.0", "[0.5,", "5.5]"]
    assert sa[3].split() == ["5.0", "2", "of", "3", "seeds"]
    assert sa[4].split()[0] == "9.25"
    assert "—" in psa[3]
    assert "—" in swin[1]
    assert "No seed of psa reaches 95 % on the validation split: 92.50 % is the highest of 3 seeds." in page.text
    assert "the loss became NaN in epoch 3" in page.text


def test_the_curves_are_means_over_the_same_seeds_at_every_epoch(tmp_path):
    rows = known() + known("psa")
    page = Page(render(tmp_path, rows))
    for name in ("s1-by-epoch.csv", "s1-by-second.csv"):
        table = [line for line in table_of(page, name) if line["variant"] == "psa"]
        assert [int(line["epoch"]) for line in table] == [1, 2, 3, 4, 5]
        for line in table:
            at = int(line["epoch"]) - 1
            values = [TOP1[seed][at] for seed in TOP1]
            interval = stats.mean_interval(values)
            assert float(line["val_top1_mean"]) == pytest.approx(np.mean(values))
            assert float(line["val_top1_low"]) == pytest.approx(interval.low)
            seed, value = line["val_top1_by_seed"].split()[1].split(":")
            assert (seed, float(value)) == ("1", float(f"{values[1]:.6g}"))
            if name == "s1-by-second.csv":
                assert float(line["seconds"]) == pytest.approx(np.mean([SECONDS[seed][at] for seed in SECONDS]))


def test_an_epoch_that_a_seed_was_not_validated_at_has_no_mean(tmp_path):
    rows = [r for r in known() if (r["metric"], r["seed"], r["epoch"]) != ("val_top1", 1, 3)]
    one = learning.learnings(settings(tmp_path, rows)[0])[0]
    assert [point.epoch for point in one.by_epoch] == [1, 2, 4, 5]
    assert {point.top1.n for point in one.by_epoch} == {3}


def test_seconds_of_two_machines_are_not_mixed(tmp_path):
    slow = [r | {"seed": r["seed"] + 3, "value": 100 * r["value"] if r["metric"] == "train_s" else r["value"],
                 "machine": made.MACHINE | {"cpu": "Old CPU"}} for r in known() if r["seed"] < 2]  # fmt: skip
    setting = settings(tmp_path, known() + slow)[0]
    one = learning.learnings(setting)[0]
    assert learning.device(setting) == "cpu (Made-up CPU)"
    assert max(point.seconds for point in one.by_second) < 12
    assert {point.top1.n for point in one.by_epoch} == {5}
    assert learning.reach(one, 90.0).seconds.value is None


def test_what_the_recipe_asks_for_is_the_target_else_what_the_baseline_reaches(tmp_path):
    asked = settings(tmp_path / "asked", known(), made.RECIPE | {"reach": [92.5, 80]})[0]
    assert learning.targets(asked, learning.learnings(asked)) == [80.0, 92.5]
    chosen = settings(tmp_path / "chosen", known("psa") + known())[0]
    assert learning.targets(chosen, learning.learnings(chosen)) == [90.0, 95.0]  # (96 + 94 + 96.5) / 3 = 95.5
    odd = settings(tmp_path / "odd", known(), made.RECIPE | {"reach": [True, "many"]})[0]
    assert odd.reach == []


def test_old_rows_with_one_validation_give_no_curve_and_no_table(tmp_path):
    html = render(tmp_path, made.study(["sa", "psa"]))
    page = Page(html)
    assert "<h3>Convergence</h3>" not in html
    assert "to reach" not in page.text
    old = [made.row("psa", "val_top1", 97.0, seed=seed, epoch=30, unit="%") for seed in range(3)]
    mixed = Page(render(tmp_path, known() + old, name="mixed"))
    assert {line["variant"] for line in table_of(mixed, "s1-by-epoch.csv")} == {"sa"}
    assert "Not validated after more than one epoch." in mixed.text


def test_without_seconds_there_is_the_figure_by_epoch_alone(tmp_path):
    page = Page(render(tmp_path, [r for r in known() if r["metric"] == "val_top1"]))
    assert "Convergence by epoch." in page.text
    assert "Convergence by seconds" not in page.text
    sa = cells(page, "sa", 5)[0]
    assert sa[1].split()[0] == "3.0"
    assert "—" in sa[2]


def test_marks_are_few_and_the_last_point_has_one():
    assert convergence.marked(3, 0.5) == [0, 1, 2]
    for phase in np.linspace(0, 0.99, 12):
        places = convergence.marked(50, phase)
        assert places[-1] == 49
        assert len(places) <= convergence.MARKED + 1
        assert places == sorted(set(places))


def test_a_stale_training_is_marked(tmp_path):
    newer = made.accuracy(["psa"], range(3), [8])
    old = [r | {"source_hash": "old", "when": "2025-12-01T00:00:00+00:00"} for r in known()]
    setting = settings(tmp_path, old + newer)[0]
    table = reached.table(setting, learning.learnings(setting), [90.0])
    assert any("Stale" in note for note in table.notes)
