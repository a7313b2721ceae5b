"""Datasets by name: the embedded digits, what every Dataset can say of itself, and the sentences for unknown names."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from harness import data
from harness.data.dataset import hold_out, moments


def test_digits_are_split_without_overlap_and_in_proportion():
    digits = data.load("digits")
    assert digits.train_x.shape == (1077, 1, 8, 8)
    assert digits.train_x.dtype == torch.uint8
    assert len(digits.val_y) == len(digits.test_y) == 360
    assert digits.classes == tuple("0123456789")
    whole = torch.cat([digits.train_x, digits.val_x, digits.test_x]).flatten(1)
    from sklearn.datasets import load_digits

    truth = torch.from_numpy(load_digits().data)
    assert sorted((whole / (255 / 16)).round().sum(1).tolist()) == sorted(truth.sum(1).tolist())
    for labels in (digits.train_y, digits.val_y, digits.test_y):
        share = torch.bincount(labels) / len(labels)
        assert (share - 0.1).abs().max() < 0.01


def test_the_seed_draws_the_split():
    one, same, other = data.load("digits"), data.load("digits"), data.load("digits", seed=1)
    assert torch.equal(one.test_x, same.test_x)
    assert not torch.equal(one.test_x, other.test_x)


def test_the_split_of_the_digits_is_the_recorded_one():
    """What was measured on it stays comparable: the sums of the labels, each with its place, are pinned."""
    digits = data.load("digits")
    for labels, pinned in ((digits.train_y, 2546058), (digits.val_y, 291568), (digits.test_y, 282004)):
        assert int((labels * torch.arange(len(labels))).sum()) == pinned
        assert int((labels.roll(1) * torch.arange(len(labels))).sum()) != pinned


def test_normalised_training_images_have_mean_0_and_deviation_1():
    digits = data.load("digits")
    images = digits.normalise(digits.train_x)
    assert abs(float(images.mean())) < 1e-4
    assert abs(float(images.std()) - 1) < 1e-3


def test_moments_of_channels_are_those_of_the_float_images():
    images = torch.randint(0, 256, (50, 3, 6, 5), dtype=torch.uint8) // torch.tensor([1, 2, 5]).view(-1, 1, 1)
    images = images.to(torch.uint8)
    mean, std = moments(images)
    floats = images.double().transpose(0, 1).flatten(1) / 255
    torch.testing.assert_close(torch.tensor(mean), floats.mean(1).float())
    torch.testing.assert_close(torch.tensor(std), floats.std(1, correction=0).float())


def test_a_tenth_is_held_out_in_proportion_and_each_class_at_least_once():
    labels = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)[torch.randperm(1000)]
    train, val = hold_out(labels, seed=0)
    assert torch.bincount(labels[val]).tolist() == [60, 30, 10]
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(1000))
    assert not torch.equal(val, hold_out(labels, seed=1)[1])
    few = torch.tensor([0, 0, 1, 1, 2, 2, 2, 2])
    assert sorted(few[hold_out(few, seed=0)[1]].tolist()) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"the class 1 has a single training image.* at least 2"):
        hold_out(torch.tensor([0, 0, 0, 1]), seed=0)


def test_classes_with_a_single_image_are_named():
    names = tuple(f"kind {k}" for k in range(9))
    with pytest.raises(ValueError, match=r"the classes kind 1, kind 3 have a single training image"):
        hold_out(torch.tensor([0, 0, 1, 2, 2, 3]), 0, names)
    with pytest.raises(ValueError, match=r"kind 0, kind 1, kind 2, kind 3, kind 4 and 4 more have"):
        hold_out(torch.arange(9), 0, names)


def test_one_class_alone_is_refused():
    with pytest.raises(ValueError, match="all 5 training images are of one class; a classifier wants at least 2"):
        hold_out(torch.zeros(5, dtype=torch.int64), seed=0)


def test_a_dataset_knows_how_many_images_it_has_and_which_are_on_both_sides():
    digits = data.load("digits")
    facts = digits.facts
    assert (facts.classes, facts.train, facts.val, facts.test) == (10, 1077, 360, 360)
    assert (facts.val_in_train, facts.test_in_train, dict(facts.skipped)) == (0, 0, {})
    assert str(facts) == "10 classes; 1,077 training, 360 validation and 360 test images"
    test = digits.test_x.clone()
    test[5], test[9], test[11] = digits.train_x[3], digits.train_x[3], digits.val_x[0]
    val = torch.cat([digits.val_x[:-1], digits.train_x[:1]])
    planted = replace(digits, test_x=test, val_x=val, skipped={".txt": 1200, "hidden": 1})
    assert (planted.facts.val_in_train, planted.facts.test_in_train) == (1, 3)
    assert str(planted.facts).endswith(
        "test images; 1 validation image is in the training split, too; 3 test images are in the training or "
        "validation split, too; skipped 1,200 .txt, 1 hidden"
    )


def test_pictures_without_digests_of_their_own_are_told_apart_by_their_pixels():
    label = torch.zeros(1, dtype=torch.int64)

    def few(shade):
        pictures = [Image.new("RGB", (40, 30), (shade,) * 3)]
        return data.Dataset("few", *(pictures, label) * 3, classes=("a",), mean=(0.5,) * 3, std=(0.2,) * 3)

    assert few(1).fingerprint == few(1).fingerprint != few(2).fingerprint
    assert few(1).facts.test_in_train == 1


def test_a_dataset_of_pictures_says_so():
    pictures = [Image.new("RGB", (40, 30))]
    label = torch.zeros(1, dtype=torch.int64)
    streamed = data.Dataset("few", *(pictures, label) * 3, classes=("a",), mean=(0.5,) * 3, std=(0.2,) * 3)
    assert streamed.streamed
    assert streamed.image_size == (224, 224)
    assert streamed.channels == 3
    digits = data.load("digits")
    assert not digits.streamed
    assert digits.image_size == (8, 8)
    assert digits.channels == 1


def test_resize_leaves_the_same_size_alone_and_keeps_a_constant():
    images = torch.randn(2, 1, 8, 8)
    assert data.resize(images, (8, 8)) is images
    torch.testing.assert_close(data.resize(torch.ones(1, 1, 8, 8), (12, 16)), torch.ones(1, 1, 12, 16))


@pytest.mark.parametrize("name", ["imagenot", "probes:triangle", "probes:", "torch:cifar10"])
def test_an_unknown_dataset_lists_what_there_is(name):
    with pytest.raises(ValueError, match=f"no dataset '{name}'; choose digits, .*probes:same_row.*folder:PATH"):
        data.load(name)


def test_names_are_those_that_load_takes():
    assert {"digits", "fashion_mnist", "cifar10", "cifar100", "probes:corner", "folder:PATH"} <= set(data.names())
    assert set(data.DATASETS) < set(data.names())


@pytest.mark.parametrize("name", ["digits", "digits:translated", "digits:cluttered", "probes:distance"])
def test_images_are_the_same_on_any_number_of_threads(name):
    """To the last bit: what a model sees depends on neither --jobs nor the machine's cores."""
    before, seen = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found = data.load(name)
            seen.append([value.hex() for value in (*found.mean, *found.std)])
            seen.append(found.fingerprint)
    finally:
        torch.set_num_threads(before)
    assert seen[0] == seen[2] == seen[4]
    assert seen[1] == seen[3] == seen[5]
