"""Whether gains depend on the recipe: differences of paired differences, against numpy and scipy."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.report.analysis import ablation, interaction
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


def recipes(tmp_path, found, lessons=LESSONS):
    study = made.take(tmp_path, found, {name: made.RECIPE | own for name, own in lessons.items()})
    return ablation.of_recipes(study.settings, {setting.key: summaries(setting) for setting in study.settings})


def changes(tmp_path, found, lessons=LESSONS):
    (one,) = recipes(tmp_path, found, lessons)
    return interaction.changes(one)


def test_a_change_is_the_difference_of_paired_gains(tmp_path):
    found = changes(tmp_path, rows())
    assert found.family == 2
    by_variant = {one.variant: one for one in found.changes}
    for variant, one in by_variant.items():
        apart = np.subtract(TOP1["tokens"][variant], TOP1["plain"][variant])
        assert one.difference.estimate.center == pytest.approx(apart.mean())
        half = stats.t.ppf(1 - 0.05 / 2 / 2, 4) * apart.std(ddof=1) / np.sqrt(5)  # two intervals hold together
        assert one.difference.estimate.high - one.difference.estimate.center == pytest.approx(half)
        assert (one.label, one.usual) == ("token labels by net", "labels alone")
    assert (by_variant["sp_sa"].words, by_variant["psa"].words) == ("gains more", "undetermined")
    assert found.decided == 1


def test_means_that_are_not_paired_would_say_nothing(tmp_path):
    """Planted: another seed's gain. The spread of the seeds hides the change."""
    apart = np.subtract(TOP1["tokens"]["sp_sa"], np.roll(TOP1["plain"]["sp_sa"], 1))
    (one,) = (one for one in changes(tmp_path, rows()).changes if one.variant == "sp_sa")
    half = stats.t.ppf(1 - 0.05 / 2 / 2, 4) * apart.std(ddof=1) / np.sqrt(5)
    assert one.difference.estimate.high - one.difference.estimate.center < 0.7 * half


def test_the_order_of_the_variants_is_told_for_each_recipe(tmp_path):
    orders = changes(tmp_path, rows()).orders
    assert [(one.label, [name for name, _ in one.gains]) for one in orders] == [
        ("labels alone", ["psa", "sp_sa", "sa"]), ("token labels by net", ["sp_sa", "psa", "sa"])
    ]  # fmt: skip
    assert orders[0].words == "psa +4.12, sp_sa +1.40, sa 0.00"


def test_two_seeds_in_common_are_too_few(tmp_path):
    few = [one for one in rows() if one["recipe_hash"] == "plain" or one["seed"] < 2]
    assert changes(tmp_path, few) is None


def test_the_usual_value_is_the_one_that_no_recipe_names(tmp_path):
    (one,) = recipes(tmp_path, rows())
    assert {interaction.usual_of(factor).label for factor in one.factors} == {"labels alone"}
    named = replace(one.factors[0], arms=[replace(arm, usual=False) for arm in one.factors[0].arms])
    longer = [replace(named.arms[0], baseline={}), named.arms[1]]
    assert interaction.usual_of(replace(named, arms=longer)) is longer[1]  # none: the one with the most seeds


def test_digests_stay_where_they_tell_arms_apart(tmp_path):
    two = {
        "plain": {"lessons": "token labels by net (aaaaaaaaaa)"},
        "tokens": {"lessons": "token labels by net (bbbbbbbbbb)"},
    }
    assert {one.label for one in changes(tmp_path, rows(), two).changes} == {"token labels by net (bbbbbbbbbb)"}


def test_the_page_shows_changes_and_orders(tmp_path):
    study = made.take(tmp_path, rows(), {name: made.RECIPE | own for name, own in LESSONS.items()})
    with sketched():
        text = Page(page(study)).text
    assert "Does what a variant gains depend on the recipe?" in text
    assert "1 of 2 gains do" in text
    assert "psa +4.12, sp_sa +1.40, sa 0.00" in text
