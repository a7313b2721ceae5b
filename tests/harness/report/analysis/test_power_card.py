"""The power card, by made-up rows whose headrooms are known."""

import pytest
from scipy import stats as scipy_stats

from harness.report.analysis.power_card import Card, before, cards
from harness.report.analysis.summary import summaries
from harness.report.pages.page import opening
from harness.results import stats
from tests.support import rows as made
from tests.support.page import Page, render

NONE = "e" * 16
FAMILY = {v: {"family": "convit"} for v in ("sa", "psa", "gpsa")} | {"uniform": {"family": "controls"}}
NOISE = (0.02, -0.03, 0.01, 0.0, -0.01)


def top1(gains, **columns):
    """Top-1 of five seeds: 80 and a variant's gain, with a little noise of its own."""
    found = []
    for number, (variant, gain) in enumerate(gains.items()):
        for seed in range(5):
            value = 80 + seed + gain + (1 + number) * NOISE[(seed + number) % 5]
            about = {"seed": seed, "epoch": 20, "unit": "%", **FAMILY[variant]}
            found.append(made.row(variant, "top1", value, test_px=8, **about, **columns))
    return found


def validated(gains, **columns):
    """Validation top-1 after 20 epochs: 1 point is gained in the last two."""
    return [
        made.row(
            variant, "val_top1", 70 + gain + 0.5 * epoch, seed=seed, epoch=epoch, unit="%", **FAMILY[variant], **columns
        )
        for variant, gain in gains.items()
        for seed in range(5)
        for epoch in range(1, 21)
    ]


LEARNED = {"sa": 0.0, "psa": 1.0, "gpsa": 0.3, "uniform": -9.0}
ALONE = {"sa": -20.0, "psa": 5.0, "gpsa": 6.0}  # by the test split gpsa is best, by the validation split psa
BY_VALIDATION = {"sa": -20.0, "psa": 6.0, "gpsa": 5.0}


def rows(learned=LEARNED):
    found = top1(learned) + validated(learned)
    return found + top1(ALONE, recipe_hash=NONE) + validated(BY_VALIDATION, recipe_hash=NONE)


RECIPES = {made.HASH: made.RECIPE, NONE: made.RECIPE | {"pos_embed": "none"}}


def card(tmp_path, learned=LEARNED, recipes=RECIPES):
    study = made.take(tmp_path, rows(learned), recipes)
    found = {setting.key: summaries(setting) for setting in study.settings}
    first = next(setting for setting in study.settings if "learned" in setting.key.recipe)
    return next(one for one in cards(study.settings, found) if one.name == first.name), found[first.key]


def by_hand(one, other, learned):
    seeds = [
        {r["seed"]: r["value"] for r in learned if (r["variant"], r["metric"]) == (v, "top1")} for v in (one, other)
    ]
    values = [seeds[0][seed] - seeds[1][seed] for seed in range(5)]
    low, high = scipy_stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    return f"+{sum(values) / 5:.2f} points [+{low:.2f}, +{high:.2f}]"


def test_a_setting_with_headroom_ranks_biases(tmp_path):
    one, _ = card(tmp_path)
    lines = dict(one.lines)
    assert lines["Attention headroom"] == by_hand("sa", "uniform", top1(LEARNED))
    assert lines["Position headroom"] == by_hand("psa", "sa", top1(ALONE)) + ", psa"
    assert lines["Convergence"] == "the last tenth of training gains +1.00 points of validation top-1 (at most +1.00)"
    assert lines["Distance to the ceiling"] == "17.00 points"
    assert one.failed == ""


def test_headrooms_are_over_plain_attention_whatever_the_baseline(tmp_path):
    """In a study of psa's settings psa is what all else is compared with, and may be the best of them."""
    recipes = {name: recipe | {"baseline": "psa"} for name, recipe in RECIPES.items()}
    lines = dict(card(tmp_path, recipes=recipes)[0].lines)
    assert lines["Attention headroom"] == by_hand("sa", "uniform", top1(LEARNED))
    assert lines["Attention headroom"] != by_hand("psa", "uniform", top1(LEARNED))  # planted: over the baseline
    assert lines["Position headroom"] == by_hand("psa", "sa", top1(ALONE)) + ", psa"
    without = top1({v: g for v, g in LEARNED.items() if v != "sa"})
    settings = made.take(tmp_path / "without", without, recipes).settings
    (one,) = cards(settings, {setting.key: summaries(setting) for setting in settings})
    assert dict(one.lines)["Attention headroom"] == "not measured; add sa", "nothing stands in its place"
    assert (one.known, one.failed) == (False, "its attention headroom is not measured; add sa.")


def test_a_best_without_a_test_is_no_headroom(tmp_path):
    """psa is best by the validation split and has no top-1; the next one counts, so that the card can fail by it."""
    found = [row for row in rows() if not (row["recipe_hash"] == NONE and row["variant"] == "psa"
                                           and row["metric"] == "top1")]  # fmt: skip
    recipes = {name: recipe | {"baseline": "psa"} for name, recipe in RECIPES.items()}
    settings = made.take(tmp_path, found, recipes).settings
    one = cards(settings, {setting.key: summaries(setting) for setting in settings})[0]
    assert dict(one.lines)["Position headroom"] == by_hand("gpsa", "sa", top1(ALONE)) + ", gpsa"


def test_the_best_by_the_test_split_would_be_another(tmp_path):
    assert dict(card(tmp_path)[0].lines)["Position headroom"] != by_hand("gpsa", "sa", top1(ALONE)) + ", gpsa"


def test_the_smallest_detectable_difference_is_the_median_of_the_contrasts(tmp_path):
    one, found = card(tmp_path)
    least = sorted(stats.detectable(s.difference) for s in found if s.primary)
    assert f"{sum(least) / 2:.2f} points is the smallest" in dict(one.lines)["Power"]
    assert "5 seeds, 4 comparisons" in dict(one.lines)["Power"]


FAILING = {
    "no attention headroom": (
        LEARNED | {"uniform": -0.01},
        RECIPES,
        "its attention headroom is",
        "This setting cannot rank biases",
    ),
    "uniform was not run": (
        {v: g for v, g in LEARNED.items() if v != "uniform"},
        RECIPES,
        "is not measured; add uniform",
        "It is not known whether this setting ranks biases",
    ),
}


@pytest.mark.parametrize("why", FAILING)
def test_a_setting_without_headroom_does_not(tmp_path, why):
    learned, recipes, words, lead = FAILING[why]
    one, _ = card(tmp_path, learned, recipes)
    assert words in one.failed
    assert one.lead == lead
    text = Page(render(tmp_path / "page", rows(learned), figures=False)).text
    assert f"{lead}: " in text
    assert text.index(lead) < text.index("Cost and accuracy")


def test_a_setting_that_ranks_is_led_by_its_headline(tmp_path):
    page = render(tmp_path, top1(LEARNED) + validated(LEARNED), figures=False)
    assert page.count('<p class="headline">') == 1
    assert page.index('<p class="headline">Of 2 variants') < page.index('id="power"')


@pytest.mark.parametrize(
    ("failing", "expected"),
    [
        ("", ("Of 2 ...", True)),
        ("a", ("b. Of 3 ...", True)),
        ("b", ("a. Of 2 ...", True)),
        ("ab", ("Of 2 ...", False)),
    ],
)
def test_a_page_opens_with_the_first_setting_that_ranks(failing, expected):
    every = [Card(name, [], "why" if name in failing else "") for name in "ab"]
    assert opening([("first", ""), ("a", "Of 2 ..."), ("b", "Of 3 ...")], every) == expected


def test_a_page_of_nothing_opens_with_nothing():
    assert opening([], []) == ("", False)


def test_plain_layers_are_named(tmp_path):
    recipes = {name: recipe | {"spatial_layers": 2} for name, recipe in RECIPES.items()}
    assert dict(card(tmp_path, recipes=recipes)[0].lines)["Attention headroom"].endswith(
        "; 2 of 4 layers are plain attention, and it says nothing about these"
    )


def test_without_a_study_of_it_position_is_not_measured_and_fails_nothing(tmp_path):
    recipes = RECIPES | {NONE: RECIPES[NONE] | {"lr": 0.5}}
    one, _ = card(tmp_path, recipes=recipes)
    assert dict(one.lines)["Position headroom"] == "not measured"
    assert one.failed == ""


def test_the_last_tenth_begins_after_nine_tenths():
    assert before({9: 1.0, 17: 2.0, 18: 3.0, 19: 4.0, 20: 5.0}) == 3.0
    assert before({20: 5.0}) is None
