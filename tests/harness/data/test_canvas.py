"""Images on canvases: by loops over pixels, at places that are drawn evenly, fixed by the seed; and planted errors."""

from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product
from math import sqrt

import pytest
import torch
from PIL import Image
from scipy.stats import chisquare

from harness import data
from harness.data import canvas
from harness.data.canvas import Canvas, placed, shrunk
from harness.data.dataset import Dataset, in_memory

ODD = 1e-4  # a p-value that no honest draw has at these seeds


@contextmanager
def rejected():
    with pytest.raises(AssertionError):
        yield


def made_up(channels=1, h=4, w=6, n=60, seed=0):
    """A set of images that are not square, a third of their pixels 0."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(1, 256, (n, channels, h, w), generator=generator)
    images = (images * (torch.rand(n, 1, h, w, generator=generator) > 1 / 3)).to(torch.uint8)
    labels = torch.arange(n) % 3
    return in_memory("made-up", (images, labels), (images[:12].flip(-1), labels[:12]), ("a", "b", "c"), seed)


def by_loops(image, size, at, pieces, pool, piece):
    """The canvas of an image, pixel by pixel; piece: (height, width)."""
    (c, h, w), image = image.shape, image.tolist()
    wanted = torch.zeros(c, *size, dtype=torch.uint8).tolist()
    for number, cut_y, cut_x, put_y, put_x in pieces:
        cut = pool[number].tolist()
        for y, x, channel in product(range(piece[0]), range(piece[1]), range(c)):
            row = wanted[channel][put_y + y]
            row[put_x + x] = max(row[put_x + x], cut[channel][cut_y + y][cut_x + x])
    for y, x in product(range(h), range(w)):
        if any(image[channel][y][x] > 0 for channel in range(c)):
            for channel in range(c):
                wanted[channel][at[0] + y][at[1] + x] = image[channel][y][x]
    return torch.tensor(wanted, dtype=torch.uint8)


def agrees_with_loops(channels=1, clutter=3, width=6, size=(7, 11)):
    set_ = made_up(channels, w=width)
    one = Canvas(set_, size, (2, 3), clutter)
    own = torch.arange(20)
    at, pieces = one.draw((20,), torch.arange(len(set_.train_y)), torch.Generator().manual_seed(1), own)
    found = one.lay(set_.train_x[own], set_.train_x, at, pieces)
    assert found.dtype == torch.uint8
    for k in range(20):
        wanted = by_loops(set_.train_x[k], size, at[k].tolist(), pieces[k].tolist(), set_.train_x, (2, 3))
        assert torch.equal(found[k], wanted)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("clutter", [0, 1, 3])
def test_a_canvas_is_that_of_the_loops(channels, clutter):
    agrees_with_loops(channels, clutter)
    agrees_with_loops(channels, clutter, width=4, size=(9, 9))


PLANTED = {
    "x for y": lambda true: lambda at, size, width: true(at.flip(-1), size, width),
    "off by one": lambda true: lambda at, size, width: true((at - 1).clamp(min=0), size, width),
}


@pytest.mark.parametrize("error", PLANTED)
def test_objects_and_pieces_elsewhere_are_rejected(error, monkeypatch):
    monkeypatch.setattr(canvas, "_window", PLANTED[error](canvas._window))
    for clutter in (0, 3):
        with rejected():
            agrees_with_loops(clutter=clutter, width=4, size=(9, 9))


def test_clutter_on_top_of_the_object_is_rejected(monkeypatch):
    monkeypatch.setattr(canvas, "_ink", lambda images: images.amax(dim=1) * 0)
    with rejected():
        agrees_with_loops()


# ---- a set on canvases


def shown_at(image, whole):
    """The places (top, left) at which a canvas has the pixels of an image that are above 0."""
    (h, w), ink = image.shape[-2:], (image > 0).any(0)
    return [
        (y, x)
        for y, x in product(range(whole.shape[-2] - h + 1), range(whole.shape[-1] - w + 1))
        if torch.equal(whole[:, y : y + h, x : x + w][:, ink], image[:, ink])
    ]


def shows_its_images(set_, images, canvases, places=1):
    """Each image, whole, at places that differ; without clutter nothing else."""
    assert len(canvases) == places * len(images)
    for k, image in enumerate(images):
        at = []
        for whole in canvases[places * k : places * (k + 1)]:
            found = shown_at(image, whole)
            if not set_.placed.clutter:
                found = [one for one in found if torch.equal(whole, by_loops(image, set_.image_size, one, [], None, 0))]
                assert len(found) == 1
            assert found
            at.append(found[0])
        if not set_.placed.clutter:
            assert len(set(at)) == places


@pytest.mark.parametrize("layout", ["translated", "cluttered"])
def test_every_split_shows_the_images_of_the_set(layout):
    set_, plain = data.load(f"digits:{layout}"), data.load("digits")
    assert (set_.name, set_.image_size, set_.places) == (f"digits:{layout}", (12, 12), 3)
    assert torch.equal(set_.placed.originals.train_x, plain.train_x)
    shows_its_images(set_, plain.train_x[:100], set_.train_x[:100])
    shows_its_images(set_, plain.val_x[:100], set_.val_x[:100])
    shows_its_images(set_, plain.test_x[:60], set_.test_x[:180], places=3)
    assert torch.equal(set_.test_y.view(-1, 3), plain.test_y[:, None].expand(-1, 3))
    assert torch.equal(set_.val_y, plain.val_y)
    with rejected():
        shows_its_images(set_, plain.test_x[1:61], set_.test_x[:180], places=3)


@pytest.mark.parametrize("layout", ["translated", "cluttered"])
def test_masks_are_the_objects_pixels_above_0(layout):
    set_, plain = data.load(f"digits:{layout}"), data.load("digits")

    def masks_fit(masks):
        for k, mask in enumerate(masks[:90]):
            image, whole = plain.test_x[k // 3], set_.test_x[k]
            ink = image[0] > 0
            assert int(mask.sum()) == int(ink.sum())
            y, x = mask.nonzero().amin(0) - ink.nonzero().amin(0)
            assert torch.equal(mask[y : y + 8, x : x + 8], ink)
            assert torch.equal(whole[0, y : y + 8, x : x + 8][ink], image[0][ink])

    assert set_.test_masks.dtype == torch.bool
    masks_fit(set_.test_masks)
    with rejected():
        masks_fit(set_.test_masks.roll(1, dims=-1))
    if layout == "translated":
        assert torch.equal(set_.test_masks, set_.test_x[:, 0] > 0)
    else:
        assert not torch.equal(set_.test_masks, set_.test_x[:, 0] > 0)


def test_colours_are_placed_on_black():
    set_ = placed(made_up(3, 5, 5), "translated")
    assert set_.train_x.shape[1:] == (3, 8, 8)
    assert set_.channels == 3
    shows_its_images(set_, set_.placed.originals.train_x[:20], set_.train_x[:20])


def test_the_canvas_is_half_as_large_again_if_nothing_else_is_asked_for():
    assert placed(made_up(), "translated").image_size == (6, 9)
    assert placed(made_up(), "translated", canvas=10).image_size == (10, 10)
    cluttered = placed(made_up(h=10, w=10), "cluttered")
    assert (cluttered.placed.clutter, cluttered.placed.piece) == (4, (4, 4))
    assert placed(made_up(), "cluttered", clutter=2).placed.clutter == 2


# ---- what is drawn


def is_even(counts):
    assert chisquare(counts).pvalue > ODD


def test_all_places_are_as_likely():
    one = Canvas(made_up(h=4, w=6), (6, 10), (2, 2), 2)
    at, pieces = one.draw((100, 200), torch.arange(60), torch.Generator().manual_seed(0))
    assert at.shape == (100, 200, 2)
    assert pieces.shape == (100, 200, 2, 5)
    flat = at.view(-1, 2)
    is_even(torch.bincount(flat[:, 0] * 5 + flat[:, 1], minlength=15))
    for column, room in enumerate((60, 3, 5, 5, 9)):
        is_even(torch.bincount(pieces[..., column].flatten(), minlength=room))
    with rejected():
        is_even(torch.bincount(flat[:, 0] * 5 + flat[:, 1].clamp(max=3), minlength=15))  # the last column never


def test_a_piece_is_of_any_other_image_that_is_chosen():
    one, chosen = Canvas(made_up(), (6, 10), (2, 2), 4), torch.tensor([2, 5, 7, 30, 31])

    def is_of_others(own, numbers):
        assert not (numbers == own[:, None]).any()
        for k in chosen.tolist():
            others = [int((numbers[own == k] == other).sum()) for other in chosen.tolist() if other != k]
            assert sum(others) == numbers[own == k].numel()
            is_even(others)

    own = chosen[torch.arange(5000) % 5]
    _, pieces = one.draw((5000,), chosen, torch.Generator().manual_seed(0), own)
    is_of_others(own, pieces[..., 0])
    _, careless = one.draw((5000,), chosen, torch.Generator().manual_seed(0))
    with rejected():
        is_of_others(own, careless[..., 0])


def test_places_of_a_test_image_differ_and_any_set_of_them_is_as_likely():
    def sets(at):
        flat = (at[:, 0] * 3 + at[:, 1]).view(-1, 3).sort(dim=1).values
        counts = dict.fromkeys(combinations(range(6), 3), 0)
        for three in flat.tolist():
            assert tuple(three) in counts
            counts[tuple(three)] += 1
        is_even([*counts.values()])

    generator = torch.Generator().manual_seed(0)
    at = canvas._apart((2, 3), 4000, 3, generator)
    sets(at)
    is_even(torch.bincount(at[::3, 0] * 3 + at[::3, 1], minlength=6))
    with rejected():
        sets(torch.stack([torch.randint(side, (12000,), generator=generator) for side in (2, 3)], dim=1))


def test_the_seed_says_where_fixed_images_lie():
    one, same, other = (placed(made_up(), "cluttered", seed) for seed in (0, 0, 1))
    for split in ("train_x", "val_x", "test_x", "test_masks"):
        assert torch.equal(getattr(one, split), getattr(same, split))
        assert not torch.equal(getattr(one, split), getattr(other, split))


def test_the_draws_of_the_digits_are_the_recorded_ones():
    """What was measured on it stays comparable."""
    assert data.load("digits:translated").fingerprint == "445aa31b6c"
    assert data.load("digits:cluttered").fingerprint == "a3d735a400"


# ---- what is said of a set


def test_moments_are_those_of_the_images_times_their_share_of_the_canvas():
    set_, plain = data.load("digits:translated"), data.load("digits").train_x.long()
    number = len(plain) * 144
    mean = Fraction(int(plain.sum()), 255 * number)
    square = Fraction(int((plain**2).sum()), 255**2 * number)
    assert set_.mean[0] == pytest.approx(float(mean), abs=1e-12)
    assert set_.std[0] == pytest.approx(sqrt(square - mean**2), abs=1e-12)
    images = set_.normalise(set_.train_x)
    assert abs(float(images.mean())) < 1e-4
    assert abs(float(images.std()) - 1) < 1e-3


def test_facts_are_those_of_the_images_before_they_were_placed():
    plain = made_up()
    twice = replace(plain, test_x=torch.cat([plain.test_x[:-2], plain.train_x[:2]]))
    found = placed(twice, "cluttered").facts
    assert (found.train, found.test, found.places, found.test_in_train) == (54, 12, 3, 2)
    assert "12 test images at 3 places each; 2 test images are in the training" in str(found)
    assert placed(plain, "translated", places=1).facts == plain.facts
    of_canvases = replace(placed(twice, "cluttered"), placed=None)
    assert of_canvases.facts.test_in_train == 0  # what would be said of canvases


def test_a_fingerprint_holds_the_canvas_the_clutter_and_the_places():
    asked = ({}, {"canvas": 12}, {"clutter": 3}, {"places": 2}, {"object_size": 5})
    found = {placed(made_up(), "cluttered", **settings).fingerprint for settings in asked}
    found |= {placed(made_up(), "cluttered", 1).fingerprint, placed(made_up(seed=1), "cluttered").fingerprint}
    found |= {placed(made_up(), "translated").fingerprint, made_up().fingerprint}
    assert len(found) == len(asked) + 4
    assert placed(made_up(), "cluttered").fingerprint in found


def test_some_of_the_images_are_one_place_each():
    set_ = data.load("digits:translated")
    assert len(set_.evenly(1080, None)) == len(set_.evenly(1080, 1080)) == 1080
    for most in (1079, 500, 128, 7):
        some = set_.evenly(1080, most)
        assert len(some) <= most
        assert (some % 3 == 0).all()
        assert len(some) > most / 3 - 1
    plain = data.load("digits")
    assert torch.equal(plain.evenly(360, 128), torch.arange(360)[::3])


# ---- smaller objects


def means(images, side):
    """[n, 1, h, w] whose sides are multiples: the mean of each square of pixels, halves to even."""
    k = images.shape[-1] // side
    found = torch.empty(len(images), 1, images.shape[-2] // k, side, dtype=torch.uint8)
    for n, y, x in product(range(len(images)), range(found.shape[-2]), range(side)):
        pixels = [int(images[n, 0, k * y + dy, k * x + dx]) for dy, dx in product(range(k), repeat=2)]
        found[n, 0, y, x] = round(Fraction(sum(pixels), k * k))
    return found


@pytest.mark.parametrize("side", [3, 2])
def test_shrunk_images_are_means_of_their_pixels(side):
    set_ = made_up(h=12, w=6)
    small = shrunk(set_, 2 * side)
    assert small.image_size == (2 * side, side)
    assert torch.equal(small.val_x, means(set_.val_x, side))
    assert not torch.equal(set_.val_x[..., :: 6 // side, :: 6 // side], means(set_.val_x, side))
    assert shrunk(set_, 12).fingerprint == set_.fingerprint
    assert placed(set_, "translated", object_size=4).image_size == (6, 3)


# ---- what is refused


WRONG = {
    "digits:foo": ({}, "digits has no layout 'foo'; choose digits:translated or digits:cluttered"),
    "digits:": ({}, "digits has no layout ''"),
    "imagenot:translated": ({}, "there is no dataset 'imagenot'"),
    ":translated": ({}, "there is no dataset ':translated'"),
    "folder:/somewhere:translated": ({}, "folder:/somewhere is read from files, and only sets in memory .*digits:tra"),
    "probes:corner:cluttered": ({}, "images of probes:corner are placed already; leave out :cluttered"),
    "digits:translated:cluttered": ({}, "images of digits:translated are placed already"),
    "digits": ({"canvas": 12}, "canvas=12 means nothing for digits; leave it out, or choose .*digits:translated"),
    "probes:corner": ({"clutter": 2}, "clutter=2 means nothing for probes:corner; .* digits:cluttered"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_name_that_cannot_be_placed_is_refused(name):
    settings, sentence = WRONG[name]
    with pytest.raises(ValueError, match=sentence):
        data.load(name, **settings)


SETTINGS = {
    "canvas is smaller": ({"canvas": 7}, "canvas=7 is smaller than the 8x8 px images of digits; choose 8 or more"),
    "nothing fits elsewhere": ({"canvas": 8}, "places=3 is more than the 1 that 8x8 px have on 8x8 px"),
    "clutter below 1": ({"clutter": -1}, "clutter=-1 must be a whole number from 1"),
    "larger": ({"object_size": 9}, "object_size=9 is more than the 8 px of digits; choose 8 or less"),
    "no place": ({"places": 0}, "places=0 must be a whole number from 1"),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_that_do_not_fit_are_refused(kind):
    settings, sentence = SETTINGS[kind]
    with pytest.raises(ValueError, match=sentence):
        data.load("digits:cluttered", **settings)
    with pytest.raises(ValueError, match="clutter=2 needs digits:cluttered, not :translated; or leave it out"):
        data.load("digits:translated", clutter=2)


def test_pictures_in_files_are_refused():
    pictures, label = [Image.new("RGB", (40, 30))], torch.zeros(1, dtype=torch.int64)
    streamed = Dataset("few", *(pictures, label) * 3, classes=("a",), mean=(0.5,) * 3, std=(0.2,) * 3)
    with pytest.raises(ValueError, match="few is read from files, and only sets in memory can be placed"):
        placed(streamed, "translated")
