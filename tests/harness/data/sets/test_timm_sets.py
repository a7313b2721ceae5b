"""Sets that timm opens: small fakes of CIFAR in torchvision's own layout, readers in memory, and the sentences."""

import hashlib
import io
import pickle
import urllib.request
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import timm.data
import torch
import torchvision.datasets
from PIL import Image
from timm.data import ImageDataset

from harness import data

NAMES = [f"class {k}" for k in range(10)]


def shade(label, side, mode="RGB"):
    """A picture that tells its label: red in steps of 20."""
    return Image.new("RGB", (side, side), (20 * label, 7, 9)).convert(mode)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """CIFAR-10 in torchvision's layout: 4 training images of a class and 1 test image, each of its label's shade."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch(labels):
        pixels = np.stack([np.asarray(shade(label, 32)).transpose(2, 0, 1).reshape(-1) for label in labels])
        return {"data": pixels, "labels": labels}

    kind = torchvision.datasets.CIFAR10
    of_train = [[f"data_batch_{k}", write(f"data_batch_{k}", batch([*range(10)] * 2))] for k in (1, 2)]
    monkeypatch.setattr(kind, "train_list", of_train)
    monkeypatch.setattr(kind, "test_list", [["test_batch", write("test_batch", batch([*range(10)]))]])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": write("batches.meta", {"label_names": NAMES})})
    return tmp_path


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Pile:
    """A reader of timm's kind: packed pictures and their labels, which can be had without the pictures."""

    def __init__(self, labels, side, mode="RGB", odd=None):
        self.labels = labels
        self.packed = [packed(shade(label, side + (k == odd), mode)) for k, label in enumerate(labels)]
        self.class_to_idx = {name: k for k, name in enumerate(NAMES)}
        self.read = 0

    def __getitem__(self, index):
        self.read += 1
        return io.BytesIO(self.packed[index]), self.labels[index]

    def __len__(self):
        return len(self.labels)

    def filename(self, index, basename=False, absolute=False):
        return f"pile/{index}.png"

    def iter_targets(self):
        yield from self.labels


def packed(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def hub(monkeypatch):
    """Makes timm.data.create_dataset answer with readers by split; ValueError for others, as Hugging Face has it."""

    def serve(**readers):
        def create(name, root=None, split="train", **kwargs):
            if split not in readers:
                raise ValueError(f"Unknown split {split!r}. Should be one of {list(readers)}.")
            return ImageDataset(root, reader=readers[split])

        monkeypatch.setattr(timm.data, "create_dataset", create)

    return serve


def mislabelled(images, labels):
    """How many images do not have the shade of their label."""
    shades = [np.asarray(image)[0, 0, 0] if isinstance(image, Image.Image) else int(image[0, 0, 0]) for image in images]
    return sum(shade != 20 * label for shade, label in zip(shades, labels.tolist(), strict=True))


@pytest.mark.parametrize("name", ["cifar10", "torch/cifar10"])
def test_cifar_comes_into_memory_with_its_labels(name, cifar):
    set_ = data.load(name, cifar)
    assert set_.name == "cifar10"
    assert set_.classes == tuple(NAMES)
    assert set_.train_x.shape == (30, 3, 32, 32)
    assert set_.train_x.dtype == torch.uint8
    assert len(set_.val_y) == len(set_.test_y) == 10
    for images, labels in ((set_.train_x, set_.train_y), (set_.val_x, set_.val_y), (set_.test_x, set_.test_y)):
        assert mislabelled(images, labels) == 0
    assert mislabelled(set_.train_x, set_.train_y.roll(1)) > 0  # planted: each has the label of its neighbour
    assert set_.mean[1] == pytest.approx(7 / 255)
    assert not torch.equal(set_.train_y, data.load(name, cifar, seed=1).train_y)


def test_a_damaged_cifar_without_a_network_is_one_sentence(cifar, offline):
    (cifar / "cifar-10-batches-py/data_batch_2").write_bytes(b"cut off")
    with pytest.raises(
        ValueError, match=f"torch/cifar10 is not whole in {cifar} and could not be downloaded.*network$"
    ):
        data.load("cifar10", cifar)


def test_a_missing_cifar_without_a_network_is_one_sentence(offline, tmp_path):
    with pytest.raises(
        ValueError, match=r"cifar100 is not whole in .*cache.*no network in this test.*--data-dir"
    ) as said:
        data.load("cifar100")
    assert "\n" not in str(said.value)


def test_large_sets_are_never_downloaded(offline, tmp_path):
    with pytest.raises(ValueError, match=f"torch/places365 could not be opened in {tmp_path} .*; put the files"):
        data.load("torch/places365", tmp_path)


def test_hugging_face_sets_of_small_images_come_into_memory(hub):
    hub(train=Pile([*range(10)] * 4, 32), test=Pile([*range(10)], 32))
    set_ = data.load("hfds/someone/small")
    assert not set_.streamed
    assert set_.train_x.shape == (30, 3, 32, 32)
    assert mislabelled(set_.test_x, set_.test_y) == 0


def test_grey_images_keep_one_channel(hub):
    hub(train=Pile([0, 1] * 4, 28, "L"), validation=Pile([0, 1], 28, "L"))
    assert data.load("hfds/mnist").train_x.shape[1:] == (1, 28, 28)


@pytest.mark.parametrize("train", [Pile([0, 1] * 4, 65), Pile([0, 1] * 4, 32, odd=5)], ids=["large", "of two sizes"])
def test_others_stay_where_they_are(train, hub):
    hub(train=train, validation=Pile([0, 1], 32), test=Pile([1], 32))
    set_ = data.load("hfds/someone/large")
    assert set_.streamed
    assert len(set_.test_y) == 2  # validation comes before test
    assert mislabelled(set_.train_x, set_.train_y) == mislabelled(set_.val_x, set_.val_y) == 0
    assert mislabelled(set_.train_x, 1 - set_.train_y) == len(set_.train_y)
    assert set_.mean == timm.data.IMAGENET_DEFAULT_MEAN


def test_large_pictures_are_read_once_and_not_for_their_labels(hub):
    train, test = Pile([0, 1] * 50, 80), Pile([0, 1], 80)
    hub(train=train, test=test)
    data.load("hfds/someone/large")
    assert train.read == 101  # the pass over all, and the first again, to see how large they are
    train.dataset, test.dataset = SimpleNamespace(_fingerprint="a1"), SimpleNamespace(_fingerprint="b2")
    first = data.load("hfds/someone/large")
    train.read = 0
    assert data.load("hfds/someone/large").fingerprint == first.fingerprint
    assert train.read == 1


@pytest.mark.parametrize("name", ["wds/pile", "tfds/cifar10", "hfids/cifar10"])
def test_sets_without_random_access_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} can only be read from beginning to end.*folder:PATH"):
        data.load(name)


def test_unknown_families_and_sets_are_sentences(hub):
    with pytest.raises(ValueError, match="no family 'tfdsx' of sets; choose torch/NAME"):
        data.load("tfdsx/cifar10")
    with pytest.raises(ValueError, match="torch/cifar11: Unknown torchvision dataset cifar11; choose"):
        data.load("torch/cifar11")
    hub(train=Pile([0, 1] * 4, 32))
    with pytest.raises(ValueError, match=r"hfds/x could not be opened .*Unknown split 'test'.*columns image and label"):
        data.load("hfds/x")


def test_a_missing_package_is_named(monkeypatch):
    def create(name, **kwargs):
        raise ImportError("No module named 'datasets'")

    monkeypatch.setattr(timm.data, "create_dataset", create)
    with pytest.raises(ValueError, match=r"hfds/mnist wants a package .*; run pip install datasets"):
        data.load("hfds/mnist")


@pytest.mark.parametrize(
    ("labels", "said"),
    [(["cat", "dog"], "a label such as 'cat' is no number of a class"), ([0, 10], "labels that none of the 10")],
)
def test_labels_that_are_no_classes_are_refused(labels, said, hub):
    test = Pile([0, 0], 32)
    test.labels = labels
    hub(train=Pile([*range(10)] * 2, 32), test=test)
    with pytest.raises(ValueError, match=said):
        data.load("hfds/x")


def test_the_fingerprint_of_cifar_is_the_recorded_one(cifar):
    assert data.load("cifar10", cifar).fingerprint == "7680518ecb"


def test_a_grey_first_picture_does_not_take_the_colours_of_the_others(hub):
    train, test = Pile([0, 1] * 4, 32), Pile([0, 1], 32)
    for pile in (train, test):
        pile.packed[0] = packed(Image.new("L", (32, 32), 0))
    hub(train=train, test=test)
    set_ = data.load("hfds/someone/mixed")
    assert set_.train_x.shape[1:] == (3, 32, 32)
    assert mislabelled(set_.test_x, set_.test_y) == 0
    hub(train=train, test=Pile([0, 1], 32, "L"))
    assert data.load("hfds/someone/mixed").test_x.shape == (2, 3, 32, 32)  # all grey, and as many channels


def test_deep_greys_and_transparency_are_shown_as_in_folders(hub):
    deep, clear = Pile([0, 1] * 4, 32), Pile([0, 1] * 4, 32)
    deep.packed = [packed(Image.fromarray(np.full((32, 32), 257 * 99, np.uint16)))] * 8
    clear.packed = [packed(Image.new("RGBA", (32, 32), (9, 9, 9, 0)))] * 8
    hub(train=deep, test=deep)
    assert data.load("hfds/x").test_x.unique().tolist() == [99]
    hub(train=clear, test=clear)
    assert data.load("hfds/x").test_x.unique().tolist() == [255]
    assert data.load("hfds/x", background="#010101").test_x.unique().tolist() == [1]


@pytest.mark.parametrize("side", [32, 80], ids=["in memory", "streamed"])
def test_the_same_labels_with_other_pictures_are_another_set(side, hub):
    train, test, other = Pile([0, 1] * 4, side), Pile([0, 1], side), Pile([0, 1], side)
    hub(train=train, test=test)
    first = data.load("hfds/x")
    assert first.fingerprint == data.load("hfds/x").fingerprint
    other.packed[1] = train.packed[0]
    hub(train=train, test=other)
    second = data.load("hfds/x")
    assert second.streamed == (side == 80)
    assert second.fingerprint != first.fingerprint


@pytest.fixture
def flowers(tmp_path):
    """torchvision's ImageFolder: streamed, since its pictures are large; each is stored on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for part in ("train", "val"):
        for label, name in enumerate(("rose", "tulip")):
            (tmp_path / part / name).mkdir(parents=True)
            for k in range(4):
                shown = Image.new("RGB", (90, 80 + k), (20 * label, 7, k))
                shown.save(tmp_path / part / name / f"{k}.png", exif=exif)
    return tmp_path


def test_files_of_torchvisions_sets_are_turned_checked_and_known_by_their_bytes(flowers):
    set_ = data.load("torch/image_folder", flowers)
    assert set_.streamed
    assert set_.classes == ("rose", "tulip")
    assert mislabelled(set_.test_x, set_.test_y) == 0
    assert set_.test_x[1].size == (81, 90)
    assert set_.facts.test_in_train == 8
    file = flowers / "val/rose/1.png"
    Image.new("RGB", (90, 81)).save(file)
    assert data.load("torch/image_folder", flowers).fingerprint != set_.fingerprint
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(ValueError, match=f"^{file} cannot be read as a picture .*; replace or delete it$"):
        data.load("torch/image_folder", flowers)


def test_a_damaged_record_is_named(hub):
    test = Pile([0, 1], 80)
    test.packed[1] = test.packed[1][:60]
    hub(train=Pile([0, 1] * 4, 80), test=test)
    with pytest.raises(ValueError, match=r"^pile/1\.png cannot be read as a picture .*; replace or delete it$"):
        data.load("hfds/x")
