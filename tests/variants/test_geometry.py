"""Offsets, and tables seen by pairs, against loops over pairs."""

import pytest
import torch

from variants import geometry

GRIDS = [(4, 4), (3, 5), (1, 6), (1, 1)]


@pytest.mark.parametrize("grid", GRIDS)
def test_offsets_are_key_minus_query_rows_first(grid):
    h, w = grid
    at = geometry.offsets(grid)
    assert at.shape == (2, 2 * h - 1, 2 * w - 1)
    assert at[:, h - 1, w - 1].tolist() == [0, 0]
    assert at[:, -1, 0].tolist() == [h - 1, 1 - w]
    assert geometry.grid_of(at) == grid


@pytest.mark.parametrize("grid", GRIDS)
def test_pairs_of_the_offsets_are_key_minus_query(grid):
    pairs = geometry.to_pairs(geometry.offsets(grid), grid)
    y, x = geometry.coordinates(grid)
    for i in range(len(y)):
        for j in range(len(y)):
            assert pairs[:, i, j].tolist() == [y[j] - y[i], x[j] - x[i]]


def test_an_axis_of_size_one_holds_for_every_offset():
    rows, columns = torch.randn(3, 5, 1), torch.randn(3, 1, 9)
    whole = geometry.to_pairs(rows + columns, (3, 5))
    torch.testing.assert_close(geometry.to_pairs(rows, (3, 5)) + geometry.to_pairs(columns, (3, 5)), whole)


def test_a_table_of_another_grid_is_refused():
    with pytest.raises(ValueError, match="over the offsets of a"):
        geometry.to_pairs(torch.zeros(3, 7), (3, 5))


def test_pad_prefix_is_neutral_and_leaves_the_pairs():
    pairs = torch.randn(2, 6, 6)
    padded = geometry.pad_prefix(pairs, 2, neutral=1.0)
    torch.testing.assert_close(padded[:, 2:, 2:], pairs)
    assert (padded[:, :2] == 1).all()
    assert (padded[:, :, :2] == 1).all()


def test_resampling_keeps_corners_and_centre_and_does_nothing_at_its_own_size():
    table = torch.randn(3, 7, 9)
    larger = geometry.resample(table, (13, 17))
    for place in ((0, 0), (-1, -1), (0, -1)):
        torch.testing.assert_close(larger[:, *place], table[:, *place])
    torch.testing.assert_close(larger[:, 6, 8], table[:, 3, 4])
    assert geometry.resample(table, (7, 9)) is table


def test_resampling_keeps_a_constant_and_a_lone_axis():
    torch.testing.assert_close(geometry.resample(torch.ones(2, 5, 5), (9, 3)), torch.ones(2, 9, 3))
    table = torch.randn(2, 5, 7)
    assert torch.equal(geometry.resample(table, (1, 7)), table[:, 2:3])
    assert torch.equal(geometry.resample(table, (1, 1)), table[:, 2:3, 3:4])
    line = torch.arange(5.0).reshape(1, 1, 5)
    torch.testing.assert_close(geometry.resample(line, (1, 9)), torch.arange(0, 4.5, 0.5).reshape(1, 1, 9))


def test_lookup_with_an_extent_clips_beyond_it():
    table = torch.arange(9.0).reshape(1, 3, 3)  # |dy|, |dx| < 2
    read = geometry.lookup(table, geometry.offsets((3, 4)), extent=2)
    for iy, dy in enumerate(range(-2, 3)):
        for ix, dx in enumerate(range(-3, 4)):
            clipped = [max(-1, min(1, d)) + 1 for d in (dy, dx)]
            assert read[0, iy, ix] == table[0, clipped[0], clipped[1]]


SPANS = [(1, 1), (1, None), (None, 1), (None, None)]  # None: the axis spans the offsets


@pytest.mark.parametrize("span", SPANS, ids=str)
@pytest.mark.parametrize("rows", [range(3), range(1, 3), range(2, 3)], ids=str)
@pytest.mark.parametrize("grid", [(3, 5), (4, 4), (3, 1)], ids=str)
def test_pairs_by_rows_and_their_adjoint(grid, rows, span):
    """rising_pairs are rows of to_pairs, last first; <rising_pairs(t), g> = <t, from_pairs(g)>."""
    a, b = (2 * side - 1 if size is None else size for side, size in zip(grid, span, strict=True))
    table = torch.randn(2, a, b, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pairs = geometry.rising_pairs(table, grid, rows)
    h, w = grid
    assert pairs.equal(geometry.to_pairs(table, grid).view(2, h, w, h, w)[:, rows.start : rows.stop].flip(1))
    weights = torch.randn_like(pairs)
    found = geometry.from_pairs(weights, grid, (a, b), rows[::-1])
    assert found.shape == table.shape
    torch.testing.assert_close((pairs * weights).sum(), (table * found).sum())


def test_windows_and_pairs_are_the_same():
    table = torch.arange(5 * 9.0).view(5, 9)
    assert geometry.windows(table, (3, 5)).reshape(15, 15).equal(geometry.to_pairs(table, (3, 5)))


def test_rising_pairs_copy_nothing_of_the_size_of_the_pairs():
    pairs = geometry.rising_pairs(torch.randn(63, 63), (32, 32), range(32))
    assert pairs.untyped_storage().nbytes() == 32 * 63 * 32 * 4
