"""Token labels: where a patch lies in its picture, and what it is told, for maps whose right value is known by hand."""

import random
from dataclasses import replace
from math import ceil

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from harness.data import Dataset
from harness.data.canvas import placed
from harness.training import batches, dense
from harness.training.augment import Noting, policy
from harness.training.dense import Cut, Targets, TokenLabels
from tests.support.mutants import noticed
from tests.support.trainings import QUICK, source

SURE = 20.0  # a logit beside which the others count for nothing


class Quarters:
    """Maps of 8 x 8 cells: class 0 in the upper left quarter of a picture, 1 right of it, 2 and 3 below."""

    def __getitem__(self, numbers):
        y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
        index = (2 * (y // 4) + x // 4).expand(len(numbers), 1, 8, 8)
        return torch.full(index.shape, SURE, dtype=torch.float16), index


LABELS = TokenLabels(Quarters(), (4, 4), 4)


def classes_of(cut, grid=(4, 4)):
    """The most likely class of each patch, as rows; -1 where a patch has no label."""
    maps = LABELS.maps[torch.arange(len(cut.boxes))]
    shares = dense.on_patches(*maps, 4, cut, grid)
    found = torch.where(dense.on_picture(cut, grid), shares.argmax(-1), -1)
    return [image.view(grid).tolist() for image in found]


def cut(*box, mirrored=False):
    return Cut(torch.tensor([box], dtype=torch.float32), torch.tensor([mirrored]))


WHOLE = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (cut(0, 0, 1, 1), WHOLE),
        (cut(0, 0, 1, 1, mirrored=True), [row[::-1] for row in WHOLE]),
        (cut(0, 0, 0.5, 0.5), [[0] * 4] * 4),
        (cut(0.5, 0, 1, 1), [[1] * 4] * 2 + [[3] * 4] * 2),
        (cut(0.25, 0.5, 0.75, 1, mirrored=True), [[3, 3, 2, 2]] * 4),
        # a canvas of twice the side, with the picture in its lower left corner
        (cut(0, -1, 2, 1), [[-1] * 4, [-1] * 4, [0, 1, -1, -1], [2, 3, -1, -1]]),
        # the picture moved by one patch to the right and up: the column before it and the row below are no picture
        (cut(-0.25, 0.25, 0.75, 1.25), [[-1, 0, 0, 1], [-1, 2, 2, 3], [-1, 2, 2, 3], [-1] * 4]),
    ],
)
def test_labels_move_with_what_an_image_shows(shown, wanted):
    assert classes_of(shown) == [wanted]


def test_rows_and_columns_are_not_swapped_on_grids_that_are_no_squares():
    assert classes_of(cut(0, 0, 1, 1), (2, 6)) == [[[0, 0, 0, 1, 1, 1], [2, 2, 2, 3, 3, 3]]]
    assert classes_of(cut(0, 0, 1, 0.5), (2, 4)) == [[[0, 0, 1, 1], [0, 0, 1, 1]]]


def by_loop(values, indices, classes, box, grid):
    """The mean of bilinear samples of the logits, then softmax; so many samples as a patch has cells; float64."""
    k, h, w = values.shape
    down = ceil(h * (box[3] - box[1]) / grid[0])
    along = ceil(w * (box[2] - box[0]) / grid[1])
    full = np.zeros((classes, h, w))
    for rank in range(k):
        for y in range(h):
            for x in range(w):
                full[indices[rank, y, x], y, x] = values[rank, y, x]
    found = np.zeros((*grid, classes))
    left, top, right, bottom = box
    for row in range(grid[0]):
        for column in range(grid[1]):
            total = np.zeros(classes)
            for i in range(down):
                for j in range(along):
                    v = (top + (bottom - top) * (row + (i + 0.5) / down) / grid[0]) * h - 0.5
                    u = (left + (right - left) * (column + (j + 0.5) / along) / grid[1]) * w - 0.5
                    v, u = min(max(v, 0), h - 1), min(max(u, 0), w - 1)
                    y, x = min(int(v), max(h - 2, 0)), min(int(u), max(w - 2, 0))
                    a, b = v - y, u - x
                    y1, x1 = min(y + 1, h - 1), min(x + 1, w - 1)
                    total += (1 - a) * ((1 - b) * full[:, y, x] + b * full[:, y, x1])
                    total += a * ((1 - b) * full[:, y1, x] + b * full[:, y1, x1])
            shares = np.exp(total / (down * along))
            found[row, column] = shares / shares.sum()
    return found.reshape(-1, classes)


CASES = [((4, 4), (0, 0, 1, 1)), ((3, 2), (0.1, 0.3, 0.8, 0.9)), ((2, 5), (0, 0.5, 0.5, 1))]
TRUE = dense.on_patches
MISTAKES = {
    "x and y of the box": lambda v, i, c, s, g: TRUE(v, i, c, Cut(s.boxes[:, [1, 0, 3, 2]], s.mirrored), g),
    "x and y of the map": lambda v, i, c, s, g: TRUE(v.mT, i.mT, c, s, g),
    "no softmax": lambda v, i, c, s, g: TRUE(v, i, c, s, g).log(),
    "half a cell": lambda v, i, c, s, g: TRUE(v, i, c, Cut(s.boxes + 0.5 / v.shape[-1], s.mirrored), g),
}


def shares_are_by_hand(cases):
    generator = torch.Generator().manual_seed(0)
    for grid, box in cases:
        values = torch.randn(1, 3, 4, 6, generator=generator)
        indices = torch.rand(1, 5, 4, 6, generator=generator).argsort(1)[:, :3]
        wanted = torch.tensor(by_loop(values[0].double().numpy(), indices[0].numpy(), 5, box, grid))
        found = dense.on_patches(values, indices, 5, cut(*box), grid)[0].double()
        assert (found - wanted).abs().max() < 1e-6


def test_shares_are_those_of_bilinear_samples_by_hand():
    shares_are_by_hand(CASES)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_shares_are_noticed(mistake, monkeypatch):
    monkeypatch.setattr(dense, "on_patches", MISTAKES[mistake])
    with noticed():
        shares_are_by_hand(CASES[1:])


def test_a_patch_half_on_the_picture_has_the_label_of_that_half():
    values, indices = LABELS.maps[torch.arange(1)]
    beside = cut(-0.125, 0, 0.875, 1)  # half a patch of nothing on the left
    assert dense.on_picture(beside, (4, 4))[0].view(4, 4)[:, 0].all()
    found = dense.on_patches(values, indices, 4, beside, (4, 4))[0].view(4, 4, 4)
    assert found[0, 0, 0] > 0.99
    assert not dense.on_picture(cut(-0.15, 0, 0.85, 1), (4, 4))[0].view(4, 4)[:, 0].any()


def test_smoothing_keeps_the_sum():
    shares = torch.tensor([0.7, 0.3, 0, 0])
    torch.testing.assert_close(dense.smoothed(shares, 0.1), torch.tensor([0.655, 0.295, 0.025, 0.025]))


def test_the_loss_is_the_mean_over_images_of_the_mean_over_known_patches():
    generator = torch.Generator().manual_seed(1)
    patches, tokens = torch.randn(3, 4, 5, generator=generator), torch.rand(3, 4, 5, generator=generator).softmax(-1)
    known = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    wanted = 0.0
    for image in range(3):
        each = [
            -sum(float(tokens[image, n, c]) * float(patches[image, n].double().log_softmax(0)[c]) for c in range(5))
            for n in range(4) if known[image, n]
        ]  # fmt: skip
        wanted += sum(each) / len(each) / 3 if each else 0
    targets = Targets(torch.zeros(3), tokens, known)
    assert float(dense.loss(patches, targets)) == pytest.approx(wanted, rel=1e-5)
    everything = replace(targets, known=torch.ones_like(known))
    plain = torch.nn.functional.cross_entropy(patches.flatten(0, 1), tokens.flatten(0, 1))
    torch.testing.assert_close(dense.loss(patches, everything), plain)


# --- the feeds: an image whose pixels say which quarter they are of


def quartered(size=(8, 8)):
    """Images whose pixels are 10, 80, 150 and 220 in the four quarters, as many labels as the default training has."""
    h, w = size
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    image = (10 + 70 * (2 * (y >= h // 2) + (x >= w // 2))).to(torch.uint8)[None, None]
    labels = torch.arange(64) % 4
    images = image.expand(64, 1, h, w).contiguous()
    return Dataset(
        "quarters", images, labels, images[:8], labels[:8], images[:8], labels[:8], classes=("a", "b", "c", "d"),
        mean=(0.0,), std=(1 / 255,),
    )  # fmt: skip


def told_and_shown(start, patch):
    """Of each batch what patches are told, -1 for nothing, and what their pixels say; -1 where they say several."""
    for images, targets in batches.feed(start).epoch(0):
        cells = images.unfold(2, patch, patch).unfold(3, patch, patch)[:, 0].flatten(3)
        said = ((cells.mean(-1) - 10) / 70).round().long()
        pure = (cells.amax(-1) - cells.amin(-1) < 5) & (((cells.mean(-1) - 10) / 70 - said).abs() < 0.2)
        told = torch.where(targets.known, targets.tokens.argmax(-1), -1)
        yield told, torch.where(pure & (cells.amin(-1) > 3), said, -1).flatten(1)


def agree(start, patch):
    both, patches = 0, 0
    for told, said in told_and_shown(start, patch):
        sure = (told >= 0) & (said >= 0)
        assert torch.equal(told[sure], said[sure])
        both, patches = both + int(sure.sum()), patches + told.numel()
    assert both > patches / 50


def in_memory(kind):
    """A feed of the quarters with token labels, and the side of a patch."""
    recipe = replace(QUICK, hflip=0.5, batch_size=16)
    images, size, patch = quartered(), (8, 8), 2
    if kind == "shifted":
        recipe = replace(recipe, crop_pad=2)
    if kind == "placed":
        images, size = replace(placed(images, "translated", canvas=16), mean=(0.0,), std=(1 / 255,)), (16, 16)
    if kind == "policy":
        recipe = replace(recipe, crop_pad=2, color_jitter=1e-6)
    if kind == "resized":
        size, patch = (16, 24), 4
    tokens = replace(LABELS, grid=(size[0] // patch, size[1] // patch))
    return replace(source(recipe, dataset=images, size=size), tokens=tokens), patch


FEEDS = ("plain", "shifted", "placed", "policy", "resized")
FORGOTTEN = {
    "flips": (FEEDS, lambda v, i, c, s, g: TRUE(v, i, c, Cut(s.boxes, s.mirrored & False), g)),
    "places": (
        ("shifted", "placed", "policy"),
        lambda v, i, c, s, g: TRUE(v, i, c, Cut(torch.tensor([[0.0, 0, 1, 1]]).expand(len(v), 4), s.mirrored), g),
    ),
}


@pytest.mark.parametrize("kind", FEEDS)
def test_the_feed_of_images_in_memory_labels_what_it_shows(kind):
    agree(*in_memory(kind))


@pytest.mark.parametrize(("what", "kind"), [(what, kind) for what, (kinds, _) in FORGOTTEN.items() for kind in kinds])
def test_forgotten_geometry_is_noticed(what, kind, monkeypatch):
    monkeypatch.setattr(dense, "on_patches", FORGOTTEN[what][1])
    with noticed():
        agree(*in_memory(kind))


class Files:
    """Pictures of 60 x 40 px as files of a tree would be read, in quarters."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        image = quartered((40, 60)).train_x[index, 0].numpy()
        return Image.fromarray(image).convert("RGB")


def test_the_feed_of_pictures_labels_what_it_shows(monkeypatch):
    labels = torch.arange(64) % 4
    found = Dataset("files", Files(), labels, Files(), labels, Files(), labels, classes=tuple("abcd"),
                    mean=(0.0,) * 3, std=(1 / 255,) * 3)  # fmt: skip
    recipe = replace(QUICK, hflip=0.5, batch_size=16, scale=(0.3, 1.0))
    start = replace(source(recipe, dataset=found, size=(48, 32)), tokens=replace(LABELS, grid=(6, 4)))
    agree(start, 8)
    monkeypatch.setattr(Noting, "_flip", lambda self, picture, p: transforms.RandomHorizontalFlip(p)(picture))
    with noticed():
        agree(start, 8)


def test_what_is_noted_changes_no_draw():
    """A picture is cut, mirrored and changed as it is without token labels: the studies are paired."""
    images = quartered((40, 60))
    recipe = replace(QUICK, hflip=0.5, crop_pad=3, aa="rand-m9-mstd0.5-inc1")
    streamed = replace(images, train_x=Files(), mean=(0.5,) * 3, std=(0.5,) * 3)
    for one, size in ((images, (40, 60)), (streamed, (32, 32))):
        plain, noting = policy(recipe, size, one), Noting(policy(recipe, size, one))
        for seed in range(8):
            picture = Files()[0] if one is streamed else Image.fromarray(images.train_x[0, 0].numpy())
            found = []
            for transform in (plain, noting):
                torch.manual_seed(seed)
                np.random.seed(seed)  # noqa: NPY002
                random.seed(seed)
                found.append(torch.as_tensor(np.asarray(transform(picture))))
            assert torch.equal(*found)


@pytest.mark.parametrize("kind", ["shifted", "placed", "policy"])
def test_an_epoch_with_labels_starts_at_any_step(kind, monkeypatch):
    """They are made for several steps at once, and a training that was interrupted goes on between two of these."""
    monkeypatch.setattr(batches, "AHEAD", 3)
    start, _ = in_memory(kind)
    start = replace(start, recipe=replace(start.recipe, batch_size=8))
    whole = [targets for _, targets in batches.feed(start).epoch(1)]
    assert len(whole) == 8
    for step in (1, 3, 5, 7):
        for one, again in zip(whole[step:], batches.feed(start).epoch(1, step), strict=True):
            assert torch.equal(one.tokens, again[1].tokens)
            assert torch.equal(one.known, again[1].known)
            assert torch.equal(one.labels, again[1].labels)
