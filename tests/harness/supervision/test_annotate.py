"""Label maps of training pictures: whole pictures, in order, by the teacher that was named, once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from harness import data as sets
from harness.data import label_maps
from harness.data.label_maps import Writer
from harness.supervision import annotate, convnet
from harness.supervision.annotate import annotated
from harness.supervision.teacher import Teacher
from tests.support.teachers import MEAN, STD, colours, halves
from tests.support.trees import grow

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Shards of 4 pictures, seen 3 at a time, and pictures that are examined anew in each test."""
    monkeypatch.setattr(label_maps, "SHARD", 4)
    monkeypatch.setattr(annotate, "BATCH", 3)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def coloured(n=10, seed=0):
    """Images in cells of 4 x 4 px, each of one colour: uint8 [n, 3, 8, 16]."""
    cells = torch.randint(0, 256, (n, 3, 2, 4), generator=torch.Generator().manual_seed(seed))
    return cells.to(torch.uint8).repeat_interleave(4, 2).repeat_interleave(4, 3)


def by_hand(images):
    """Of each cell the classes in order, and the network's logits less their mean: [n, 3, h, w], float64."""
    mean, std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (MEAN, STD))
    logits = (images[:, :, ::4, ::4].double() / 255 - mean) / std
    return (logits - logits.mean(1, keepdim=True)).sort(dim=1, descending=True)


def are_the_networks(maps, images, tolerance=4e-3):
    values, indices = maps[torch.arange(len(images))]
    expected = by_hand(images)
    assert len(maps) == len(images)
    torch.testing.assert_close(values.double(), expected.values, rtol=tolerance, atol=tolerance)
    assert torch.equal(indices, expected.indices)


def made(dataset, cache, words="timm:colours", **more):
    return annotated(words, dataset, CPU, cache, **more)


@pytest.mark.usefixtures("pretrained")
def test_maps_are_the_teachers_words_in_order(tmp_path, capsys):
    images = coloured()
    maps = made(colours(images), tmp_path)
    are_the_networks(maps, images)
    assert (maps.about.pictures, maps.about.k, maps.grid, maps.classes) == (10, 3, (2, 4), 3)
    assert maps.about.dataset == colours(images).fingerprint
    size = 10 * 3 * 2 * 4 * (2 + 2) / 1e6
    assert capsys.readouterr().err.startswith(
        f"label maps of 10 training pictures by timm:colours: 3 of 3 classes in each of 2x4 cells, {size:.2f} MB in "
    )


def backwards(data, pieces, *_):
    yield from (data.normalise(data.train_x[list(reversed(piece))]) for piece in pieces)


DENSE = Teacher.dense
ERRORS = {
    "pictures in another order": (annotate, "_seen", backwards),
    "the picture as a whole": (Teacher, "dense", lambda self, x: self(x)[:, :, None, None].expand(-1, -1, 2, 4)),
    "mirrored": (Teacher, "dense", lambda self, x: DENSE(self, x.flip(3))),
}


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.usefixtures("pretrained")
def test_other_maps_are_noticed(kind, tmp_path, monkeypatch):
    images = coloured()
    monkeypatch.setattr(*ERRORS[kind])
    with pytest.raises(AssertionError):
        are_the_networks(made(colours(images), tmp_path), images)


@pytest.mark.usefixtures("pretrained")
def test_they_are_made_once_for_a_dataset_and_a_teacher(tmp_path, monkeypatch, capsys):
    first = made(colours(coloured()), tmp_path)
    capsys.readouterr()
    monkeypatch.setattr(annotate, "_write", None)  # a call would raise
    again = made(colours(coloured()), tmp_path)
    assert (again.folder, again.digest) == (first.folder, first.digest)
    assert capsys.readouterr().err == ""
    with pytest.raises(TypeError):
        made(colours(coloured(seed=1)), tmp_path)
    monkeypatch.setattr(Teacher, "digest", "of another")
    with pytest.raises(TypeError):
        made(colours(coloured()), tmp_path)


class Killed(BaseException):
    """What a test throws in the middle."""


@pytest.mark.usefixtures("pretrained")
def test_a_killed_run_goes_on_with_its_shard(tmp_path, monkeypatch):
    images, asked, write, dense = coloured(), [], Writer.write, Teacher.dense
    monkeypatch.setattr(Teacher, "dense", lambda self, shown: asked.append(len(shown)) or dense(self, shown))

    def mortal(self, part, *maps):
        if part.start == 4:
            raise Killed
        write(self, part, *maps)

    monkeypatch.setattr(Writer, "write", mortal)
    with pytest.raises(Killed):
        made(colours(images), tmp_path)
    assert asked == [3, 1, 3, 1]
    monkeypatch.setattr(Writer, "write", write)
    asked.clear()
    are_the_networks(made(colours(images), tmp_path), images)
    assert asked == [3, 1, 2]


@pytest.mark.usefixtures("pretrained")
def test_a_damaged_shard_is_made_again(tmp_path):
    images = coloured()
    maps = made(colours(images), tmp_path)
    shard = sorted(maps.folder.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-3])
    again = made(colours(images), tmp_path)
    are_the_networks(again, images)
    assert again.digest == maps.digest


def edges(tree):
    """A tree of three classes whose pictures of 80 x 24 px are black, and of their class's colour at the left edge."""
    for number, name in enumerate(("r", "s", "t")):
        for part in ("train", "val"):
            (tree / part / name).mkdir(parents=True)
            for k in range(4):
                pixels = np.zeros((24, 80, 3), np.uint8)
                pixels[:, :20, number] = 255
                Image.fromarray(pixels).save(tree / part / name / f"{k}.png")
    return sets.load(f"folder:{tree}")


def shows_the_edges(dataset, cache, workers):
    maps = made(dataset, cache, workers=workers)
    _, indices = maps[torch.arange(len(dataset.train_y))]
    for number, label in enumerate(dataset.train_y.tolist()):
        values = maps[torch.tensor([number])][0][0]
        assert (indices[number, 0, :, 0] == label).all()
        black = ((0 - torch.tensor(MEAN)) / torch.tensor(STD)).argsort(descending=True)
        assert torch.equal(indices[number, :, 0, 2], black)
        assert values[0, 0, 0] > values[0, 0, 2]


@pytest.mark.usefixtures("pretrained")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_in_a_file_is_seen_whole(workers, tmp_path):
    shows_the_edges(edges(tmp_path / "tree"), tmp_path, workers)


@pytest.mark.usefixtures("pretrained")
def test_a_centre_crop_is_noticed(tmp_path, monkeypatch):
    class Cropped(transforms.Resize):
        def __init__(self, size, how):
            super().__init__(size[0], how)
            self.crop = transforms.CenterCrop(size)

        def forward(self, picture):
            return self.crop(super().forward(picture))

    monkeypatch.setattr(transforms, "Resize", Cropped)
    with pytest.raises(AssertionError):
        shows_the_edges(edges(tmp_path / "tree"), tmp_path, 0)


@pytest.mark.usefixtures("pretrained")
def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    dataset = sets.load(f"folder:{grow(tmp_path / 'tree', train=4, val=2)}")
    for file in (tmp_path / "tree" / "train").rglob("*.png"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"\.png cannot be read as a picture .*; replace or delete it") as error:
        made(dataset, tmp_path)
    assert "\n" not in str(error.value)


def test_maps_of_canvases_are_those_of_the_images_on_them(tmp_path, monkeypatch):
    monkeypatch.setattr(convnet, "RECIPE", replace(convnet.RECIPE, epochs=2, batch_size=16))
    plain = halves(n=30)
    maps = annotated("test_byobnet", sets.canvas.placed(plain, "translated"), CPU, tmp_path)
    assert maps.digest == annotated("test_byobnet", plain, CPU, tmp_path).digest
    assert (len(maps), maps.grid, maps.about.dataset) == (len(plain.train_y), (4, 4), plain.fingerprint)


def test_generated_images_have_none(tmp_path):
    with pytest.raises(ValueError, match=r"the training images of probes:mirror are generated anew .* choose a set of"):
        made(sets.load("probes:mirror"), tmp_path)
