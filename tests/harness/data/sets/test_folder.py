"""An ImageNet-style tree of pictures: read when asked for, each with its own label, what is wrong with it named."""

import pickle
import shutil

import pytest
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_dataset

from harness import data

SHADES = {"n01_cat": 40, "n02_dog": 120, "n10_owl": 200}


def grow(root, count=12, held=2, test="val"):
    """A tree with `count` training pictures of a class and `held` for the test, of the shade of their class."""
    for part, many in (("train", count), (test, held)):
        for name, shade in SHADES.items():
            (root / part / name).mkdir(parents=True)
            for k in range(many):
                mode, ink = ("L", shade) if k % 2 else ("RGB", (shade,) * 3)  # grey files are usual in ImageNet
                Image.new(mode, (30 + k, 20), ink).save(root / part / name / f"{k}.jpg")
    return root


@pytest.fixture
def tree(tmp_path):
    return grow(tmp_path / "tree")


def mislabelled(pictures, labels):
    """How many pictures do not have the shade of their label."""
    shades = [*SHADES.values()]
    return sum(abs(pictures[k].getpixel((5, 5))[0] - shades[label]) > 5 for k, label in enumerate(labels.tolist()))


def test_the_splits_are_read_when_asked_for_and_have_their_labels(tree):
    set_ = data.load(f"folder:{tree}")
    assert set_.streamed
    assert set_.classes == tuple(SHADES)
    assert (len(set_.train_y), len(set_.val_y), len(set_.test_y)) == (33, 3, 6)
    assert sorted(set_.val_y.tolist()) == [0, 1, 2]
    for pictures, labels in ((set_.train_x, set_.train_y), (set_.val_x, set_.val_y), (set_.test_x, set_.test_y)):
        assert len(pictures) == len(labels)
        assert labels.dtype == torch.int64
        assert mislabelled(pictures, labels) == 0
        assert all(pictures[k].mode == "RGB" for k in range(len(pictures)))
    assert mislabelled(set_.test_x, set_.test_y.roll(1)) > 0  # planted
    assert (set_.mean, set_.std) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def test_the_seed_draws_which_part_of_train_is_held_out(tree):
    def held(seed):
        set_ = data.load("folder", tree, seed)
        files = [set_.val_x.source.filename(int(k)) for k in set_.val_x.index]
        assert not set(set_.val_x.index.tolist()) & set(set_.train_x.index.tolist())
        return files

    assert held(0) == held(0) != held(1)


def test_no_picture_is_opened_to_load_the_tree(tree, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("opened")

    monkeypatch.setattr(Image, "open", refuse)
    set_ = data.load(f"folder:{tree}")
    with pytest.raises(AssertionError, match="opened"):  # and this is where one would be
        set_.train_x[0]


def test_pictures_go_to_other_processes(tree):
    pictures = data.load(f"folder:{tree}").train_x
    again = pickle.loads(pickle.dumps(pictures))
    assert again[3].tobytes() == pictures[3].tobytes()


@pytest.mark.parametrize("test", ["validation", "test"])
def test_the_test_folder_has_other_names(test, tmp_path):
    assert len(data.load(f"folder:{grow(tmp_path, 2, 1, test)}").test_y) == 3


def cut(path):
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    "damage",
    [cut, lambda path: path.write_text("<html>"), lambda path: path.unlink()],
    ids=["cut", "no picture", "gone"],
)
def test_a_picture_that_cannot_be_read_is_named_and_not_passed_over(damage, tree):
    set_ = data.load(f"folder:{tree}")
    bad = tree / "val/n01_cat/1.jpg"
    damage(bad)
    with pytest.raises(ValueError, match=f"{bad} cannot be read as a picture .*; replace or delete it"):
        set_.test_x[1]
    assert set_.test_x[0].size == (30, 20)
    passed_over, label = create_dataset("", root=str(tree / "val"))[1]  # timm's own way, which this is instead of
    assert passed_over.getpixel((5, 5))[0] > 100
    assert label == 1


def test_what_is_missing_is_said(tree, tmp_path):
    with pytest.raises(ValueError, match="without a path; write folder:PATH"):
        data.load("folder")
    with pytest.raises(ValueError, match=f"no folder {tmp_path}/none"):
        data.load(f"folder:{tmp_path}/none")
    shutil.move(tree / "val", tree / "valid8")
    with pytest.raises(ValueError, match=f"no {tree}/val; put the test pictures there"):
        data.load(f"folder:{tree}")
    shutil.move(tree / "train", tree / "val")
    with pytest.raises(ValueError, match=f"no {tree}/train; put the training pictures there"):
        data.load(f"folder:{tree}")


def test_classes_that_differ_are_named(tree):
    shutil.rmtree(tree / "val/n02_dog")
    shutil.move(tree / "val/n10_owl", tree / "val/n11_elk")
    with pytest.raises(ValueError, match=r"differ \(only in train/: n02_dog, n10_owl; only in val/: n11_elk\)"):
        data.load(f"folder:{tree}")


def test_a_class_without_pictures_is_a_class_that_differs(tree):
    for file in (tree / "val/n02_dog").iterdir():
        file.rename(file.with_suffix(".txt"))
    with pytest.raises(ValueError, match=r"differ \(only in train/: n02_dog\).*none without pictures"):
        data.load(f"folder:{tree}")


def test_no_pictures_and_pictures_in_no_class_are_said(tree):
    shutil.copy(tree / "train/n01_cat/0.jpg", tree / "train/stray.jpg")
    with pytest.raises(ValueError, match=f"{tree}/train/stray.jpg lies in no class"):
        data.load(f"folder:{tree}")
    shutil.rmtree(tree / "train")
    (tree / "train/n01_cat").mkdir(parents=True)
    with pytest.raises(ValueError, match=f"there are no pictures in {tree}/train"):
        data.load(f"folder:{tree}")


def test_too_few_pictures_are_said(tmp_path):
    with pytest.raises(ValueError, match="a single training image"):
        data.load(f"folder:{grow(tmp_path, count=1)}")
