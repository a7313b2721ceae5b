"""The prediction by formula, against numbers worked out by hand."""

import pytest

from harness.gpu.roofline import (
    CARDS,
    Layer,
    flops,
    moved,
    occupancy,
    products_with_keys,
    programs,
    ratio,
    ratio_with_keys,
    seconds,
)
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


def test_keys_cost_products_with_runs_of_vectors(monkeypatch):
    """A grid 64 wide in blocks of 64, which are its rows: two have 127 offsets, so two runs of 64 vectors."""
    blocks = {"contexts64": Tile(64, 128, 8, 2)}
    monkeypatch.setattr("harness.gpu.roofline.tile", lambda kernel, *_: blocks.get(kernel, Tile(64, 64, 8, 2)))
    wide = Layer(4, 6, (64, 64))
    found = {
        kernel: products_with_keys(kernel, wide, 90) for kernel in ("forward", "backward_queries", "backward_keys")
    }
    assert found["forward"] == 2 + 2
    assert found["backward_queries"] == 3 + 2 * 2
    assert found["backward_keys"] == 4 + 2
    assert products_with_keys("contexts", wide, 90) == 2 + 2 * 2


@pytest.mark.parametrize(
    ("tile", "expected"),
    [
        (Tile(64, 128, 8, 2), 2 + 2 + 2),  # one pair of blocks, one run of all 127 vectors
        (Tile(32, 64, 8, 2), (4 + 2) / 4 * (2 + 2 + 2)),  # four pairs of blocks, of which two meet both runs
        (Tile(64, 64, 8, 2), 2 * (2 + 2 + 1)),  # one pair, both runs; each time it wants two runs of vectors
    ],
)
def test_the_gradient_of_keys_makes_the_map_again_for_each_run(tile, expected, monkeypatch):
    monkeypatch.setattr("harness.gpu.roofline.tile", lambda *_: tile)
    assert products_with_keys("contexts", Layer(4, 6, (64, 64)), 90) == expected


def test_keys_cost_more_than_a_prior_forward_and_in_training():
    for side, images in ((14, 64), (24, 16), (64, 4)):
        layer = Layer(images, 6, (side, side))
        for name, card in CARDS.items():
            for phase in ("forward", "training"):
                assert ratio_with_keys(phase, layer, name) > ratio(phase, layer, card)


def test_programs_at_once_by_what_runs_out_first():
    card, tile = CARDS["H100"], Tile(128, 64, 8, 3)
    assert programs(255, 0, tile, card) == 1  # 256 registers of 256 threads are all there are
    assert programs(128, 0, tile, card) == 2
    assert programs(32, 100 * 1024, tile, card) == 2  # 228 KiB, and 1 KiB more of each
    assert programs(32, 0, tile, card) == 8
    assert occupancy(128, 0, tile, card) == 0.25
