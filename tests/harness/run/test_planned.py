"""The plan of a study: what it decides on and with how many seeds, kept from its first start on."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.presets import digits
from harness.report.text import plan as sentences
from harness.run.planned import plan_of
from tests.support import rows as made

STUDY = replace(digits(), seeds=(0, 1, 2, 3, 4))
VARIANTS = ("sa", "sp_sa", "sp_sa[hidden=16]", "psa", "swin[window=4]", "uniform")


def test_the_first_start_records_all_but_controls_and_ablations():
    found = plan_of(STUDY, VARIANTS, None)
    assert found["primary"] == ["sp_sa", "psa", "swin[window=4]"]
    assert [one["seeds"] for one in found["looks"]] == [5]
    assert found["delta"] == 0.5
    named = plan_of(replace(STUDY, primary="convit,sp_sa[hidden=16]", delta=0.2), VARIANTS, None)
    assert (named["primary"], named["delta"]) == (["psa", "sp_sa[hidden=16]"], 0.2)


def test_more_seeds_are_another_look_and_fewer_are_none():
    first = plan_of(STUDY, VARIANTS, None)
    assert plan_of(STUDY, VARIANTS, first) == first
    assert plan_of(replace(STUDY, seeds=(0, 1)), (*VARIANTS, "gpsa"), first) == first
    more = plan_of(replace(STUDY, seeds=tuple(range(8)), delta=3.0), VARIANTS, first)
    assert [one["seeds"] for one in more["looks"]] == [5, 8]
    assert (more["primary"], more["delta"]) == (first["primary"], 0.5)


def test_a_study_that_began_without_a_plan_gets_none_later():
    assert plan_of(STUDY, VARIANTS, {"lr": 0.1}) == {"delta": 0.5}


def test_other_primary_variants_are_refused_later():
    first = plan_of(STUDY, VARIANTS, None)
    with pytest.raises(ValueError, match=r"decides on sp_sa, psa, .* leave out --primary"):
        plan_of(replace(STUDY, primary="psa"), VARIANTS, first)


def test_the_plan_is_no_part_of_a_key():
    assert replace(STUDY, primary="psa", delta=0.1).recipe_hash == STUDY.recipe_hash
    with pytest.raises(ValueError, match="delta=0 must be above 0"):
        replace(STUDY, delta=0)


def study_with(tmp_path, **entries):
    rows = made.accuracy(["sa", "psa", "gpsa"], range(5), [8])
    return made.take(tmp_path, rows, {made.HASH: made.RECIPE | entries})


LOOKS = [{"seeds": 5, "when": "2026-01-02"}, {"seeds": 8, "when": "2026-02-03"}]


def test_looks_share_the_error_rate_and_are_said(tmp_path):
    one = study_with(tmp_path / "one", looks=LOOKS[:1])
    two = study_with(tmp_path / "two", looks=LOOKS)
    assert (one.settings[0].rule.alpha, two.settings[0].rule.alpha) == (0.05, 0.025)
    assert sentences.seeds(one.settings) == "The number of seeds was fixed in advance: 5, recorded on 2026-01-02."
    assert sentences.seeds(two.settings).startswith("The rows were looked at 2 times, with 5 and 8 seeds: ")
    assert "judged at 97.5" in sentences.seeds(two.settings)
    assert sentences.seeds(study_with(tmp_path / "none").settings) == sentences.UNPLANNED


def test_of_several_settings_the_one_that_was_looked_at_twice_is_named(tmp_path):
    rows = made.accuracy(["sa", "psa", "gpsa"], range(5), [8])
    rows += [row | {"recipe_hash": "e" * 16} for row in rows]
    recipes = {made.HASH: made.RECIPE | {"looks": LOOKS[:1]},
               "e" * 16: made.RECIPE | {"pos_embed": "none", "looks": LOOKS}}  # fmt: skip
    words = sentences.seeds(made.take(tmp_path, rows, recipes).settings)
    assert words.startswith("The rows of position embedding none were looked at 2 times, with 5 and 8 seeds: ")


def test_each_setting_says_how_many_seeds_it_was_planned_with(tmp_path):
    other = "f" * 16
    rows = made.accuracy(["sa", "psa", "gpsa"], range(8), [8])
    rows += [row | {"recipe_hash": other} for row in made.accuracy(["sa", "psa", "gpsa"], range(5), [8])]
    recipes = {
        made.HASH: made.RECIPE | {"looks": [{"seeds": 8, "when": "2026-01-02"}]},
        other: made.RECIPE | {"pos_embed": "none", "looks": [{"seeds": 5, "when": "2026-01-03"}]},
    }
    assert sentences.seeds(made.take(tmp_path, rows, recipes).settings) == (
        "The numbers of seeds were fixed in advance: 8 (position embedding learned) and 5 (position embedding none), "
        "recorded on 2026-01-02 and 2026-01-03."
    )


def test_two_looks_at_five_percent_err_more_often_and_shared_they_do_not():
    """Five seeds, then eight of which these are the first: a difference that is none, "found" at either look."""
    values = np.random.default_rng(0).standard_normal((20_000, 8))
    p = np.stack([stats.ttest_1samp(values[:, :n], 0.0, axis=1).pvalue for n in (5, 8)])
    assert (p < 0.05).any(axis=0).mean() > 0.065
    assert (p < 0.05 / 2).any(axis=0).mean() < 0.05
