"""The page's numbers are those that numpy and scipy make of the rows (tests/recompute.py), and no others."""

from dataclasses import replace

import pytest

from harness.report.analysis.summary import summaries
from harness.report.study.source import read
from harness.results import family
from tests import recompute
from tests.support.paths import ROOT

STUDIES = {
    "reference": {"better", "equal", "undetermined"},
    "translated": {"better", "undetermined"},
    "fashion-cluttered": {"better", "worse", "undetermined"},
    "low-data": {"better", "worse", "undetermined"},
}  # and verdicts there


@pytest.fixture(scope="module", params=STUDIES)
def folder(request):
    return ROOT / "results" / request.param


@pytest.fixture(scope="module")
def again(folder):
    return recompute.primary(folder)


@pytest.fixture(scope="module")
def settings(folder):
    return read(str(folder)).study.settings


def place(setting):
    """How recompute.py names a setting."""
    entries = [str(setting.recipe.get(entry)) for entry in recompute.APART]
    return (setting.key.dataset, setting.key.size, setting.train_px, *entries)


def told(s):
    """The numbers of a summary, by recompute.py's names."""
    d = s.difference
    found = {"mean": s.top1.value, "mean_low": s.top1.low, "mean_high": s.top1.high, "difference": d.estimate.center}
    if d.estimate.low is not None:
        found |= {"low": d.estimate.low, "high": d.estimate.high, "p": d.adjusted, "p_equal": d.adjusted_equal}
    return found, d.verdict


def agrees(page, again):
    for variant, expected in again.items():
        numbers, verdict = told(page[variant])
        assert numbers == pytest.approx({k: v for k, v in expected.items() if k != "verdict"}, rel=1e-6, abs=1e-9)
        assert verdict == expected.get("verdict", "")


def test_the_main_tables_are_what_numpy_and_scipy_make_of_the_rows(folder, again, settings):
    primary = {place(setting): setting for setting in settings if setting.primary}
    assert primary.keys() == again.keys()
    for key, setting in primary.items():
        page = {s.variant: s for s in summaries(setting) if s.primary and s.difference is not None}
        assert page.keys() == again[key].keys()
        agrees(page, again[key])
    verdicts = {one.get("verdict") for by_variant in again.values() for one in by_variant.values()}
    assert verdicts >= STUDIES[folder.name]


PLANTED = {
    "plain variances": lambda monkeypatch: monkeypatch.setattr(family, "FEWEST_ARMS", 99),
    "a p that is not adjusted": lambda monkeypatch: monkeypatch.setattr(
        family, "adjust", lambda differ, equal, compared: family.np.stack([differ, equal])
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_other_statistics_are_noticed(again, settings, monkeypatch, name):
    PLANTED[name](monkeypatch)
    setting = next(setting for setting in settings if setting.primary)
    with pytest.raises(AssertionError):
        agrees({s.variant: s for s in summaries(setting)}, again[place(setting)])


def test_a_wrong_seed_is_noticed(again, settings):
    setting = next(setting for setting in settings if setting.primary)
    page = {s.variant: s for s in summaries(setting)}
    wrong = page["psa"].top1
    with pytest.raises(AssertionError):
        agrees(
            page | {"psa": replace(page["psa"], top1=replace(wrong, value=wrong.value + 0.01))}, again[place(setting)]
        )
