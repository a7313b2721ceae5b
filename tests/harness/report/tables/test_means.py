"""The one table of means: every group of metrics has it by its line in metrics.py alone, with differences and gaps."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.report.tables import means
from harness.results import metrics
from harness.results.metrics import Group, Heading, Metric
from tests.support import rows as made
from tests.support.page import Page, render

NAMES, SEEDS = ("sa", "psa", "sp_sa"), range(4)
MINUS = "\N{MINUS SIGN}"


def drawn(variant, seed, base, gain):
    shared = np.random.default_rng([seed, 11]).standard_normal()
    own = np.random.default_rng([seed, *variant.encode()]).standard_normal()
    return base + gain * NAMES.index(variant) + shared * abs(gain) + 0.1 * own * abs(gain)


def measured(metric, base, gain, **columns):
    """A metric of all variants and seeds; a seed moves all variants alike."""
    return [made.row(v, metric, drawn(v, s, base, gain), seed=s, test_px=8, n=360, **columns)
            for v in NAMES for s in SEEDS]  # fmt: skip


@pytest.fixture
def rows():
    found = made.accuracy(NAMES, SEEDS, [8])
    found += measured("nll", 0.4, -0.05, unit="nat") + measured("brier", 0.1, -0.01) + measured("ece", 4.0, 1.0)
    for corruption, severity, base in (("noise", 1, 90.0), ("noise", 2, 80.0), ("blur", 1, 70.0)):
        found += measured("corrupted_top1", base, 2.0, params={"corruption": corruption, "severity": severity})
    return found


def values(rows, metric, variant, params=None):
    mine = [r for r in rows if (r["metric"], r["variant"]) == (metric, variant)]
    return [r["value"] for r in mine if params is None or r.get("params") == params]


def number(text):
    return float(text.replace(MINUS, "-").replace("\u202f", ""))


def cell_of(table, variant, title, group):
    place = next(at for at, c in enumerate(table.columns) if (c.title, c.group) == (title, group))
    return next(line.cells[place] for line in table.lines if line.variant == variant)


def test_each_mean_has_its_interval_and_its_paired_difference(tmp_path, rows):
    table = means.table(made.take(tmp_path, rows).settings[0], "calibration")
    heads = {"nll": "Negative log-likelihood", "brier": "Brier score", "ece": "Expected calibration error"}
    assert [c.group for c in table.columns[::2]] == list(heads.values())
    for metric, group in heads.items():
        base = values(rows, metric, "sa")
        for variant in NAMES:
            mine, cell = values(rows, metric, variant), cell_of(table, variant, "Mean", group)
            assert number(cell.text) == pytest.approx(np.mean(mine), abs=0.006)
            difference = cell_of(table, variant, "Difference", group)
            if variant == "sa":
                assert (difference.text, difference.tone) == ("0", "open")
                continue
            paired = scipy_stats.ttest_rel(mine, base)
            low, high = paired.confidence_interval(1 - 0.05 / 2)  # Bonferroni over the two variants of a column
            assert difference.sort == pytest.approx(np.mean(mine) - np.mean(base))
            ends = [number(end) for end in difference.detail.strip("[]").split(", ")]
            assert ends == pytest.approx([low, high], abs=0.006)


def test_less_is_better_where_the_metric_says_so(tmp_path, rows):
    setting = made.take(tmp_path, rows).settings[0]
    calibration, corruption = (means.table(setting, group) for group in ("calibration", "corruption"))
    assert (
        cell_of(calibration, "sp_sa", "Difference", "Negative log-likelihood").remark == "suggests better"
    )  # falls, and is good
    assert cell_of(calibration, "sp_sa", "Difference", "Expected calibration error").remark == "suggests worse"
    assert cell_of(corruption, "sp_sa", "Difference", "Noise, severity 1").remark == "suggests better"


def test_every_severity_has_columns_of_its_own(tmp_path, rows):
    table = means.table(made.take(tmp_path, rows).settings[0], "corruption")
    assert [name for name, _ in table.groups()] == ["Blur, severity 1", "Noise, severity 1", "Noise, severity 2"]
    for corruption, severity in (("noise", 1), ("noise", 2), ("blur", 1)):
        params = {"corruption": corruption, "severity": severity}
        cell = cell_of(table, "psa", "Mean", f"{corruption.capitalize()}, severity {severity}")
        assert number(cell.text) == pytest.approx(np.mean(values(rows, "corrupted_top1", "psa", params)), abs=0.006)
    mixed = np.mean(values(rows, "corrupted_top1", "psa"))
    assert abs(number(cell.text) - mixed) > 1  # what a table that mixed them would show


def test_a_failure_explains_its_own_group_alone(tmp_path, rows):
    note = "the softmax overflowed"
    rest = [r for r in rows if (r["variant"], r["metric"]) not in {("psa", "nll"), ("psa", "top1")}]
    setting = made.take(tmp_path, [*rest, made.row("psa", "nll", None, seed=0, test_px=8, note=note)]).settings[0]
    table = means.table(setting, "calibration")
    for title in ("Mean", "Difference"):
        gap = cell_of(table, "psa", title, "Negative log-likelihood")
        assert (gap.text, [table.notes[n - 1] for n in gap.notes]) == ("\N{EM DASH}", [note])
    assert all(note not in words for words in means.table(setting, "corruption").notes)


def test_a_failed_severity_explains_its_own_column(tmp_path, rows):
    lost = {"corruption": "noise", "severity": 2}
    rest = [r for r in rows if (r["variant"], r.get("params")) != ("psa", lost)]
    null = made.row("psa", "corrupted_top1", None, seed=0, test_px=8, note="out of memory", params=lost)
    table = means.table(made.take(tmp_path, [*rest, null]).settings[0], "corruption")
    assert cell_of(table, "psa", "Mean", "Noise, severity 2").text == "\N{EM DASH}"
    assert cell_of(table, "psa", "Mean", "Noise, severity 1").text != "\N{EM DASH}"
    assert table.notes == ["out of memory"]


def test_what_nobody_measured_has_no_line_and_two_seeds_no_interval(tmp_path, rows):
    few = [r for r in rows if r["variant"] != "psa" or r["metric"] == "top1"]
    few = [r for r in few if r.get("seed") in (0, 1)]
    table = means.table(made.take(tmp_path, few).settings[0], "calibration")
    assert [line.variant for line in table.lines] == ["sa", "sp_sa"]
    cell = cell_of(table, "sp_sa", "Difference", "Brier score")
    assert (cell.detail, cell.tone) == ("", "open")
    assert any(words.startswith("No interval: 2 seeds") for words in table.notes)


def test_without_a_baseline_there_is_no_difference(tmp_path, rows):
    table = means.table(made.take(tmp_path, [r for r in rows if r["variant"] != "sa"]).settings[0], "calibration")
    assert cell_of(table, "psa", "Difference", "Brier score").text == "\N{EM DASH}"
    assert any("there is no brier of the baseline sa" in words for words in table.notes)


def test_the_page_shows_both_groups(tmp_path, rows):
    page = Page(render(tmp_path, rows))
    assert "Calibration Lower is better." in page.text
    assert "the probabilities of 360 test images say how often a model is right" in page.text
    assert "Accuracy on corrupted images Higher is more robust." in page.text
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert "Calibration" not in Page(render(tmp_path, made.accuracy(NAMES, SEEDS, [8]), name="without")).text


def test_a_new_group_needs_its_lines_in_metrics_alone(tmp_path, rows, monkeypatch):
    smooth = Metric("smoothness", "1", "smooth", "smooth", "how smooth it is", trained=True, digits=1,
                    heading=Heading("Smoothness", "Mean"))  # fmt: skip
    monkeypatch.setitem(metrics.METRICS, "smoothness", smooth)
    monkeypatch.setitem(metrics.GROUPS, "smooth", Group("Smoothness of it all", "Smoother{images}.", paired=False))
    page = Page(render(tmp_path, rows + measured("smoothness", 5.0, 1.0), figures=False))
    assert "Smoothness of it all Smoother of 360 test images." in page.text
    assert [row[1].split()[0] for row in page.rows if len(row) == 2 and row[0].split()[:1] == ["sp_sa"]] == [
        f"{np.mean([drawn('sp_sa', seed, 5.0, 1.0) for seed in SEEDS]):.1f}"
    ]
