"""Two studies side by side: paired where it may be, noise called noise, and whatever is not alike said loudly."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.report import render_comparison
from harness.report.__main__ import main
from harness.report.analysis import compare as judging
from harness.report.analysis.compare import PAIRED, WELCH, compare
from harness.report.study.matched import cautions, matches
from harness.report.study.source import read, split
from harness.report.text.formatting import MINUS
from harness.results import stats, store
from tests.support import rows as made
from tests.support.page import HOSTILE, Page

OTHER = {"code": "1234567+dirty", "when": "2026-03-05T10:00:00+00:00", "source_hash": "beef"}
VARIANTS = ["sa", "psa", "gpsa"]


def moved(rows, variant="psa", points=0.0, spread=0.0, **columns):
    """The rows of a later commit, the variant's top-1 moved by points and, every second seed, by a spread."""
    found = []
    for row in rows:
        one = row | OTHER | columns
        if (one["variant"], one["metric"]) == (variant, "top1"):
            one["value"] += points + spread * (-1) ** one["seed"]
        found.append(one)
    return found


def slower(rows, variant, factor):
    """The rows with the variant's inference slower by a factor, in images/s and in each round's ratio."""
    found = []
    for row in rows:
        one = dict(row)
        if one["variant"] == variant and one["metric"] == "ratio":
            one |= {"value": one["value"] * factor, "samples": [sample * factor for sample in one["samples"]]}
        if one["variant"] == variant and one["metric"] == "images_per_s":
            one |= {"value": one["value"] / factor, "samples": [sample * factor for sample in one["samples"]]}
        found.append(one)
    return found


def sources(tmp_path, a, b, recipe_b=made.RECIPE):
    return (
        read(str(made.save(tmp_path / "a", a))),
        read(str(made.save(tmp_path / "b", b, recipe_b))),
    )


def compared(tmp_path, a, b, recipe_b=made.RECIPE):
    one, two = sources(tmp_path, a, b, recipe_b)
    comparison = compare(one, two, matches(one, two)[0][0])
    return {found.variant: found for found in comparison.variants}


def drawn(tmp_path, a, b, recipe_b=made.RECIPE):
    folders = [str(made.save(tmp_path / name, rows, recipe)) for name, rows, recipe in
               (("a", a, made.RECIPE), ("b", b, recipe_b))]  # fmt: skip
    html = render_comparison(*folders, tmp_path / "page.html").path.read_text(encoding="utf-8")
    return Page(html), html


def by_seed(rows, variant):
    mine = [r for r in rows if (r["variant"], r["metric"]) == (variant, "top1")]
    return [r["value"] for r in sorted(mine, key=lambda r: r["seed"]) if r["test_px"] == 8]


# ---- accuracy


def test_recipes_and_seeds_that_agree_are_paired(tmp_path):
    a = made.accuracy(VARIANTS, range(5), [8])
    b = moved(a, points=-1.0, spread=0.1)
    found = compared(tmp_path, a, b)
    expected = scipy_stats.ttest_rel(by_seed(b, "psa"), by_seed(a, "psa")).confidence_interval(1 - 0.05 / 3)
    assert found["psa"].how == PAIRED
    assert (found["psa"].top1.estimate.low, found["psa"].top1.estimate.high) == pytest.approx(tuple(expected))
    assert found["psa"].outcome == "less accurate"
    assert found["gpsa"].outcome == "the same"


@pytest.mark.parametrize("what", ["recipe", "seeds", "no recipe"])
def test_what_does_not_agree_is_welchs_and_then_a_point_is_not_resolved(what, tmp_path):
    a = made.accuracy(VARIANTS, range(5), [8])
    b = moved(a, points=-1.0, spread=0.1)
    recipe = {"recipe": made.RECIPE | {"epochs": 300}, "no recipe": None}.get(what, made.RECIPE)
    if what == "seeds":
        b = [r | {"seed": r["seed"] + 1} for r in b]
    found = compared(tmp_path, a, b, recipe)["psa"]
    test = scipy_stats.ttest_ind(by_seed(b, "psa"), by_seed(a, "psa"), equal_var=False)
    expected = test.confidence_interval(1 - 0.05 / 3)
    assert found.how == WELCH
    pairs = [dict(enumerate(by_seed(rows, "psa"))) for rows in (b, a)]
    assert what == "seeds" or stats.paired_difference(*pairs, 3).resolved  # what pairing by number would have claimed
    assert (found.top1.estimate.low, found.top1.estimate.high) == pytest.approx(tuple(expected))
    assert found.outcome == "not resolved"


def test_fewer_than_three_seeds_have_no_interval_and_no_claim(tmp_path):
    a = made.accuracy(VARIANTS, range(2), [8])
    page, _ = drawn(tmp_path, a, moved(a, points=-9.0, spread=0.1))
    assert re.search(r"psa not resolved \S9\.00 points from A to B \(paired by seed, 2 seeds; no interval\)", page.text)
    assert "less accurate" not in page.text.replace("left of it B is less accurate", "")


# ---- size and time


def test_a_time_changed_only_beyond_both_floors(tmp_path):
    a = made.study(VARIANTS, resolutions=[8])
    b = slower(slower(moved(a), "gpsa", 1.25), "psa", 1.01)  # the floors are 1 % each
    found = compared(tmp_path, a, b)
    assert found["gpsa"].times[""].resolved
    assert found["gpsa"].times[""].change.center == pytest.approx(1.25)
    assert not found["psa"].times[""].resolved
    assert not found["gpsa"].times["train_"].resolved


def test_without_the_floors_a_percent_would_count(tmp_path, monkeypatch):
    a = made.study(VARIANTS, resolutions=[8])
    one = slower(moved(a), "psa", 1.015)
    assert not compared(tmp_path / "with", a, one)["psa"].times[""].resolved
    monkeypatch.setattr(judging, "ratio_resolved", lambda change, floor: change.excludes(1.0))
    assert compared(tmp_path / "without", a, one)["psa"].times[""].resolved


def test_images_a_second_of_two_runs_are_never_judged(tmp_path):
    """A machine twice as slow: every rate halves, no ratio moves, nothing is resolved."""
    a = made.study(VARIANTS, resolutions=[8])
    b = [r | {"value": r["value"] / 2, "samples": [2 * s for s in r["samples"]]} if r["metric"] == "images_per_s" else r
         for r in moved(a)]  # fmt: skip
    page, _ = drawn(tmp_path, a, b)
    assert f"{MINUS}50.00 %" in page.text
    assert "slower" not in page.text
    assert "Images/s of two runs drift with the machine and are not judged" in page.text


@pytest.mark.parametrize(
    ("columns", "reason"),
    [({"machine": made.MACHINE | {"cpu": "Another"}}, "the machines differ"), ({"device": "cuda"}, "timed on cpu")],
)
def test_times_of_other_machines_or_conditions_are_not_judged(columns, reason, tmp_path):
    a = made.study(VARIANTS, resolutions=[8])
    found = compared(tmp_path, a, slower(moved(a, **columns), "gpsa", 1.5))["gpsa"].times[""]
    assert not found.resolved
    assert reason in found.reason


def test_gmacs_and_parameters_are_exact(tmp_path):
    a = made.study(VARIANTS, resolutions=[8])
    b = [r | {"value": r["value"] + 1} if (r["variant"], r["metric"]) == ("psa", "params") else r for r in moved(a)]
    page, _ = drawn(tmp_path, a, b)
    assert "213 050 → 213 051" in page.text  # not lost in "213 K"
    assert "Parameters 213 050 in A, 213 051 in B." in page.text
    assert page.text.count("→") == 1


def test_the_change_of_a_ratio_covers():
    """Medians of noisy rounds whose ratio did not change: the joined interval holds 1 in at least 93 % of pairs."""
    generator, hits, naive = np.random.default_rng(5), 0, 0
    for _ in range(60):
        one, two = (stats.median_interval(generator.lognormal(0.3, 0.05, 15).tolist()) for _ in range(2))
        hits += not stats.ratio_change(one, two).excludes(1.0)
        naive += two.low <= one.center <= two.high  # as if A were known exactly
    assert hits / 60 > 0.93 > naive / 60
    assert stats.ratio_change(one, stats.Estimate(1.0, None, None, 1, 0.95)).low is None


# ---- what is not alike, and what is in one alone


def test_what_differs_is_said_loudly(tmp_path):
    a = made.study(VARIANTS, resolutions=[8])
    machine, versions = made.MACHINE | {"cpu": "Another"}, made.VERSIONS | {"torch": "2.15.0"}
    b = moved(a, machine=machine, versions=versions)
    page, html = drawn(tmp_path, a, b, made.RECIPE | {"epochs": 300, "command": "again", "baseline": "psa"})
    for sentence in (
        "The recipes differ: epochs 30 in A, epochs 300 in B. So do the trainings.",
        "The baselines differ: sa in A, psa in B. No time is compared.",
        "The machines differ: cpu Made-up CPU in A, Another in B. Images/s are not comparable.",
        "The versions differ: torch 2.11.0 in A, 2.15.0 in B.",
    ):
        assert sentence in page.text
        assert f"<b>{sentence}</b>" in html
    alike, _ = drawn(tmp_path / "alike", a, moved(a))
    assert "Recipes, machines and versions are alike." in alike.text
    assert "differ:" not in alike.text


def test_variants_and_settings_of_one_side_are_named(tmp_path):
    a = made.accuracy(["sa", "psa"], range(3), [8])
    b = moved(made.accuracy(["sa", "gpsa"], range(3), [8]))
    b += [r | {"dataset": "cifar10"} for r in b]
    page, _ = drawn(tmp_path, a, b)
    assert "psa only in A" in page.text
    assert "gpsa only in B" in page.text
    assert "Only in B: cifar10" in page.text
    assert "Of 1 variant in both: 1 the same in every seed." in page.text


def test_settings_are_matched_by_what_they_are_and_not_by_the_studys_name(tmp_path):
    a = made.low_data(["sa", "psa"], range(3), fractions=(0.1, 1.0))
    one, two = sources(tmp_path, a, [r | {"study": "renamed"} for r in moved(a)])
    found, alone = matches(one, two)
    assert [match.name for match in found] == ["digits · micro · 8 px · all training images",
                                               "digits · micro · 8 px · 10\u00a0% of the training images"]  # fmt: skip
    assert (alone, cautions(one, two, found)) == ([], [])


def test_of_several_recipes_those_that_train_alike_are_matched(tmp_path):
    rows = made.accuracy(["sa", "psa"], range(3), [8])
    longer = [r | {"recipe_hash": "b" * 16, "value": r["value"] + 4} for r in rows]
    for name in ("a", "b"):
        folder = made.save(tmp_path / name, rows + longer)
        store.write_recipe(folder, "b" * 16, made.RECIPE | {"epochs": 300})
    found, alone = matches(read(str(tmp_path / "a")), read(str(tmp_path / "b")))
    assert [(match.a.key, match.recipes) for match in found] == [(match.b.key, []) for match in found]
    assert (len(found), alone) == (2, [])


# ---- two commits in one folder


def test_a_commit_of_a_folder_is_a_source_of_its_own(tmp_path, capsys, monkeypatch):
    a = made.accuracy(["sa", "psa"], range(3), [8])
    folder = made.save(tmp_path / "study", a + moved(a, points=-2.0, spread=0.1))
    one, two = read(f"{folder}@abc"), read(f"{folder}@1234567")
    assert (one.commits, two.commits) == (["abcdef0"], ["1234567+dirty"])
    assert {len(one.study.rows), len(two.study.rows)} == {len(a)}
    monkeypatch.chdir(tmp_path)
    assert main(["study@abc", "study@123"]) == 0
    assert capsys.readouterr().out.strip() == "reports/study@abc-vs-study@123.html"
    assert "▼ less accurate in B" in Page(Path("reports/study@abc-vs-study@123.html").read_text("utf-8")).text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("study@fff", "no row at study is of fff; there are abcdef0, 1234567+dirty"),
        ("study@", "study@ names no commit after the @"),
        ("study@abc", "more than one commit at study begins with abc; there are abcdef0, 1234567+dirty, abc4567"),
        ("nowhere@abc", "there are no results at nowhere"),
        ("other", "have no setting in common"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(asked, said, tmp_path, capsys, monkeypatch):
    a = made.accuracy(["sa", "psa"], range(3), [8])
    third = moved(a, code="abc4567") if asked.endswith("abc") else []
    made.save(tmp_path / "study", a + moved(a) + third)
    made.save(tmp_path / "other", [r | {"dataset": "cifar10"} for r in a])
    monkeypatch.chdir(tmp_path)
    assert main(["study", asked]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "reports").exists()


def test_a_folder_with_an_at_in_its_name_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me@home").mkdir()
    assert split("me@home") == (Path("me@home"), "")
    assert split("me@home@abc") == (Path("me@home"), "abc")
    assert split("study@abc") == (Path("study"), "abc")


def test_damaged_lines_are_named_and_the_rest_is_compared(tmp_path, capsys):
    a = made.accuracy(["sa"], range(3), [8])
    folders = [made.save(tmp_path / name, a) for name in ("a", "b")]
    with (folders[1] / "cells" / "0000.jsonl").open("a") as file:
        file.write("{\n")
    assert main([*map(str, folders), "--report", str(tmp_path / "page.html")]) == 1
    assert "0000.jsonl:7:" in capsys.readouterr().err
    assert "0000.jsonl:7:" in Page((tmp_path / "page.html").read_text("utf-8")).text


# ---- the page


def test_the_page_is_whole_and_self_contained_and_hostile_names_are_inert(tmp_path):
    a = made.study(["sa", *HOSTILE[:4]], seeds=range(3), resolutions=[8])
    page, html = drawn(tmp_path, a, [r | {"study": "</title><script>alert(6)</script>"} for r in moved(a)])
    assert len(page.named("script")) == 1
    assert "default-src 'none'" in html
    assert "<script>alert(1)</script>" in page.text
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = re.findall(r'href="#([^"]+)"|aria-labelledby="([^"]+)"|aria-describedby="([^"]+)"', html)
    assert {one for group in wanted for one in group if one} <= set(ids)
    assert not re.search(r"\b(nan|None|inf|undefined|NaN)\b", page.text)
    assert len(html.encode()) < 500_000


CASES = {
    "bare": [{"study": "s", "variant": "sa", "metric": "top1", "value": 90}],
    "all failed": [made.row(v, "top1", None, seed=s, note="no room") for v in ("sa", "psa") for s in (0, 1)],
    "no accuracy": made.speed(["sa", "psa"]) + made.cost(["sa", "psa"]),
    "odd values": [made.row("sa", "top1", v, seed=s, test_px=8) for s, v in enumerate([-1e300, 0, 1e300, 1e-30])],
    "equal seeds": [made.row("sa", "top1", 90.0, seed=s, test_px=8) for s in range(3)],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("error")
def test_every_study_can_be_compared_with_itself_and_with_a_later_one(case, tmp_path):
    page, _ = drawn(tmp_path, CASES[case], CASES[case], None)
    assert not re.search(r"\b(nan|None|inf|undefined|NaN)\b", page.text)
    later, _ = drawn(tmp_path / "later", CASES[case], [r | {"value": r["value"] and r["value"] + 1} | OTHER
                                                       for r in CASES[case]], None)  # fmt: skip
    assert not re.search(r"\b(nan|None|inf|undefined|NaN)\b", later.text)
