"""The committed study with a hundred images: what is said of it, beside the study with all, is in the rows of both."""

import pytest

from harness.report.analysis.power_card import cards
from harness.report.analysis.summary import summaries
from harness.report.study.source import read
from harness.results.stats import paired_difference
from tests.support import markdown
from tests.support.paths import ROOT


def of(name):
    """The first setting of a committed study, and its summaries by variant."""
    study = read(str(ROOT / "results" / name)).study
    setting = next(one for one in study.settings if one.primary and "none" not in one.key.recipe)
    return setting, {summary.variant: summary for summary in summaries(setting)}


@pytest.fixture(scope="module")
def few():
    return of("low-data")


@pytest.fixture(scope="module")
def many():
    return of("fashion-cluttered")


def gains(found):
    """By main variant and seed."""
    return {
        v: {seed: value - found["sa"].seeds[seed] for seed, value in one.seeds.items()}
        for v, one in found.items() if one.primary
    }  # fmt: skip


def changes(few, many):
    """By variant how its gain differs, all intervals holding together."""
    low, high = gains(few), gains(many)
    assert low.keys() == high.keys()
    assert len(low) == 11
    found = {v: paired_difference(low[v], high[v], len(low)).estimate for v in low}
    assert {one.n for one in found.values()} == {8}
    return found


def changed(few, many):
    """The variants whose gains differ, and by how much."""
    return {v: one.center for v, one in changes(few, many).items() if one.excludes(0.0)}


def test_the_same_are_more_accurate(few, many):
    better = [{v for v, one in found.items() if one.decided and one.difference.verdict == "better"}
              for _, found in (few, many)]  # fmt: skip
    assert better[0] == better[1]
    assert len(better[0]) == 9
    text = " ".join(markdown.read("README.md").split())
    for v in ("lepe", "sp_sa"):
        assert f"`{v}` by {few[1][v].difference.estimate.center:+.2f}" in text
    assert max(better[0], key=lambda v: few[1][v].difference.estimate.center) == "lepe"


def test_the_gains_of_windows_alone_suggest_a_change(few, many):
    found = changed(few[1], many[1])
    assert found.keys() == {"swin", "cswin"}
    words = " ".join(markdown.read("results/README.md").split())
    assert f"`swin` (+{found['swin']:.2f} points more) and `cswin` (+{found['cswin']:.2f})" in words
    assert changed(few[1], few[1]) == {}  # planted: a study beside itself
    halves = [(one.high - one.low) / 2 for one in changes(few[1], many[1]).values()]
    assert f"reach {min(halves):.1f} to {max(halves):.1f} points to each side" in words


def test_the_setting_ranks_biases(few):
    setting, found = few
    (card,) = cards([setting], {setting.key: [*found.values()]})
    assert (card.known, card.failed) == (True, "")
    assert setting.train_fraction == "0.01"
