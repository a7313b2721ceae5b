"""Captions say what is drawn: no means over seeds where there is one, and where a scale of colours is cut."""

import math
import re

import numpy as np
import pytest

from harness.report.figures.maps import caption
from harness.report.figures.style.heatmaps import Tile
from harness.report.study.maps import Books
from harness.results import map_files, store
from tests.support import rows as made
from tests.support.page import render, sketched

VARIANTS = ("sa", "sp_sa", "psa", "rpe_2d[mode=bias]")
SEVERAL = re.compile("over seeds|and seeds|single seeds|paired seeds|all seeds|seed by seed")


def learned(variant, seed, folder):
    """Rows of an attention that was read, with the maps beside them."""
    cell = f"{variant[:3]}{seed}m"
    kinds = ("attention", "prior") if variant == "sp_sa" else ("attention",)
    maps = {(1, kind, None): np.random.default_rng(seed).random((2, 15, 15)) for kind in kinds}
    store.write_bytes(folder / "cells" / f"{variant[:3]}-{cell}.maps.npz", map_files.packed(maps))
    about = {"seed": seed, "layer": 1, "cell": cell, "test_px": 8, "samples": [0.8, 0.9]}
    return [made.row(variant, f"attention_{what}", 0.85, **about) for what in ("distance", "entropy")]


def captions(html):
    found = re.findall(r"<figcaption>.*?</figcaption>", html, re.DOTALL)
    return [" ".join(re.sub("<.*?>", "", one).split()) for one in found]


@pytest.mark.parametrize("seeds", [[3], [0, 1, 2]], ids=["one", "several"])
def test_seeds_are_named_where_there_are_several(tmp_path, seeds):
    rows = made.everything(VARIANTS, seeds)
    rows += [row for variant in VARIANTS for seed in seeds for row in learned(variant, seed, tmp_path / "study")]
    with sketched():
        found = captions(render(tmp_path, rows))
    of_many = [one for one in found if SEVERAL.search(one)]
    of_one = [one for one in found if "one seed" in one]
    assert len(of_many if len(seeds) > 1 else of_one) >= 8
    assert not (of_one if len(seeds) > 1 else of_many)


@pytest.mark.parametrize(("largest", "cut"), [(9.0, True), (3.0, False)])
def test_a_scale_of_logits_is_cut_at_e_to_the_4(largest, cut):
    words = caption(Books("psa", "bias", {"0": {}}), [Tile(np.full((3, 3), largest))])
    said = f"The colour scale is cut at 4 nats, a factor of {round(math.exp(4))}."
    assert (said in words) is cut
    assert "a factor of 50" not in words
