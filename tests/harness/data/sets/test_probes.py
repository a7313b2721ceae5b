"""The generated tasks: their labels, read off the pixels by loops; and that nothing but the relation gives them away.

Each check is seen to reject a task that leaks: marks drawn without care, stripes without their opposites, wrong labels.
"""

import math
from itertools import product

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from harness import data
from harness.data.sets.generated import balanced
from harness.data.sets.probes import CELLS, PROBES, _apart, draw, fresh, odds

PAIRS = ("same_row", "distance", "mirror")
N = 3000


def drawn(task, n=N, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = balanced(len(PROBES[task]), generator, n)
    images, masks = draw(task, generator, labels)
    return images, labels, masks


def ink(image):
    """[1, 24, 24] -> bool [6, 6, 4, 4]: the inked pixels of each cell; ground is below 96, ink from 160."""
    assert bool(((image < 96) | (image >= 160)).all())
    return (image[0] >= 160).view(CELLS, 4, CELLS, 4).transpose(1, 2)


def marks(image):
    cells = ink(image)
    return [(r, c) for r, c in product(range(CELLS), repeat=2) if bool(cells[r, c].all())]


def truth(task, image):
    """The label as a person would read it off the picture."""
    found = marks(image)
    if task == "corner":
        ((r, c),) = found
        return 2 * (r > 2) + (c > 2)
    if task == "texture":
        ((r, c),) = found
        cell = ink(image)[r, c + 1]
        return int(bool((cell == cell[:1]).all()))  # along: all rows alike
    (r1, c1), (r2, c2) = found
    if task == "same_row":
        assert (r1 == r2) != (c1 == c2)
        return int(r1 == r2)
    if task == "mirror":
        assert r1 == r2
        return int(c1 == 5 - c2)
    return min(int(math.hypot(r1 - r2, c1 - c2)), 3) - 1


@pytest.mark.parametrize("task", PROBES)
def test_labels_are_what_the_pictures_show(task):
    images, labels, _ = drawn(task, 400)
    shown = torch.tensor([truth(task, image) for image in images])
    assert torch.equal(shown, labels)
    assert not torch.equal(shown, drawn(task, 400, seed=1)[1])  # planted: the labels of other pictures


@pytest.mark.parametrize("task", PROBES)
def test_masks_are_where_the_objects_are(task):
    images, _, masks = drawn(task, 100)
    for image, mask in zip(images, masks, strict=True):
        objects = marks(image)
        if task == "texture":
            objects = [*objects, (objects[0][0], objects[0][1] + 1)]
        wanted = torch.zeros(CELLS, CELLS, dtype=torch.bool)
        for cell in objects:
            wanted[cell] = True
        assert torch.equal(mask, wanted.repeat_interleave(4, 0).repeat_interleave(4, 1))


@pytest.mark.parametrize("task", PROBES)
def test_a_task_is_a_dataset_with_three_streams_and_one_without_end(task):
    set_ = data.load(f"probes:{task}")
    assert (set_.name, set_.image_size, set_.channels) == (f"probes:{task}", (24, 24), 1)
    assert (len(set_.train_y), len(set_.val_y), len(set_.test_y)) == (4096, 1024, 2048)
    assert set_.test_masks.shape == (2048, 24, 24)
    whole = torch.cat([set_.train_x, set_.val_x, set_.test_x]).flatten(1)
    assert len(whole.unique(dim=0)) == len(whole)
    assert torch.equal(set_.test_x, data.load(f"probes:{task}").test_x)
    assert not torch.equal(set_.test_x, data.load(f"probes:{task}", seed=1).test_x)
    images, labels = set_.fresh(torch.Generator().manual_seed(3), 60)
    assert (images.shape, images.dtype, labels.dtype) == ((60, 1, 24, 24), torch.uint8, torch.int64)
    assert torch.equal(images, set_.fresh(torch.Generator().manual_seed(3), 60)[0])
    assert torch.bincount(labels).tolist() == [60 // len(set_.classes)] * len(set_.classes)
    assert abs(float(set_.normalise(set_.train_x).std()) - 1) < 1e-3


@pytest.mark.parametrize("task", PROBES)
def test_labels_are_balanced_where_they_are_drawn_one_by_one(task):
    generator = torch.Generator().manual_seed(0)
    counts = torch.bincount(torch.cat([fresh(task, generator, 1)[1] for _ in range(400)]))
    assert len(counts) == len(PROBES[task])
    assert int(counts.min()) > 0.7 * 400 / len(PROBES[task])


def lift(features, labels):
    """How far above chance a linear classifier gets on the half that it has not seen, in standard deviations of chance.

    features [n, k]; labels [n].
    """
    scaled = (features - features.mean(0)) / (features.std(0) + 1e-9)
    half, chance = len(labels) // 2, 1 / (int(labels.max()) + 1)
    model = LogisticRegression(max_iter=500).fit(scaled[:half], labels[:half])
    return (model.score(scaled[half:], labels[half:]) - chance) / math.sqrt(
        chance * (1 - chance) / (len(labels) - half)
    )


def histograms(images):
    """[n, 10]: how many pixels have which grey value, and their sum."""
    return np.stack(
        [np.append(np.histogram(image, 9, (0, 256))[0], image.sum()) for image in images.numpy().astype(int)]
    )


def brightness(images):
    """[n, 36]: the mean of each cell, which is all that absolute position can be read from."""
    return images.float().view(-1, CELLS, 4, CELLS, 4).mean((2, 4)).flatten(1).numpy()


@pytest.mark.parametrize("task", PROBES)
def test_histograms_do_not_tell_the_label(task):
    images, labels, _ = drawn(task)
    assert abs(lift(histograms(images), labels.numpy())) < 4
    brighter = images + 2 * labels[:, None, None, None].to(torch.uint8)  # planted
    assert lift(histograms(brighter), labels.numpy()) > 8


@pytest.mark.parametrize("task", ["same_row", "distance", "texture"])
def test_where_things_are_bright_does_not_tell_the_label(task):
    images, labels, _ = drawn(task)
    assert abs(lift(brightness(images), labels.numpy())) < 4
    corner, quadrants, _ = drawn("corner")
    assert lift(brightness(corner), quadrants.numpy()) > 8  # what does tell it is seen


def test_adding_up_the_columns_of_two_marks_tells_mirror_images_in_three_of_four():
    """All weights of -2 to 2 for the six columns, and every threshold."""
    shares = [odds("mirror", label).view(CELLS, CELLS, CELLS, CELLS).sum((0, 2)) for label in range(2)]
    surplus, found = (shares[1] - shares[0]).flatten(), 0.0
    for weights in torch.cartesian_prod(*[torch.arange(-2, 3)] * CELLS).split(1000):
        sums = (weights[:, :, None] + weights[:, None, :]).flatten(1)
        for least in range(-4, 5):
            found = max(found, float(((sums >= least) * surplus).sum(1).abs().max()))
    assert 1 / 2 + found / 2 == pytest.approx(3 / 4)


def careless(task, label):
    """Planted: every pair that fits the label is equally likely."""
    return (odds(task, label) > 0).double() / (odds(task, label) > 0).sum()


def spread(table, task):
    """How much the odds of a mark on each cell differ between the labels, as a share of them."""
    single = torch.stack([table(task, label).sum(1) for label in range(len(PROBES[task]))])
    return float(((single.max(0).values - single.min(0).values) / single.mean(0)).max())


@pytest.mark.parametrize("task", PAIRS)
def test_each_mark_lies_anywhere_with_the_same_odds_whatever_the_label(task):
    assert spread(odds, task) < 1e-9
    for label in range(len(PROBES[task])):
        torch.testing.assert_close(odds(task, label), odds(task, label).T)
    if task != "same_row":  # there the careless draw is the right one
        assert spread(careless, task) > 0.3


def test_the_pairs_that_are_drawn_follow_the_odds():
    for task in (*PAIRS, "corner"):
        _, labels, masks = drawn(task, 5000)
        cells = masks[:, ::4, ::4].flatten(1).double()
        for label in range(len(PROBES[task])):
            counted = cells[labels == label].mean(0)
            wanted = odds(task, label).sum(0) * (1 if task == "corner" else 2)
            deviation = (wanted * (1 - wanted) / int((labels == label).sum())).sqrt() + 1e-9
            assert float(((counted - wanted) / deviation).abs().max()) < 5


def best(task, feature, table=odds):
    """The accuracy of the best function of one feature (dy, dx) -> value of the two marks, exact, labels balanced."""
    shares = {}
    for label in range(len(PROBES[task])):
        pairs = table(task, label)
        for first, second in pairs.nonzero().tolist():
            value = feature(second // CELLS - first // CELLS, second % CELLS - first % CELLS)
            shares.setdefault(value, [0.0] * len(PROBES[task]))[label] += float(pairs[first, second])
    return sum(max(share) for share in shares.values()) / len(PROBES[task])


def test_the_distance_does_not_tell_the_row_and_the_direction_does():
    assert best("same_row", lambda dy, dx: dy**2 + dx**2) == pytest.approx(1 / 2)
    assert best("same_row", lambda dy, dx: abs(dx) > abs(dy)) == pytest.approx(1)


def test_the_distance_tells_the_distance_and_the_direction_tells_little():
    assert best("distance", lambda dy, dx: dy**2 + dx**2) == pytest.approx(1)
    assert best("distance", lambda dy, dx: (abs(dx) > abs(dy)) - (abs(dx) < abs(dy))) < 0.45
    assert best("distance", lambda dy, dx: round(math.atan2(dy, dx) / (math.pi / 4))) < 0.43
    assert best("distance", lambda dy, dx: round(math.atan2(dy, dx), 6)) < 0.72  # the exact angle: (2, 1) is never 1


def test_no_offset_tells_mirror_images_apart():
    assert best("mirror", lambda dy, dx: (dy, dx)) == pytest.approx(7 / 12)
    assert best("mirror", lambda dy, dx: (dy, dx), careless) > 0.6


def around(image):
    """Whether the cells right, left, above and below of the mark are striped along."""
    ((r, c),) = marks(image)
    cells = ink(image)
    return [bool((cells[at] == cells[at][:1]).all()) for at in ((r, c + 1), (r, c - 1), (r - 1, c), (r + 1, c))]


def lopsided(images):
    """How many images have a mark whose opposite neighbours are striped alike."""
    return sum(right == left or above == below for right, left, above, below in map(around, images))


def test_what_is_alike_in_opposite_directions_sees_one_of_each_stripe():
    images, _, masks = drawn("texture", 300)
    assert lopsided(images) == 0
    for image, mask in zip(images, masks, strict=True):  # planted: the left cell is a copy of the right one
        r, c = (int(k) // 4 for k in mask.nonzero()[0])
        image[0, 4 * r : 4 * r + 4, 4 * c - 4 : 4 * c] = image[0, 4 * r : 4 * r + 4, 4 * c + 4 : 4 * c + 8]
    assert lopsided(images) == 300


def told(pairs):
    """[6, 6]: how many more of these pairs (mark, decoy) have a cell striped along where the label is 1 than at 0."""
    more = torch.zeros(CELLS, CELLS)
    for (row, column), (row_2, column_2) in pairs.tolist():
        for place, sign in (((row, column + 1), 1), ((row, column - 1), -1), ((row_2, column_2 + 1), -1),
                            ((row_2, column_2 - 1), 1)):  # fmt: skip
            more[place] += sign
    return more


def test_no_cell_tells_which_way_the_right_one_is_striped():
    pairs = _apart()
    assert not bool(told(pairs).any())
    alone = pairs.clone()
    alone[:, 1] = 1  # planted: the decoy always lies in one corner
    assert bool(told(alone).any())
    for (row, column), (row_2, column_2) in pairs.tolist():
        own = {(row, column), *((row + y, column + x) for y, x in ((0, 1), (0, -1), (1, 0), (-1, 0)))}
        assert not own & {(row_2, column_2 + 1), (row_2, column_2 - 1)}
        assert (row, column) != (row_2, column_2)


def test_the_decoy_has_it_the_other_way_round():
    images, labels, _ = drawn("texture", 3000)
    along = torch.stack([(ink(image)[..., :1, :] == ink(image)).all(-1).all(-1) for image in images])
    shares = torch.stack([along[labels == label].double().mean(0) for label in range(2)])
    assert float((shares[0] - shares[1]).abs().max()) < 5 * math.sqrt(2 * 0.25 / 1500)
