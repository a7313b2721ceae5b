"""The prediction by formula, against numbers worked out by hand."""

import pytest

from harness.gpu.roofline import CARDS, Layer, flops, moved, occupancy, programs, ratio, seconds
from variants.backends.triton.tiles import Tile

DEIT_S = Layer(images=64, heads=6, grid=(14, 14))


def test_products_and_bytes_of_a_layer():
    assert flops("forward", DEIT_S) == 2 * 2 * 64 * 6 * 196 * 196 * 64
    tokens = 64 * 6 * 196
    assert moved("forward", DEIT_S, tables=False) == 4 * tokens * 64 * 2 + 4 * tokens  # q, k, v, out; lse
    assert moved("forward", DEIT_S, tables=True) - moved("forward", DEIT_S, tables=False) == 4 * 6 * 27 * 27


def test_the_larger_of_products_and_bytes_decides():
    card = CARDS["H200"]
    small, large = DEIT_S, Layer(4, 6, (64, 64))
    assert seconds("forward", small, card, True) == moved("forward", small, True) / card.memory
    assert seconds("forward", large, card, True) == flops("forward", large) / card.flops


def test_a_prior_costs_nothing_forward_and_four_more_products_in_training():
    large, card = Layer(4, 6, (64, 64)), CARDS["H100"]
    assert ratio("forward", large, card) == pytest.approx(1, abs=0.01)
    assert ratio("training", large, card) == pytest.approx(11 / 7)


def test_programs_at_once_by_what_runs_out_first():
    card, tile = CARDS["H100"], Tile(128, 64, 8, 3)
    assert programs(255, 0, tile, card) == 1  # 256 registers of 256 threads are all there are
    assert programs(128, 0, tile, card) == 2
    assert programs(32, 100 * 1024, tile, card) == 2  # 228 KiB, and 1 KiB more of each
    assert programs(32, 0, tile, card) == 8
    assert occupancy(128, 0, tile, card) == 0.25
