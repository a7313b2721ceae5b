"""Sort-of-CLEVR: answers read off the pixels by loops, and counts that tell nothing."""

import math

import pytest
import torch

from harness import data
from harness.data.sets.generated import balanced
from harness.data.sets.sort_of_clevr import APART, COLOURS, HALF, QUESTIONS, SIDE, draw, fresh, scenes


def drawn(question, n=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = balanced(len(QUESTIONS[question]), generator, n)
    return *draw(question, generator, labels), labels


ROUND = sum(y * y + x * x <= HALF * (HALF + 1) for y in range(-HALF, HALF + 1) for x in range(-HALF, HALF + 1))
WHOLE = {ROUND: False, (2 * HALF + 1) ** 2: True}  # pixels of an object that nothing covers -> whether it is a square


def objects(image):
    """(y, x, square) of each colour, from the pixels that have it; [] where one object covers a part of another."""
    found = []
    for colour in COLOURS:
        here = (image == torch.tensor(colour, dtype=torch.uint8)[:, None, None]).all(0).nonzero()
        if len(here) not in WHOLE:
            return []
        y, x = here.double().mean(0).tolist()
        found.append((y, x, WHOLE[len(here)]))
    return found


def answer(question, image):
    (y, x, square), *others = objects(image)
    if question == "count":
        return sum(one[2] == square for one in others)
    far = [math.hypot(one[0] - y, one[1] - x) for one in others]
    return int(others[far.index(min(far) if question == "nearest" else max(far))][2])


@pytest.mark.parametrize("question", QUESTIONS)
def test_answers_are_what_the_pictures_show(question):
    images, _, labels = drawn(question)
    apart = [image for image in images if objects(image)]
    assert len(apart) > 80
    shown = torch.tensor([answer(question, image) for image in apart])
    wanted = torch.stack([label for image, label in zip(images, labels, strict=True) if objects(image)])
    assert torch.equal(shown, wanted)
    assert not torch.equal(shown, wanted.roll(1))  # planted: the answers of other pictures


def shares(squares, labels):
    """By label, the share of squares at each of [n, 6] objects, and of each number of squares among the five others."""
    by_label = [squares[labels == label] for label in range(2)]
    counts = [torch.bincount(one[:, 1:].sum(1), minlength=6).double() / len(one) for one in by_label]
    return [one.double().mean(0) for one in by_label], counts


@pytest.mark.parametrize("question", ["nearest", "furthest"])
def test_neither_a_colour_nor_the_number_of_squares_tells_the_answer(question):
    generator = torch.Generator().manual_seed(0)
    labels = balanced(2, generator, 4000)
    _, squares, _ = scenes(question, generator, labels)
    noise = math.sqrt(2 * 0.25 / 2000)
    (one, other), (counts, others) = shares(squares, labels)
    assert float((one - other).abs().max()) < 5 * noise
    assert float((counts - others).abs().max()) < 5 * noise
    assert set(counts.nonzero().flatten().tolist()) == {2, 3}
    squares[::3, 0] = ~labels[::3].bool()  # planted: the red one has the other shape than the answer more often
    (one, other), _ = shares(squares, labels)
    assert float((one - other).abs().max()) > 5 * noise


def test_the_count_is_of_either_shape():
    images, _, labels = drawn("count", 300)
    shapes = torch.tensor([objects(image)[0][2] for image in images if objects(image)])
    assert 0.35 < float(shapes.double().mean()) < 0.65
    assert torch.bincount(labels).tolist() == [50] * 6


@pytest.mark.parametrize("question", QUESTIONS)
def test_objects_are_inside_and_apart(question):
    images, masks, _ = drawn(question)
    for image, mask in zip(images, masks, strict=True):
        places = [(y, x) for y, x, _ in objects(image)]
        if places:
            assert all(math.hypot(a[0] - b[0], a[1] - b[1]) >= APART for k, a in enumerate(places) for b in places[:k])
            red = (image == torch.tensor(COLOURS[0], dtype=torch.uint8)[:, None, None]).all(0)
            assert bool(mask[red].all())
            assert int(mask.sum()) > int(red.sum()) or question == "count"


def test_its_splits_are_those_of_a_dataset():
    question = "count"
    one = data.load(f"sort_of_clevr:{question}")
    assert (one.name, one.image_size, one.channels) == (f"sort_of_clevr:{question}", (SIDE, SIDE), 3)
    assert (len(one.train_y), len(one.val_y), len(one.test_y)) == (4096, 1024, 2048)
    assert one.classes == QUESTIONS[question]


@pytest.mark.parametrize("question", QUESTIONS)
def test_new_pictures_are_those_of_the_generator(question):
    images, labels = fresh(question, torch.Generator().manual_seed(3), 30)
    assert images.shape == (30, 3, SIDE, SIDE)
    assert torch.equal(images, fresh(question, torch.Generator().manual_seed(3), 30)[0])
    assert torch.bincount(labels).tolist() == [30 // len(QUESTIONS[question])] * len(QUESTIONS[question])
