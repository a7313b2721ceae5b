"""The main table: a cell stands under its own heading, whatever headings harness/results/metrics.py has."""

from dataclasses import replace

import pytest

from harness.report.analysis.summary import summaries
from harness.report.analysis.timing import chosen
from harness.report.tables import main
from harness.results import metrics
from harness.results.metrics import WORKS, Heading
from tests.support import rows as made

NAMES = ("sa", "psa", "sp_sa")


@pytest.fixture
def tabled(tmp_path):
    """The table of made-up rows: by variant the cells by key."""
    rows = [*made.cost(NAMES), *made.speed(NAMES), *made.accuracy(NAMES, range(3), [8])]
    rows += [made.row(name, "undecayed", 10 + place) for place, name in enumerate(NAMES)]
    rows += [made.row("psa", "latency_ratio", 1.5, backend="sdpa", device="cpu", precision="fp32", test_px=8)]
    setting = made.take(tmp_path, rows).settings[0]

    def table():
        found = summaries(setting)
        whole = main.table(found, "sa", *(chosen(setting, prefix) for prefix in ("", "train_", "latency_")))
        keys = [column.key for column in whole.columns]
        return whole, {line.variant: dict(zip(keys, line.cells, strict=True)) for line in whole.lines}

    return table


@pytest.fixture
def headed(monkeypatch):
    """Gives metrics a heading, as a line in metrics.py does."""

    def give(**headings):
        known = {n: replace(m, heading=headings.get(n, m.heading)) for n, m in metrics.METRICS.items()}
        for module in ("tables.main", "analysis.summary"):
            monkeypatch.setattr(f"harness.report.{module}.METRICS", known)

    return give


def test_a_heading_is_a_column_and_moves_no_number(tabled, headed):
    before, cells = tabled()
    headed(undecayed=Heading("Model", "Undecayed"), val_top1=Heading("Validation", "Mean", "%"))
    after, more = tabled()
    assert len(after.columns) == len(before.columns) + 2
    for variant, known in cells.items():
        assert {key: more[variant][key].text for key in known} == {key: cell.text for key, cell in known.items()}
    assert [more[name]["undecayed"].text for name in NAMES] == ["10.0", "11.0", "12.0"]
    assert 90 < more["psa"]["val_top1"].sort < 100
    assert more["psa"]["val_top1"].detail.startswith("[")


def test_what_is_made_of_top1_stands_beside_it(tabled, headed):
    headed(val_top1=Heading("Validation", "Mean", "%"), top5=Heading("Top-5 accuracy", "Mean", "%"))
    whole, cells = tabled()
    keys = [column.key for column in whole.columns]
    assert keys[keys.index("top1") :][:3] == ["top1", "difference", "seeds"]
    assert [group for group, _ in whole.groups()].count("Top-1 accuracy") == 1
    assert cells["psa"]["top5"].text == main.DASH
    assert not cells["psa"]["top5"].tried


def test_a_heading_of_speed_without_a_cell_is_a_dash_that_says_so(tabled, headed):
    headed(latency_ratio=Heading("Inference", "Latency"))
    whole, cells = tabled()
    assert cells["psa"]["latency_ratio"].text == main.DASH
    assert "No cell of latency_ratio is made in harness/report/tables/main.py." in whole.notes
    assert cells["psa"]["train_images_per_s"].sort > 1


def test_every_heading_of_the_table_has_a_cell(tabled):
    whole, cells = tabled()
    assert set(WORKS.values()) < set(main.SHOWN)
    assert not any("is made in" in note for note in whole.notes)
    assert all(len(line) == len(whole.columns) for line in cells.values())
