"""Test images that lie at several places: one image each, whatever is said of the interval over images."""

import numpy as np
import pytest

from harness.report import render
from harness.report.analysis.summary import summaries
from harness.report.study import images, source
from harness.report.tables import means
from harness.results.crossed import over_seeds_and_images
from tests.support import rows as made
from tests.support.page import Page

IMAGES, PLACES, SEEDS = 200, 3, range(5)


def answers(variant, seed):
    """bool [600]: an image is easy or hard at all its places, nearly."""
    generator = np.random.default_rng([seed, variant == "psa"])
    easy = np.random.default_rng(7).uniform(0, 1, IMAGES) + 0.1 * generator.standard_normal(IMAGES)
    easy += 0.05 * (variant == "psa")
    return (easy[:, None] + 0.05 * generator.standard_normal((IMAGES, PLACES)) > 0.4).reshape(-1)


def written(folder, places=PLACES):
    """A study of two variants; places: what its rows say, None for nothing."""
    folder.mkdir()
    rows = []
    for variant in ("sa", "psa"):
        for seed in SEEDS:
            cell = f"{variant == 'psa':d}{seed}feed0000"
            found = answers(variant, seed)
            np.save(folder / f"{variant}-seed-{seed}-{cell}.correct.npy", found[None])
            about = {"seed": seed, "cell": cell, "test_px": 8, "epoch": 20, "n": IMAGES, "unit": "%",
                     "params": None if places is None else {"places": places}}  # fmt: skip
            rows.append(made.row(variant, "top1", 100 * float(found.mean()), **about))
            rows.append(made.row(variant, "shift_px_consistency", 90.0 + seed, **about))
    return made.save(folder, rows)


def setting(folder):
    (found,) = source.read(str(folder)).study.settings
    return found


def test_an_image_is_the_mean_over_its_places(tmp_path):
    one = setting(written(tmp_path / "study"))
    for variant in ("sa", "psa"):
        found = images.right(one, one.at("top1", variant))
        for seed in SEEDS:
            own = answers(variant, seed)
            assert found[str(seed)].tolist() == [own[PLACES * k : PLACES * (k + 1)].mean() for k in range(IMAGES)]
            assert found[str(seed)].tolist() != own.reshape(PLACES, IMAGES).mean(0).tolist()  # planted: another order


def test_the_interval_over_images_has_the_image_as_its_unit(tmp_path):
    (_, psa) = summaries(setting(written(tmp_path / "study")))
    wide = psa.over_images
    pairs = 100 * np.stack([answers("psa", seed) * 1.0 - answers("sa", seed) for seed in SEEDS])
    of_images = over_seeds_and_images(pairs.reshape(len(SEEDS), IMAGES, PLACES).mean(2), wide.confidence)
    of_canvases = over_seeds_and_images(pairs, wide.confidence)
    assert (wide.n, wide.center) == (IMAGES, pytest.approx(of_images.center))
    assert (wide.low, wide.high) == pytest.approx((of_images.low, of_images.high))
    assert of_canvases.n == IMAGES * PLACES
    assert of_canvases.high - of_canvases.low < wide.high - wide.low  # planted: more images than there are


@pytest.mark.parametrize("places", [0, 7, "3", 1.5])
def test_answers_that_no_number_of_places_divides_are_not_used(places, tmp_path):
    one = setting(written(tmp_path / "study", places))
    assert images.right(one, one.at("top1", "sa")) == {}


def test_the_page_says_at_how_many_places_an_image_was(tmp_path):
    folder = written(tmp_path / "study")
    assert means.images(setting(folder), "shift") == " of 200 test images at 3 places each"
    page = Page(render(folder, tmp_path / "page.html").path.read_text(encoding="utf-8"))
    assert "200 test images at 3 places each" in page.text
    once = written(tmp_path / "once", places=None)
    assert means.images(setting(once), "shift") == " of 200 test images"
    assert "places each" not in Page(render(once, tmp_path / "once.html").path.read_text(encoding="utf-8")).text
