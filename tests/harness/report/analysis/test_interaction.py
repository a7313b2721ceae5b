"""Whether gains depend on the recipe: differences of paired differences, against numpy and scipy."""

import numpy as np
import pytest
from scipy import stats

from harness.report.analysis import interaction
from harness.report.analysis.summary import summaries
from harness.report.pages.page import page
from tests.support import rows as made
from tests.support.page import Page, sketched

SEEDS = range(5)
TOP1 = {  # by recipe, then variant: the gain over sa by seed
    "plain": {"sp_sa": [1.0, 2.0, 1.5, 1.2, 1.3], "psa": [4.0, 4.4, 3.9, 4.1, 4.2]},
    "tokens": {"sp_sa": [6.1, 7.2, 6.4, 6.3, 6.5], "psa": [4.1, 4.2, 4.0, 4.3, 4.1]},
}
LESSONS = {"plain": {}, "tokens": {"lessons": "token labels by net (0123456789)", "token_labels": "annotate:net"}}


def rows(seeds=SEEDS):
    found = []
    for recipe, gains in TOP1.items():
        for seed in seeds:
            base = 50 + 3 * seed + (2 if recipe == "tokens" else 0)
            about = {"seed": seed, "epoch": 30, "test_px": 8, "unit": "%", "n": 360, "recipe_hash": recipe}
            for variant, gain in {"sa": [0.0] * 5, **gains}.items():
                cell = {"cell": f"{recipe}-{variant}-{seed}"}
                found.append(made.row(variant, "top1", base + gain[seed], **about, **cell))
    return found


def changes(tmp_path, found, lessons=LESSONS):
    study = made.take(tmp_path, found, {name: made.RECIPE | own for name, own in lessons.items()})
    return interaction.changes(study.settings, {setting.key: summaries(setting) for setting in study.settings})


def expected(variant, seeds=SEEDS, others=SEEDS, compared=2):
    """Mean and half-width of the change by numpy and scipy: tokens' gains at `seeds`, the plain ones at `others`."""
    apart = np.array(TOP1["tokens"][variant])[[*seeds]] - np.array(TOP1["plain"][variant])[[*others]]
    half = stats.t.ppf(1 - 0.05 / 2 / compared, len(apart) - 1) * apart.std(ddof=1) / np.sqrt(len(apart))
    return apart.mean(), half


def told(one):
    low, high = one.difference.estimate.low, one.difference.estimate.high
    return one.difference.estimate.center, (high - low) / 2


def test_a_change_is_the_difference_of_paired_gains(tmp_path):
    found = changes(tmp_path, rows())
    by_variant = {one.variant: one for one in found.changes}
    assert (found.compared, found.reference) == (2, "learning from labels alone")
    for variant, one in by_variant.items():
        assert told(one) == pytest.approx(expected(variant))
        assert one.recipe == "learning from token labels by net"
        assert one.reference == pytest.approx(np.mean(TOP1["plain"][variant]))
        assert one.gain == pytest.approx(np.mean(TOP1["tokens"][variant]))
    assert (by_variant["sp_sa"].words, by_variant["psa"].words) == ("suggests a larger gain", "undetermined")
    assert found.apart == 1
    assert [name for name, _ in found.baseline] == ["learning from labels alone", "learning from token labels by net"]


def test_seeds_are_paired_by_name_not_by_place(tmp_path):
    """The reference has seeds 0 to 3, the other recipe 1 to 4: three in common."""
    some = [one for one in rows() if one["seed"] != (4 if one["recipe_hash"] == "plain" else 0)]
    (one,) = (one for one in changes(tmp_path, some).changes if one.variant == "sp_sa")
    assert one.difference.estimate.n == 3
    assert told(one) == pytest.approx(expected("sp_sa", (1, 2, 3), (1, 2, 3)))
    assert told(one) != pytest.approx(expected("sp_sa", (1, 2, 3), (0, 1, 2)))  # planted: by place


def test_recipes_without_a_common_seed_are_two_samples(tmp_path):
    """By Welch's test, at the level of the two changes; one seed in common is neither a sample nor pairs enough."""
    apart = [one | {"seed": one["seed"] + 50} if one["recipe_hash"] == "tokens" else one for one in rows()]
    apart = [one for one in apart if one["seed"] != 54]  # four seeds with token labels, five without
    found = changes(tmp_path, apart)
    for one in found.changes:
        gains = TOP1["tokens"][one.variant][:4], TOP1["plain"][one.variant]
        ends = stats.ttest_ind(*gains, equal_var=False).confidence_interval(1 - 0.05 / 2)
        assert (one.difference.estimate.low, one.difference.estimate.high) == pytest.approx(tuple(ends))
        assert (one.gain, one.reference) == pytest.approx(tuple(map(np.mean, gains)))
        assert told(one)[1] != pytest.approx(expected(one.variant)[1])  # planted: paired by place
        assert one.seeds == "5 and 4", "of the reference, then of the recipe"
    assert {one.variant: one.words for one in found.changes} == {
        "sp_sa": "suggests a larger gain", "psa": "undetermined",
    }  # fmt: skip
    assert float(found.visible) > 0
    assert found.how == ". The two have no seed in common, so Welch's test compares them"
    assert changes(tmp_path / "paired", rows()).how == ", on the seeds that both have"
    third = [
        row | {"recipe_hash": "soft", "cell": f"soft{row['cell']}"} for row in rows() if row["recipe_hash"] == "tokens"
    ]
    lessons = LESSONS | {"soft": {"lessons": "soft distillation by net (0123456789)"}}
    mixed = changes(tmp_path / "mixed", apart + third, lessons)
    assert {one.seeds for one in mixed.changes} == {"5", "5 and 4"}
    assert mixed.how.startswith(", on the seeds that both have. Where there are two numbers")
    one_shared = [row | {"seed": row["seed"] + 4} if row["recipe_hash"] == "tokens" else row for row in rows()]
    assert changes(tmp_path / "one", one_shared) is None


def test_a_gain_that_falls_is_a_smaller_one(tmp_path):
    turned = {"tokens": {}, "plain": LESSONS["tokens"]}
    found = changes(tmp_path, rows(), turned)
    assert {one.variant: one.words for one in found.changes}["sp_sa"] == "suggests a smaller gain"


@pytest.mark.parametrize("lesson", ["hard distillation by net (0123456789)", "token labels by net (0123456789)"])
def test_the_reference_is_the_recipe_that_names_nothing(tmp_path, lesson):
    """Whatever its place in the alphabet."""
    assert (
        changes(tmp_path, rows(), {"plain": {}, "tokens": {"lessons": lesson}}).reference
        == "learning from labels alone"
    )
    assert (
        changes(tmp_path / "b", rows(), {"tokens": {}, "plain": {"lessons": lesson}}).reference
        == "learning from labels alone"
    )


def test_three_recipes_are_one_family_with_one_reference(tmp_path):
    third = [
        one | {"recipe_hash": "soft", "cell": f"soft{one['cell']}"} for one in rows() if one["recipe_hash"] == "tokens"
    ]
    lessons = LESSONS | {"soft": {"lessons": "soft distillation by net (0123456789)"}}
    found = changes(tmp_path, rows() + third, lessons)
    assert found.compared == 4
    assert {(one.variant, one.recipe) for one in found.changes} == {
        (variant, recipe) for variant in ("sp_sa", "psa")
        for recipe in ("learning from token labels by net", "learning from soft distillation by net")
    }  # fmt: skip
    assert told(found.changes[0]) == pytest.approx(expected(found.changes[0].variant, compared=4))


def test_what_has_no_spread_counts_and_is_not_shown(tmp_path):
    flat = [one | {"value": one["value"] - TOP1[one["recipe_hash"]]["psa"][one["seed"]] + 4} if one["variant"] == "psa"
            else one for one in rows()]  # fmt: skip
    found = changes(tmp_path, flat)
    assert (found.compared, [one.variant for one in found.changes]) == (2, ["sp_sa"])
    assert told(found.changes[0]) == pytest.approx(expected("sp_sa"))  # at the level of two


def test_two_seeds_in_common_are_too_few(tmp_path):
    few = [one for one in rows() if one["recipe_hash"] == "plain" or one["seed"] < 2]
    assert changes(tmp_path, few) is None


def test_digests_stay_where_they_tell_recipes_apart(tmp_path):
    two = {"plain": {"lessons": "token labels by net (aaaaaaaaaa)"},
           "tokens": {"lessons": "token labels by net (bbbbbbbbbb)"}}  # fmt: skip
    found = changes(tmp_path, rows(), two)
    assert {found.reference, found.changes[0].recipe} == {f"learning from {one['lessons']}" for one in two.values()}


def test_the_page_says_what_is_compared(tmp_path):
    study = made.take(tmp_path, rows(), {name: made.RECIPE | own for name, own in LESSONS.items()})
    with sketched():
        text = Page(page(study)).text
    assert "Does what a variant gains depend on the recipe?" in text
    assert "Of 2 changes 1 differ from 0." in text
    assert "a head on its patches" in text
    assert "suggests a larger gain" in text
