"""Fingerprints of the sets in memory: rows and trained weights are found by them, so they stay what they are."""

from dataclasses import replace

import pytest

from harness import data
from harness.data.sets import fashion

PINNED = {
    "digits": "e58a91bf28",
    "noise:10": "065c89775f",
    "noise:1000": "62563f4c2e",
    "pathfinder:16": "376538d84e",
    "probes:corner": "783675c814",
    "probes:distance": "5659f685b9",
    "probes:mirror": "0e98120823",
    "probes:same_row": "0ad109b0d8",
    "probes:texture": "771c95accc",
    "sort_of_clevr:count": "f0c5810ce0",
}


@pytest.mark.parametrize("name", PINNED)
def test_the_fingerprint_of_a_set_in_memory_is_the_recorded_one(name):
    assert data.load(name).fingerprint == PINNED[name]


@pytest.mark.skipif(not fashion.DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_fingerprint_of_fashion_mnist_is_the_recorded_one():
    assert data.load("fashion_mnist").fingerprint == "9382a45f36"


def test_a_changed_pixel_or_label_changes_it():
    digits = data.load("digits")
    pixels, labels = digits.test_x.clone(), digits.test_y.clone()
    pixels[7, 0, 3, 3] += 1
    labels[7] = (labels[7] + 1) % 10
    for other in (replace(digits, test_x=pixels), replace(digits, test_y=labels)):
        assert other.fingerprint != PINNED["digits"]
