"""Pathfinder: labels read off the pixels by connected components, discs and ink that tell nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from harness import data
from harness.data.sets.generated import balanced
from harness.data.sets.pathfinder import STYLES, draw, fresh

SIDES = list(STYLES)
AGREE = 0.98  # of the pictures: neighbouring paths may touch in a faint pixel


def drawn(side, n, seed=0, labels=None):
    generator = torch.Generator().manual_seed(seed)
    chosen = balanced(2, generator, n)
    return *draw(side, generator, chosen if labels is None else labels), chosen


def discs(picture):
    """The middles of the two brightest spots of 3x3 px, more than 3 px apart."""
    bright = ndimage.uniform_filter(picture, 3, mode="constant")
    first = np.unravel_index(bright.argmax(), bright.shape)
    y, x = (slice(max(0, at - 3), at + 4) for at in first)
    bright[y, x] = 0
    return first, np.unravel_index(bright.argmax(), bright.shape)


def read(picture):
    """1 where the two discs are in one connected piece of ink."""
    pieces, _ = ndimage.label(picture > 20, structure=np.ones((3, 3)))
    first, second = discs(picture)
    return int(pieces[first] == pieces[second])


@pytest.mark.parametrize("side", SIDES)
def test_labels_are_what_the_pictures_show(side):
    images, _, labels = drawn(side, 300)
    shown = np.array([read(image[0].double().numpy()) for image in images])
    for label in range(2):
        assert np.mean(shown[labels.numpy() == label] == label) > AGREE
    assert np.mean(shown == drawn(side, 300, seed=1)[2].numpy()) < 0.65  # planted: the labels of other pictures


@pytest.mark.parametrize("side", SIDES)
def test_the_discs_are_the_same_whatever_the_label(side):
    images, _, labels = drawn(side, 100)
    others, _, _ = drawn(side, 100, labels=1 - labels)
    for one, other in zip(images, others, strict=True):
        here, there = (np.array(discs(picture[0].double().numpy())) for picture in (one, other))
        assert min(np.abs(here - there).max(), np.abs(here - there[::-1]).max()) <= 2
        assert not torch.equal(one, other)


@pytest.mark.parametrize("side", SIDES)
def test_ink_and_pixels_do_not_tell_the_label(side):
    images, _, labels = drawn(side, 1200)
    pixels = images.flatten(1).double().numpy() / 255
    assert abs(lift(pixels, labels.numpy())) < (4 if side == 32 else 10)  # a weight for each pixel tells some at 16 px
    assert abs(lift(pixels.sum(1, keepdims=True), labels.numpy())) < 4
    brighter = pixels + 0.1 * labels[:, None].numpy()  # planted
    assert lift(brighter, labels.numpy()) > 12


def lift(features, labels):
    """How far above chance a linear classifier gets on the other half, in standard deviations of chance."""
    half = len(labels) // 2
    score = LogisticRegression(C=0.01, max_iter=300).fit(features[:half], labels[:half]).score(
        features[half:], labels[half:]
    )  # fmt: skip
    return (score - 0.5) / math.sqrt(0.25 / half)


def nearby(images):
    """[n, 25]: ink in twelve directions within 5 px of each disc, seen from the other one, and their distance."""
    found = []
    y, x = np.indices(images.shape[-2:])
    for image in images[:, 0].double().numpy():
        one, other = (np.array(at, float) for at in discs(image))
        line = [np.hypot(*(other - one))]
        for here, there in ((one, other), (other, one)):
            dy, dx = y - here[0], x - here[1]
            turned = np.arctan2(dy, dx) - np.arctan2(*(there - here))
            sector = np.floor((turned % (2 * np.pi)) / (2 * np.pi) * 12).astype(int).clip(0, 11)
            ring = (np.hypot(dy, dx) > 2.5) & (np.hypot(dy, dx) < 5)
            line += np.bincount(sector[ring], image[ring], 12).tolist()
        found.append(line)
    return np.array(found)


def test_what_lies_around_the_discs_tells_little(monkeypatch):
    def told():
        images, _, labels = drawn(32, 1200)
        features, wanted = nearby(images), labels.numpy()
        model = HistGradientBoostingClassifier(max_iter=60, random_state=0).fit(features[:800], wanted[:800])
        return model.score(features[800:], wanted[800:])

    assert told() < 0.7
    monkeypatch.setitem(STYLES, 32, replace(STYLES[32], shared=1))  # planted: a path leaves its disc in any direction
    assert told() > 0.75


@pytest.mark.parametrize("side", SIDES)
def test_it_is_a_dataset_without_end(side):
    images, labels = fresh(side, torch.Generator().manual_seed(3), 20)
    assert (images.shape, images.dtype, labels.dtype) == ((20, 1, side, side), torch.uint8, torch.int64)
    assert torch.equal(images, fresh(side, torch.Generator().manual_seed(3), 20)[0])
    assert torch.bincount(labels).tolist() == [10, 10]


def test_its_splits_are_streams_of_their_own():
    one = data.load("pathfinder:16")
    assert (one.name, one.image_size, one.channels, one.classes) == (
        "pathfinder:16",
        (16, 16),
        1,
        ("apart", "connected"),
    )
    assert (len(one.train_y), len(one.val_y), len(one.test_y)) == (4096, 1024, 2048)
    whole = torch.cat([one.train_x, one.val_x, one.test_x]).flatten(1)
    assert len(whole.unique(dim=0)) == len(whole)
    assert bool((one.test_x[:, 0][one.test_masks] > 0).all())


@pytest.mark.parametrize("side", SIDES)
def test_masks_are_the_paths_that_leave_the_discs(side):
    images, masks, labels = drawn(side, 60)
    for image, mask, label in zip(images, masks, labels, strict=True):
        picture = image[0].double().numpy()
        assert all(bool(mask[at]) for at in discs(picture))
        rest = picture * ~mask.numpy()
        long = STYLES[side].dashes * 2 * STYLES[side].ink * 255 * 0.5
        assert (rest.sum() > long) == (bool(label) or STYLES[side].others > 0)  # the other long path, or what distracts
