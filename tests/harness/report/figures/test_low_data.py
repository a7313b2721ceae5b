"""The share of the training images on the page: figures over shares, pairing by seed, the titles of sections."""

import re

import numpy as np
import pytest

from harness.jobs import study as recipe
from harness.report.analysis import low_data as fractions
from harness.report.analysis import summary
from harness.report.analysis.summary import summaries
from harness.report.figures import low_data
from harness.report.figures.style import palette
from harness.report.pages import section
from harness.report.study.recipes import BESIDE, entry_words
from harness.report.study.study import alike
from harness.report.study.study import study as take_apart
from harness.results import stats, store
from tests.support import rows as made
from tests.support.page import Page, render, sketched, table_of

FRACTIONS = (0.01, 0.1, 1.0)
NAMES = ("sa", "psa", "swin")


@pytest.fixture(scope="module")
def rows():
    found = made.low_data(NAMES, range(5))
    return [r for r in found if (r["variant"], r["seed"], r["train_fraction"]) != ("psa", 1, 0.1)]  # unequal seeds


@pytest.fixture(scope="module")
def page(rows, tmp_path_factory):
    extra = made.cost(NAMES) + made.speed(NAMES, resolutions=(8, 12))
    with sketched():
        return Page(render(tmp_path_factory.mktemp("low"), rows + extra))


def by_seed(rows, variant, fraction):
    return {r["seed"]: r["value"] for r in rows if (r["variant"], r["train_fraction"]) == (variant, fraction)}


def group_of(tmp_path, rows):
    folder = made.save(tmp_path / "study", rows)
    settings = take_apart(store.load(folder), store.recipes(folder)).settings
    return fractions.groups(settings, {setting.key: summaries(setting) for setting in settings})[0]


def agrees_with_the_rows(table, rows):
    """Whether every difference of the figure's data is the mean over the seeds of that variant and share alone."""
    for line in table:
        variant, fraction = line["variant"], float(line["train_fraction"])
        expected = stats.paired_difference(by_seed(rows, variant, fraction), by_seed(rows, "sa", fraction), 2)
        found = [float(line[key]) for key in ("difference", "difference_low", "difference_high")]
        estimate = expected.estimate
        if found != pytest.approx([estimate.center, estimate.low, estimate.high]):
            return False
        if (int(line["paired_seeds"]), line["resolved"] == "yes") != (estimate.n, expected.resolved and fraction == 1):
            return False
    return len(table) == 2 * len(FRACTIONS)


def test_the_curve_draws_what_the_rows_say_by_share(page, rows):
    table = table_of(page, "f1-low-data.csv")
    assert len(table) == len(NAMES) * len(FRACTIONS)
    for line in table:
        values = list(by_seed(rows, line["variant"], float(line["train_fraction"])).values())
        interval = stats.mean_interval(values)
        found = [float(line[key]) for key in ("top1_mean", "top1_low", "top1_high", "seeds")]
        assert found == pytest.approx([interval.center, interval.low, interval.high, len(values)])


def test_the_differences_are_paired_within_their_share(page, rows):
    assert agrees_with_the_rows(table_of(page, "f1-low-data-difference.csv"), rows)


def shuffled(variant, baseline, compared=1):
    """Pairs by position, the seeds of one side in another order."""
    return stats.paired_difference(dict(enumerate(list(variant.values())[::-1])), dict(enumerate(baseline.values())),
                                   compared)  # fmt: skip


def unpaired(variant, baseline, compared=1):
    """Against the baseline's mean."""
    return stats.paired_difference(variant, dict.fromkeys(variant, float(np.mean(list(baseline.values())))), compared)


@sketched()
@pytest.mark.parametrize("mutant", [shuffled, unpaired])
def test_a_wrong_pairing_of_seeds_is_noticed(mutant, tmp_path, rows, monkeypatch):
    def wrongly(by_seed, setting, rule=None):
        base = by_seed[setting.baseline]
        return {v: mutant(seeds, base, 2) for v, seeds in by_seed.items() if v != setting.baseline}

    monkeypatch.setattr(summary, "differences_of", wrongly)
    page = Page(render(tmp_path, rows))
    assert not agrees_with_the_rows(table_of(page, "f1-low-data-difference.csv"), rows)


def test_the_difference_of_another_share_is_noticed(page, rows):
    table = table_of(page, "f1-low-data-difference.csv")
    other = {"0.01": "0.1", "0.1": "1.0", "1.0": "0.01"}
    assert not agrees_with_the_rows([line | {"train_fraction": other[line["train_fraction"]]} for line in table], rows)


def test_the_overview_says_who_is_resolved_at_each_share(page):
    text = page.text[page.text.index("1 % Suggests more accurate") :]
    said = re.search(r"1 % (.*?)\. 10 % (.*?)\. 100 % (.*?)\. Top-1", text)
    found = {line["train_fraction"]: [] for line in table_of(page, "f1-low-data-difference.csv")}
    for line in table_of(page, "f1-low-data-difference.csv"):
        if float(line["difference_low"]) > 0 or float(line["difference_high"]) < 0:
            found[line["train_fraction"]].append(line["variant"])
    for words, names in zip(said.groups(), found.values(), strict=True):
        assert {name for name in NAMES[1:] if f"{name} (" in words} == set(names)


def test_each_share_has_its_section_and_the_whole_comes_first(page):
    titles = re.findall(r"digits · micro · 8 px · ([^·]*? images)(?= \d variants)", page.text)
    assert titles == ["all training images", "10 % of the training images", "1 % of the training images"]
    assert page.text.index("Top-1 by share") < page.text.index("2 variants against sa")


def test_speed_and_cost_hold_for_every_share_and_are_drawn_once(page):
    costs = [row[1].split()[0] for row in page.main if row[0].startswith("psa")]
    assert costs == ["213.1"] * 3  # K, in the head
    assert page.text.count("Inference by resolution.") == 1
    assert page.text.count("Speed does not depend on the share of the training images") == 2


@sketched()
def test_one_share_alone_is_no_curve(tmp_path):
    one = [r for r in made.low_data(NAMES, range(3)) if r["train_fraction"] == 0.1]
    page = Page(render(tmp_path, one))
    assert "by share of the training images" not in page.text
    assert "digits · micro · 8 px · 10 % of the training images" in page.text


def test_a_share_is_told_of_the_images_that_the_recipe_uses(tmp_path):
    rows = made.low_data(NAMES, range(3), (0.1, 1.0))
    recipes = {"a" * 16: made.RECIPE | {"train_images": 5400}}
    study = made.take(tmp_path, [r | {"recipe_hash": "a" * 16} for r in rows], recipes)
    found = {setting.key: summaries(setting) for setting in study.settings}
    assert [setting.name.split(" · ")[3] for setting in study.settings] == [
        "all 5,400 training images", "10\u00a0% of 5,400 training images",
    ]  # fmt: skip
    (group,) = fractions.groups(study.settings, found)
    assert group.name == "digits · micro · 8 px"
    ((together, _), _) = alike(study.settings, "recipe")
    assert together == study.settings[0].name


def test_without_a_baseline_there_is_the_curve_and_no_difference(tmp_path):
    group = group_of(tmp_path, made.low_data(("psa", "swin"), range(3)))
    look = palette.looks(group.variants, group.baseline)
    (drawing,) = low_data.draw(group, look, "f")
    assert len(drawing.table) == 6
    assert len(section.overview(group, look, 1).drawings) == 1
    assert fractions.sentences(group)[0] == ("1\u00a0%", "nothing is compared with sa.")


def test_shares_of_two_ablation_arms_are_two_figures(tmp_path):
    rows = made.low_data(NAMES, range(3), (0.1, 1.0))
    other = [r | {"recipe_hash": "b" * 16} for r in rows]
    folder = made.save(tmp_path / "study", rows + other)
    store.write_recipe(folder, "b" * 16, made.RECIPE | {"spatial_layers": 10})
    settings = take_apart(store.load(folder), store.recipes(folder)).settings
    assert [setting.name.split(" · ", 3)[3] for setting in settings] == [
        "all training images · spatial layers 4", "10\u00a0% of the training images · spatial layers 4",
        "all training images · spatial layers 10", "10\u00a0% of the training images · spatial layers 10",
    ]  # fmt: skip
    groups = fractions.groups(settings, {setting.key: summaries(setting) for setting in settings})
    assert [group.name for group in groups] == [
        "digits · micro · 8 px · spatial layers 4",
        "digits · micro · 8 px · spatial layers 10",
    ]


def test_recipe_entries_read_as_words():
    assert entry_words("spatial_layers", 2) == "spatial layers 2"
    assert entry_words("class_token", "late") == "class token late"
    assert entry_words("pos_embed", "none") == "position embedding none"
    assert entry_words("clip_grad", None) == "gradient clipping not set"
    assert entry_words("model_ema", False) == "without EMA of the weights"


def test_what_is_free_in_a_study_makes_no_settings(tmp_path):
    assert recipe.FREE - {"recipe"} <= BESIDE
    folder = made.save(tmp_path / "study", made.accuracy(["sa", "psa"], range(3), [8]))
    again = [r | {"recipe_hash": "b" * 16, "seed": r["seed"] + 3} for r in made.accuracy(["sa", "psa"], range(3), [8])]
    store.write(folder / "cells" / "again.jsonl", again)
    beside = {"variants": "all", "reach": [90], "match": "gmac", "finetune_epochs": 5, "checkpoint_interval": 1.0,
              "val_interval": 5, "workers": 0, "jobs": 2, "vary": ["lr", [1]], "train_fractions": [0.1]}  # fmt: skip
    store.write_recipe(folder, "b" * 16, made.RECIPE | beside)
    settings = take_apart(store.load(folder), store.recipes(folder)).settings
    assert [setting.name for setting in settings] == ["digits · micro · 8 px"]


def test_an_entry_that_rows_have_a_column_for_is_not_named_twice(tmp_path):
    folder = made.save(tmp_path / "study", made.accuracy(["sa"], range(3), [8]))
    larger = [r | {"recipe_hash": "b" * 16, "train_px": 12} for r in made.accuracy(["sa"], range(3), [12])]
    store.write(folder / "cells" / "larger.jsonl", larger)
    store.write_recipe(folder, "b" * 16, made.RECIPE | {"img_size": 12})
    settings = take_apart(store.load(folder), store.recipes(folder)).settings
    assert [setting.name for setting in settings] == ["digits · micro · 8 px", "digits · micro · 12 px"]
