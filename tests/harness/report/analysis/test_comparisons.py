"""How many comparisons a table's intervals hold for: those that it shows, and of one model but one."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from harness.report.analysis import leading
from harness.report.analysis.compare import compare
from harness.report.analysis.summary import differences_of, summaries
from harness.report.export import readme
from harness.report.study.matched import matches
from harness.report.study.primary import contrasts
from harness.report.study.source import read
from harness.results import stats
from tests.support import rows as made
from tests.support.page import Page, render

SEEDS = range(5)
ARMS = ("psa", "gpsa", "swin")


def curve(variant, like=None, seeds=SEEDS, losses=True, change=0.0, top1=None):
    """Top-1, validation and losses of a variant's trainings, those of `like` where it is another name of that model."""
    rows = []
    for seed in seeds:
        own = np.random.default_rng([seed, *(like or variant).encode()])
        shared = np.random.default_rng(seed).standard_normal()
        here = {"seed": seed, "cell": f"{variant}-{seed}"}
        for epoch in (1, 2, 3):
            loss, right = float(own.uniform(0.2, 2.0)), float(own.integers(300, 340))
            if losses:
                rows.append(made.row(variant, "loss", loss + change * (seed == 4 and epoch == 2), epoch=epoch, **here))
            rows.append(made.row(variant, "val_top1", right / 3.6, epoch=epoch, unit="%", n=360, **here))
        value = round(330 + 4 * shared + 3 * own.standard_normal()) / 3.6 if top1 is None else top1[seed]
        rows.append(made.row(variant, "top1", value, epoch=3, test_px=8, unit="%", n=360, **here))
    return rows


def setting_of(tmp_path, *curves):
    rows = [row for variant in ("sa", *ARMS) for row in curve(variant)]
    return made.take(tmp_path, [*rows, *(row for one in curves for row in one)]).settings[0]


def confidence_of(setting, variant="psa"):
    return next(s for s in summaries(setting) if s.variant == variant).difference.estimate.confidence


def test_two_names_of_one_model_are_one_comparison(tmp_path):
    setting = setting_of(tmp_path, curve("uniform"), curve("no_content", like="uniform"))
    assert {v: first for v, first in setting.same.items() if v != first} == {"uniform": "no_content"}
    assert confidence_of(setting) == pytest.approx(1 - 0.05 / 4), "three arms and one model of two names"
    found = {s.variant: s for s in summaries(setting)}
    assert (found["uniform"].same_as, found["no_content"].same_as) == (("no_content",), ("uniform",))
    assert found["uniform"].difference == found["no_content"].difference
    raw = np.array([found[v].difference.p for v in (*ARMS, "uniform")])
    assert [found[v].p for v in (*ARMS, "uniform")] == pytest.approx(np.minimum(1, 4 * raw)), "p counts it once, too"
    assert found["no_content"].p == found["uniform"].p


NOT_ONE = {
    "one loss of one epoch differs in the last digits": {"change": 1e-12},
    "no losses, and a test split so small that accuracies agree": {"losses": False},
    "fewer seeds": {"seeds": range(4)},
}


@pytest.mark.parametrize("why", NOT_ONE)
def test_what_only_looks_alike_is_counted_by_itself(tmp_path, why):
    uniform = curve("uniform", losses="losses" not in NOT_ONE[why])
    setting = setting_of(tmp_path, uniform, curve("no_content", like="uniform", **NOT_ONE[why]))
    assert setting.same == {variant: variant for variant in setting.variants}
    assert confidence_of(setting) == pytest.approx(1 - 0.05 / 5)
    assert not any(s.same_as for s in summaries(setting))


def test_the_same_top1_of_two_models_is_two_comparisons(tmp_path):
    top1 = [90.0, 91.0, 92.5, 90.5, 89.5]
    setting = setting_of(tmp_path, curve("uniform", top1=top1), curve("no_content", top1=top1))
    assert setting.same["uniform"] == "uniform"
    assert confidence_of(setting) == pytest.approx(1 - 0.05 / 5)


def test_another_name_of_the_baseline_is_no_comparison(tmp_path):
    setting = setting_of(tmp_path, curve("window", like="sa"))
    assert setting.same["window"] == "sa"
    assert confidence_of(setting) == pytest.approx(1 - 0.05 / 3)


def test_one_model_with_other_values_is_counted_by_its_values():
    by_seed = {"sa": dict.fromkeys("012", 1.0), "a": dict(zip("012", (2.0, 3.0, 5.0), strict=True))}
    by_seed |= {"b": dict(by_seed["a"]), "c": by_seed["a"] | {"2": 9.0}}
    same = {"sa": "sa", "a": "a", "b": "a", "c": "a"}
    assert contrasts(by_seed, "sa", same) == 2
    assert contrasts(by_seed, "sa", {}) == 3
    assert contrasts({"sa": {}}, "sa", {}) == 0
    found = differences_of(by_seed, SimpleNamespace(baseline="sa", same=same))
    assert found["a"] == found["b"]
    assert found["a"].estimate.confidence == pytest.approx(1 - 0.05 / 2)


def test_the_page_says_so_and_names_the_number_that_was_used(tmp_path):
    rows = [r for variant in ("sa", *ARMS, "uniform") for r in curve(variant)] + curve("no_content", like="uniform")
    text = Page(render(tmp_path, rows)).text
    assert "It has the same numbers as uniform in every seed and epoch: they are one comparison." in text
    assert "It has the same numbers as no_content in every seed and epoch: they are one comparison." in text
    assert "are simultaneous (each at 98.75 %). 4 comparisons here are in the page's primary family of 4." in text
    assert "each at 98.75 %, Bonferroni" in text


def test_two_studies_count_one_model_once(tmp_path):
    rows = [r for variant in ("sa", *ARMS, "uniform") for r in curve(variant)] + curve("no_content", like="uniform")
    moved = [r | {"value": r["value"] + 0.01 * (int(r["seed"]) + 1)} for r in rows]
    a, b = (read(str(made.save(tmp_path / name, each))) for name, each in (("a", rows), ("b", moved)))
    found = compare(a, b, matches(a, b)[0][0])
    assert found.simultaneous.estimate.confidence == pytest.approx(1 - 0.05 / 5)


def two_columns(tmp_path):
    """A setting of the table with two ablations of sp_sa that it hides, and one that leads it."""
    lead, other = "a" * 16, "b" * 16
    names = ("sp_sa", *ARMS, "uniform")
    rows = [r | {"recipe_hash": lead, "train_px": 9, "test_px": 9 if r["metric"] == "top1" else None}
            for v in ("sa", *names) for r in curve(v)]  # fmt: skip
    hidden = ("sp_sa[hidden=16]", "sp_sa[hidden=64]", "sp_sa[form=linear]")
    for variant in ("sa", *names, *hidden):
        rows += [r | {"recipe_hash": other} for r in curve(variant)]
        rows += [r | {"recipe_hash": other, "test_px": 12, "value": r["value"] - 9} for r in curve(variant)
                 if r["metric"] == "top1"]  # fmt: skip
    recipes = {lead: made.RECIPE | {"img_size": 9}, other: made.RECIPE}
    study = made.take(tmp_path, rows, recipes)
    return study, leading.chosen(study, {setting.key: summaries(setting) for setting in study.settings})


def test_readme_and_page_have_one_verdict_for_one_contrast(tmp_path):
    """Ablations are no part of the primary family, which is one over the page: 5 contrasts in each of 2 settings."""
    study, shown = two_columns(tmp_path)
    column, names = shown[1], leading.listed(shown)
    assert len(names) == 5
    assert {v for v, s in column.found.items() if s.primary} == set(names)
    for name in names:
        assert column.found[name].difference.estimate.confidence == pytest.approx(1 - 0.05 / 10)
    assert column.found["sp_sa[hidden=16]"].difference.estimate.confidence == pytest.approx(1 - 0.05 / 3)
    assert "over the 10 comparisons of the primary family" in readme.caption(study, shown)
    part = readme.part(study, "made", "figures").text
    psa = column.found["psa"].difference.estimate
    assert f"[{readme.points(psa.low)}, {readme.points(psa.high)}".replace("[", "\\[") in part


def test_an_interval_of_a_mean_ends_at_100_percent_and_says_so(tmp_path):
    top1 = dict(zip(SEEDS, (99.0, 99.5, 100.0, 98.9, 100.0), strict=True))
    rows = [r for variant in ("sa", "psa") for r in curve(variant)] + curve("swin", top1=top1)
    setting = made.take(tmp_path / "rows", rows).settings[0]
    mean = next(s for s in summaries(setting) if s.variant == "swin").top1
    assert stats.mean_interval(list(top1.values())).high > 100.0, "the planted error"
    assert (mean.high, mean.reason) == (100.0, "no share passes 100 %, so the interval ends there")
    text = Page(render(tmp_path, rows)).text
    assert "No share passes 100 %, so the interval ends there." in text
    assert not re.search(r"\b1(0[0-9]\.\d*[1-9]|[1-9]\d\.\d\d)\]", text)
