"""The batches: the same for every variant, worker count and starting step; pairs, shares and repeats as published."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from PIL import Image
from timm.data.distributed_sampler import RepeatAugSampler

from harness import data, distributed
from harness.data import Dataset
from harness.data.canvas import Canvas
from harness.training.augment import policy
from harness.training.batches import Mixing, feed, shifted
from harness.training.loop import train
from tests.support.trainings import QUICK, digits, source, training, watched

AUGMENTED = replace(QUICK, crop_pad=1, hflip=0.5)


class Pictures:
    """Squares of one colour each, as files of a tree would be read."""

    def __init__(self, number):
        self.number = number

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        picture = Image.new("RGB", (40, 32), (index * 3 % 256, 255 - index, index % 7 * 30))
        picture.putpixel((index % 40, index % 32), (255, 255, 255))
        return picture


def streamed():
    labels = torch.arange(96) % 3
    parts = {"train_x": Pictures(96), "train_y": labels, "val_x": Pictures(8), "val_y": labels[:8]}
    return Dataset(
        "made-up", **parts, test_x=Pictures(12), test_y=labels[:12], classes=("a", "b", "c"), mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )  # fmt: skip


def batches(start, epoch=0, step=0):
    return list(feed(start).epoch(epoch, step))


@cache
def cluttered():
    return data.load("digits:cluttered")


FEEDS = {
    "resident": lambda: source(AUGMENTED),
    "placed": lambda: source(AUGMENTED, dataset=cluttered()),
    "policy": lambda: source(replace(AUGMENTED, aa="rand-m9-mstd0.5-inc1", batch_size=256)),
    "streamed": lambda: source(replace(QUICK, batch_size=32, hflip=0.5), dataset=streamed(), size=(16, 24)),
    "generated": lambda: source(replace(QUICK, batch_size=512), dataset=data.load("probes:same_row")),
}


@pytest.mark.parametrize("kind", FEEDS)
def test_an_epoch_starts_at_any_step_and_depends_on_seed_and_epoch_alone(kind):
    start = FEEDS[kind]()
    whole = batches(start)
    assert len(whole) == feed(start).steps > 2
    for (images, labels), (again, labels_again) in zip(whole[2:], batches(start, step=2), strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, labels_again)
    assert whole[0][0].dtype == torch.float32
    assert whole[0][0].shape[2:] == start.size
    assert not torch.equal(whole[0][0], batches(start, epoch=1)[0][0])
    assert not torch.equal(whole[0][0], batches(replace(start, seed=5))[0][0])


def test_pictures_are_the_same_whoever_reads_them():
    one = source(replace(QUICK, batch_size=32, hflip=0.5, aa="rand-m9-mstd0.5-inc1"), dataset=streamed(), size=(16, 16))
    for (images, labels), (others, other_labels) in zip(batches(one), batches(replace(one, workers=2)), strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)


def test_without_augmentation_each_image_is_what_the_set_holds():
    start = source()
    for (images, labels), places in zip(batches(start), start.order(0), strict=True):
        assert torch.equal(images, digits().normalise(digits().train_x[places]))
        assert torch.equal(labels, digits().train_y[places])


def test_flips_and_shifts_are_drawn_for_each_image():
    start = source(replace(QUICK, hflip=0.5))
    plain, flipped = batches(source())[0][0], batches(start)[0][0]
    same = (plain == flipped).flatten(1).all(1)
    mirrored = (plain.flip(-1) == flipped).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 16 < int(mirrored.sum()) < 48
    images = torch.arange(2 * 16).view(2, 1, 4, 4).to(torch.uint8)
    moved = shifted(images, torch.tensor([[1, 1], [0, 2]]), 1)
    assert torch.equal(moved[0], images[0])
    expected = torch.zeros(4, 4, dtype=torch.uint8)
    expected[1:, :3] = images[1, 0, :3, 1:]  # one down, one to the left
    assert torch.equal(moved[1, 0], expected)


def test_ranks_and_workers_see_their_share_of_the_same_canvases(monkeypatch):
    start = source(AUGMENTED, dataset=cluttered())
    whole = batches(start)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole, batches(replace(start, workers=2)), strict=True))
    monkeypatch.setattr(distributed, "world", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        mine = distributed.mine(64)
        assert len(mine) == 32
        for (images, labels), (of_all, labels_of_all) in zip(batches(start), whole, strict=True):
            assert torch.equal(images, of_all[mine])
            assert torch.equal(labels, labels_of_all[mine])
            assert not torch.equal(images, of_all[mine.flip(0)])


def test_variants_of_a_seed_see_the_same_canvases():
    runs = [training(spec, dataset=cluttered()) for spec in ("sa", "psa")]
    seen = [watched(one) for one in runs]
    for one in runs:
        train(one, lambda _: None)
    assert len(seen[0]) == len(seen[1]) == 32
    assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))
    assert len({image.numpy().tobytes() for image in torch.cat(seen[0])}) > 2000  # of 2,048: elsewhere each time


def test_a_placed_image_is_flipped_and_cut_before_it_is_placed():
    plain = data.load("digits:translated")
    start = source(replace(QUICK, hflip=1.0), dataset=plain)
    stays = 0
    for (images, labels), places in zip(batches(start), start.order(0), strict=True):
        pixels = ((images * plain.std[0] + plain.mean[0]) * 255).round().to(torch.uint8)
        for image, place, label in zip(pixels, places, labels, strict=True):
            found = image[0].nonzero()
            box = image[0, found[:, 0].min() : found[:, 0].max() + 1, found[:, 1].min() : found[:, 1].max() + 1]
            own = digits().train_x[place][0].flip(-1)
            ink = own.nonzero()
            wanted = own[ink[:, 0].min() : ink[:, 0].max() + 1, ink[:, 1].min() : ink[:, 1].max() + 1]
            assert torch.equal(box, wanted)
            stays += torch.equal(box, wanted.flip(-1))
            assert label == digits().train_y[place]
    assert stays < 20


def test_clutter_is_of_the_images_that_may_be_seen(monkeypatch):
    seen, lay = [], Canvas.lay
    monkeypatch.setattr(Canvas, "lay", lambda *given: seen.append(given[-1][..., 0]) or lay(*given))
    for chosen in (torch.arange(0, 1000, 10), torch.arange(5, 1000, 5)):
        seen.clear()
        batches(source(QUICK, dataset=cluttered(), chosen=chosen))
        assert set(torch.cat(seen).flatten().tolist()) == set(chosen.tolist())


def test_a_share_is_seen_more_often_and_makes_as_many_updates():
    chosen = torch.arange(100)
    start = source(chosen=chosen)
    order = start.order(0)
    assert order.shape == (16, 64)
    counts = torch.bincount(order.flatten(), minlength=1077)
    assert set(counts[:100].tolist()) == {10, 11}
    assert int(counts[100:].sum()) == 0
    assert len(set(order.flatten()[:100].tolist())) == 100  # a whole round before the next


def test_repeated_augmentation_is_timms():
    start = source(replace(QUICK, aug_repeats=3, batch_size=256))
    mine = start.order(0).flatten()
    theirs = list(RepeatAugSampler(range(1077), num_replicas=1, rank=0, num_repeats=3, selected_round=0))
    for order in (mine.tolist(), theirs[: len(mine)]):
        threes = torch.tensor(order[: len(order) // 3 * 3]).view(-1, 3)
        assert (threes == threes[:, :1]).all()
        assert len(set(threes[:, 0].tolist())) == len(threes)


def test_a_policy_keeps_size_and_channels_of_an_image_from_memory():
    recipe = replace(AUGMENTED, aa="rand-m9-mstd0.5-inc1")
    images, _ = batches(source(recipe))[0]
    assert images.shape == (64, 1, 8, 8)
    larger = policy(recipe, (12, 12), digits())(Image.fromarray(digits().train_x[0, 0].numpy()))
    assert larger.shape == (1, 12, 12)
    assert larger.dtype == torch.uint8


def test_erasing_draws_from_the_step_alone():
    images, labels = batches(source())[0]
    mixing = Mixing(replace(QUICK, reprob=1.0), 10, 4)
    seen = []
    for step in (3, 3, 4):
        torch.rand(5)
        seen.append(mixing(images.clone(), labels, step)[0])
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], images)
