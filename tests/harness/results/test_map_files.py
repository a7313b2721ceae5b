"""Maps on disk: what is next to neutral keeps its digits, the same maps are the same bytes, damage is a sentence."""

import numpy as np
import pytest

from harness.results import map_files


def test_a_file_of_maps_keeps_what_is_next_to_neutral_and_gives_the_same_bytes(tmp_path):
    prior = 1 + np.array([1e-4, -3e-5, 0.3, -2.0, 0, 0, 0, 0, 7]).reshape(1, 3, 3)
    book = {(2, "prior", None): prior, (2, "gate", 4): np.array([0.1, 0.9])}
    packed = map_files.packed(book)
    assert packed == map_files.packed(book)
    assert np.abs(prior.astype(np.float16) - prior)[0, 0, 0] > 2e-5  # what keeping the prior itself would cost
    assert set(unpacked(packed, tmp_path)) == set(book)
    assert unpacked(packed, tmp_path)[2, "prior", None] - 1 == pytest.approx(prior - 1, rel=1e-3)


def unpacked(content, folder):
    path = folder / "x.maps.npz"
    path.write_bytes(content)
    return map_files.unpacked(path)


def test_a_damaged_file_of_maps_is_a_sentence(tmp_path):
    packed = map_files.packed({(1, "prior", None): np.ones((1, 3, 3))})
    for content in (packed[:-30], b"", b"PK nonsense", packed[:60] + b"\0" * 20 + packed[80:]):
        with pytest.raises(ValueError, match=r"cannot be read: .*; delete the file and its rows"):
            unpacked(content, tmp_path)
