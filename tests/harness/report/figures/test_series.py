"""The one figure of lines: what is drawn is what the table says, and what the table does not have is not drawn."""

from functools import partial

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from harness.report.figures.style import series, svg
from harness.report.figures.style.chart import Drawing
from harness.report.figures.style.palette import PAPER, looks
from harness.report.text.formatting import count, tick

LOOK = looks(["sa", "psa"], "sa")
COLUMNS = ("variant", "px", "ratio_mean", "ratio_low", "ratio_high", "told", "all")
TABLE = [
    dict(zip(COLUMNS, cells, strict=True))
    for cells in (
        ("sa", 8, 1.0, 0.9, 1.2, True, {"0": 0.9, "1": 1.1}),
        ("sa", 16, 2.0, None, None, False, {}),
        ("psa", 8, None, None, None, None, None),
        ("psa", 16, 3.0, 2.0, 2.5, True, {"0": [3.0, 3.5]}),
    )
]


def drawn(**panel):
    """The axes of a panel of the table, and the names without room."""
    with svg.style():
        ax = Figure(figsize=(5, 4)).add_axes((0.1, 0.1, 0.6, 0.8))
        lines = series.read(TABLE, "px", "ratio_mean", LOOK, resolved="told", single="all")
        return ax, series.draw(ax, series.Panel(lines, "px", "ratio", **panel))


def marks(ax, hollow):
    """The places of marks, of resolved or of unresolved points."""
    shown = [line for line in ax.lines if line.get_linestyle() == "None"]
    return sorted(tuple(map(float, place)) for line in shown if (to_hex(line.get_color()) == PAPER) == hollow
                  for place in line.get_xydata())  # fmt: skip


def spans(ax):
    found = [one for one in ax.collections if isinstance(one, LineCollection)]
    return sorted(np.array(span).tolist() for one in found for span in one.get_segments())


def dots(ax):
    found = [one for one in ax.collections if isinstance(one, PathCollection)]
    return sorted(tuple(place) for one in found for place in np.asarray(one.get_offsets()).tolist())


def test_marks_intervals_and_single_values_are_those_of_the_table():
    ax, missed = drawn()
    assert missed == []
    assert marks(ax, hollow=False) == [(8.0, 1.0), (16.0, 3.0)]
    assert marks(ax, hollow=True) == [(16.0, 2.0)]
    assert spans(ax) == [[[8.0, 0.9], [8.0, 1.2]], [[16.0, 2.0], [16.0, 2.5]]]  # one that leaves its point out, too
    assert dots(ax) == [(8.0, 0.9), (8.0, 1.1), (16.0, 3.0), (16.0, 3.5)]
    assert sorted(text.get_text() for text in ax.texts) == ["psa", "sa"]


@pytest.mark.parametrize("log", [False, True])
def test_lines_set_apart_move_with_their_intervals_and_dots(log):
    ax, _ = drawn(apart=series.APART, log_x=log)
    xs = {y: x for x, y in marks(ax, hollow=False) + marks(ax, hollow=True)}
    assert xs[1.0] < 8.0 < 16.0 < xs[3.0]  # sa to the left, psa to the right
    assert xs[3.0] - 16.0 == pytest.approx(16.0 - xs[2.0], rel=0.1)
    assert sorted({span[0][0] for span in spans(ax)}) == pytest.approx([xs[1.0], xs[3.0]])
    assert sorted({x for x, _ in dots(ax)}) == pytest.approx([xs[1.0], xs[3.0]])


def test_the_baseline_has_its_name_and_the_band_its_width():
    ax, _ = drawn(level=series.Level(1.0, "base", LOOK["sa"], {8.0: 0.1, 16.0: 0.2}))
    assert sorted(text.get_text() for text in ax.texts) == ["base", "psa", "sa"]
    band = next(one for one in ax.collections if not isinstance(one, LineCollection | PathCollection))
    assert {tuple(place) for place in band.get_paths()[0].vertices.tolist()} == {
        (8.0, 0.9), (8.0, 1.1), (16.0, 0.8), (16.0, 1.2)
    }  # fmt: skip


def test_the_csv_is_the_table():
    lines = Drawing("x", "", "", "", TABLE).csv().splitlines()
    assert lines[0] == "variant,px,ratio_mean,ratio_low,ratio_high,told,all"
    assert lines[1] == "sa,8,1.0,0.9,1.2,yes,0:0.9 1:1.1"
    assert lines[2] == "sa,16,2.0,,,no,"
    assert lines[4] == "psa,16,3.0,2.0,2.5,yes,0:3.0/3.5"


def test_parameters_that_are_close_have_labels_apart():
    with svg.style():
        ax = Figure(figsize=(5, 4)).add_axes((0.1, 0.1, 0.6, 0.8))
        points = [series.Point(202_300.0 + 100 * place, 90.0 + 0.01 * place) for place in range(8)]
        form = partial(count, form=tick)
        series.draw(ax, series.Panel([series.Line("sa", LOOK["sa"], points)], "parameters", "top-1", form=form))
        labels = [label.get_text() for axis in (ax.xaxis, ax.yaxis) for label in axis.get_ticklabels()]
    assert len(set(labels)) == len(labels) >= 6
    assert sum(label.endswith("K") for label in labels) >= 3
