"""Numbers of axes: as few digits as tell them apart, and the same number always the same words."""

import math
from functools import partial

import pytest

from harness.report.text.formatting import aligned, count, distinct, significant, tick

AXIS = partial(count, form=tick)


@pytest.mark.parametrize(
    ("values", "form", "labels"),
    [([202_000, 202_500, 203_000], AXIS, ["202 K", "202.5 K", "203 K"]),
     ([1_000_000, 1_250_000], AXIS, ["1 M", "1.25 M"]),
     ([86_000_000, 86_000_020, 86_000_040], AXIS, ["86 M", "86.00002 M", "86.00004 M"]),
     ([0, 0.2, 0.1 + 0.2], tick, ["0", "0.2", "0.3"]),
     ([1.0001, 1.0], partial(significant), ["1.00010", "1.00000"]),
     ([2.0, 2.0], tick, ["2", "2"])],
)  # fmt: skip
def test_labels_of_an_axis_are_distinct(values, form, labels):
    assert [label.replace("\u202f", " ") for label in distinct(values, form)] == labels


def test_a_scale_has_few_digits_where_they_do():
    assert distinct([1.23456, 0.0], fewest=3) == ["1.23", "0"]
    assert distinct([1.0004, 1.0, 0.9996], fewest=3) == ["1.0004", "1", "0.9996"]


def test_parameters_of_a_table_have_three_digits():
    assert count(202_500).replace("\u202f", " ") == "202 K"


@pytest.mark.parametrize(
    ("values", "unit", "labels"),
    [
        ([102_410, 102_434, 103_904], "K", ["102.41", "102.43", "103.90"]),
        ([22_050_664, 22_050_664, 22_052_000], "M", ["22.051", "22.051", "22.052"]),
        ([0.001673, 0.001674], "", ["0.001673", "0.001674"]),
        ([4.608, 4.6], "", ["4.61", "4.60"]),
        ([5.2e9, 86e6], "G", ["5.200", "0.086"]),
        ([12, 7], "", ["12", "7"]),
        ([0, 1500], "K", ["0.00", "1.50"]),
        ([1e9, 1e9 + 1], "G", ["1.000000000", "1.000000001"]),
        ([math.nan], "", ["\N{EM DASH}"]),
        ([], "", []),
    ],
)
def test_a_column_of_sizes_has_one_unit_equal_decimals_and_distinct_numbers(values, unit, labels):
    found, form = aligned(values)
    assert (found, [form(value) for value in values]) == (unit, labels)
