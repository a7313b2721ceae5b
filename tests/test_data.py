"""The embedded digits: real, whole, split once, balanced."""

import pytest
import torch

from harness import data


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


def test_normalised_training_images_have_mean_0_and_deviation_1():
    digits = data.load("digits")
    images = digits.normalise(digits.train_x)
    assert abs(float(images.mean())) < 1e-4
    assert abs(float(images.std()) - 1) < 1e-3


def test_resize_leaves_the_same_size_alone_and_keeps_a_constant():
    images = torch.randn(2, 1, 8, 8)
    assert data.resize(images, (8, 8)) is images
    torch.testing.assert_close(data.resize(torch.ones(1, 1, 8, 8), (12, 16)), torch.ones(1, 1, 12, 16))


def test_an_unknown_dataset_lists_what_there_is():
    with pytest.raises(ValueError, match="no dataset 'imagenot'; choose digits"):
        data.load("imagenot")
