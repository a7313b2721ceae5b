"""An ImageNet-style tree of pictures: read when asked for, each with its own label, what is wrong with it named."""

import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_dataset

from harness import data
from harness.data import examine
from tests.support.trees import HUES, right
from tests.support.trees import grow as grow_hues

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
        files = [set_.val_x.source.names[int(k)] for k in set_.val_x.index]
        assert not set(set_.val_x.index.tolist()) & set(set_.train_x.index.tolist())
        return files

    assert held(0) == held(0) != held(1)


def test_no_picture_is_opened_to_load_the_tree_again(tree, monkeypatch):
    monkeypatch.setattr(examine, "SETTLED_NS", 0)
    data.load(f"folder:{tree}")

    def refuse(*args, **kwargs):
        raise AssertionError("opened")

    monkeypatch.setattr(Image, "open", refuse)
    set_ = data.load(f"folder:{tree}")
    assert len(set_.fingerprint) == 10
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


def test_too_few_pictures_are_said(tmp_path, tree):
    with pytest.raises(ValueError, match="the classes n01_cat, n02_dog, n10_owl have a single training image"):
        data.load(f"folder:{grow(tmp_path / 'few', count=1)}")
    for file in sorted((tree / "train/n02_dog").iterdir())[1:]:
        file.unlink()
    with pytest.raises(ValueError, match=r"the class n02_dog has a single training image.*at least 2"):
        data.load(f"folder:{tree}")


def test_deeper_folders_belong_to_the_class_above_them(tmp_path):
    tree = grow_hues(tmp_path, below="images")
    shutil.copytree(tree / "train/cat/images", tree / "train/cat/2021")
    set_ = data.load(f"folder:{tree}")
    assert set_.classes == tuple(HUES)
    assert torch.bincount(torch.cat([set_.train_y, set_.val_y])).tolist() == [24, 12, 12]
    assert right(set_.test_x, set_.test_y) == 18
    assert right(set_.test_x, set_.test_y.roll(6)) == 0  # planted


def test_one_class_alone_is_refused(tmp_path):
    with pytest.raises(ValueError, match="all 12 training images are of one class; a classifier wants at least 2"):
        data.load(f"folder:{grow_hues(tmp_path, hues={'cat': HUES['cat']})}")


def test_all_formats_that_pillow_decodes_are_read(tmp_path):
    set_ = data.load(f"folder:{grow_hues(tmp_path, endings={'dog': 'BMP', 'owl': 'tif'})}")
    assert set_.classes == tuple(HUES)
    assert right(set_.test_x, set_.test_y) == 18
    half = grow_hues(tmp_path / "half", train=6)
    grow_hues(tmp_path / "half", endings=dict.fromkeys(HUES, "webp"), train=7, val=0)
    assert data.load(f"folder:{half}").facts.train == 3 * 13 - 3


def fingerprint(tree, **how):
    return data.load(f"folder:{tree}", **how).fingerprint


def test_the_fingerprint_is_of_the_content(tmp_path):
    one = fingerprint(grow_hues(tmp_path / "one/pets"))
    assert fingerprint(grow_hues(tmp_path / "two/pets", seed=1)) != one  # names and labels are the same
    moved = shutil.copytree(tmp_path / "one/pets", tmp_path / "elsewhere/animals")
    assert fingerprint(moved) == one
    file = moved / "val/owl/003.png"
    content = file.read_bytes()
    file.write_bytes(content[:-4] + bytes(4))  # the checksum of the last chunk, which no picture shows
    assert fingerprint(moved) != one
    file.write_bytes(content)
    (moved / "train/cat/.DS_Store").touch()
    assert fingerprint(moved) == one
    (moved / "val/dog/000.png").rename(moved / "val/cat/006.png")  # another label
    assert fingerprint(moved) != one


def test_renamed_files_in_the_same_order_are_the_same_set(tmp_path):
    tree = grow_hues(tmp_path)
    before = fingerprint(tree)
    for file in sorted((tree / "train/owl").iterdir()):
        file.rename(file.with_name(f"bird{file.name}"))
    assert fingerprint(tree) == before
    first, last = tree / "train/owl/bird000.png", tree / "train/owl/bird011.png"
    first.rename(tree / "aside")
    last.rename(first)
    (tree / "aside").rename(last)
    assert fingerprint(tree) != before  # the seeds would draw other pictures


def test_skipped_files_are_counted_and_refused_above_a_share(tmp_path):
    tree = grow_hues(tmp_path, train=100, val=20)
    for k in range(3):
        (tree / f"train/cat/{k}.heic").write_bytes(b"not read")
    (tree / "val/dog/.hidden.png").touch()
    assert data.load(f"folder:{tree}").facts.skipped == {".heic": 3, "hidden": 1}
    (tree / "val/dog/notes.txt").touch()
    with pytest.raises(
        ValueError, match=r"4 of 364 files in .* \(1.1 %\) .*\(3 .heic, .*1 .txt.*--allow-skipped 0.02$"
    ):
        data.load(f"folder:{tree}")
    assert data.load(f"folder:{tree}", allow_skipped=0.02).facts.skipped[".heic"] == 3
    with pytest.raises(ValueError, match="allow_skipped=2 is no share"):
        data.load(f"folder:{tree}", allow_skipped=2)


def test_a_class_of_files_that_are_not_read_is_named(tmp_path):
    tree = grow_hues(tmp_path)
    for part in ("train", "val"):
        for file in (tree / part / "dog").iterdir():
            file.rename(file.with_suffix(".heic"))
    with pytest.raises(ValueError, match=rf"{tree}/train/dog has no pictures \(skipped 18 .heic\); .*fill or delete"):
        data.load(f"folder:{tree}")


def greys(root, deep):
    random = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 2)):
        for name, low in (("bright", 48000), ("dark", 4000)):
            (root / part / name).mkdir(parents=True)
            for k in range(count):
                array = (low + random.integers(0, 8000, (8, 8))).astype(np.uint16)
                Image.fromarray(array if deep else (array >> 8).astype(np.uint8)).save(root / part / name / f"{k}.png")
    return root


def test_deep_greys_look_like_their_eight_bit_twins(tmp_path):
    deep, twin = (data.load(f"folder:{greys(tmp_path / str(deep), deep)}") for deep in (True, False))
    for k in range(4):
        difference = np.asarray(deep.test_x[k]).astype(int) - np.asarray(twin.test_x[k])
        assert abs(difference).max() <= 1
        assert deep.test_x[k].mode == "RGB"


def test_the_ground_of_transparent_pictures_is_a_setting_and_part_of_the_fingerprint(tmp_path):
    tree = grow_hues(tmp_path)
    Image.new("RGBA", (32, 32), (9, 9, 9, 0)).save(tree / "val/cat/000.png")
    white, black = data.load(f"folder:{tree}"), data.load(f"folder:{tree}", background="black")
    assert white.test_x[0].getpixel((0, 0)) == (255, 255, 255)
    assert black.test_x[0].getpixel((0, 0)) == (0, 0, 0)
    assert white.fingerprint != black.fingerprint
    assert white.fingerprint == fingerprint(tree, background="#ffffff")


def test_a_damaged_picture_is_named_before_any_work(tmp_path):
    tree = grow_hues(tmp_path)
    cut(tree / "val/cat/000.png")
    cut(tree / "train/cat/000.png")  # its header is whole: found when it is read
    with pytest.raises(
        ValueError, match=f"^{tree}/val/cat/000.png cannot be read as a picture .*; replace or delete it$"
    ):
        data.load(f"folder:{tree}")
    (tree / "val/cat/000.png").unlink()
    (tree / "train/owl/001.png").write_bytes(b"")
    with pytest.raises(ValueError, match=f"^{tree}/train/owl/001.png cannot be read as a picture"):
        data.load(f"folder:{tree}")


def test_links_back_into_the_tree_add_nothing(tmp_path):
    tree = grow_hues(tmp_path)
    before = fingerprint(tree)
    os.symlink("..", tree / "train/cat/up")
    set_ = data.load(f"folder:{tree}")
    assert (set_.facts.train + set_.facts.val, set_.fingerprint) == (36, before)
    assert set_.facts.skipped == {"linked a second time": 1}
    os.symlink("cat", tree / "train/tabby")
    with pytest.raises(ValueError, match=r"tabby has no pictures \(skipped 2 linked a second time\)"):
        data.load(f"folder:{tree}")


def test_a_test_folder_that_is_the_training_folder_is_refused(tmp_path):
    tree = grow_hues(tmp_path)
    shutil.rmtree(tree / "val")
    os.symlink("train", tree / "val")
    with pytest.raises(ValueError, match=r"/train and .*/val are one folder, or one lies in the other"):
        data.load(f"folder:{tree}")


def test_identical_pictures_on_both_sides_are_counted(tmp_path):
    tree = grow_hues(tmp_path)
    assert (data.load(f"folder:{tree}").facts.test_in_train, data.load(f"folder:{tree}").facts.val_in_train) == (0, 0)
    for k in range(3):
        shutil.copy(tree / f"train/cat/00{k}.png", tree / f"val/dog/copy{k}.png")  # under another label, too
    shutil.copytree(tree / "train/owl", tree / "train/owl/again")
    facts = data.load(f"folder:{tree}").facts
    assert facts.test_in_train == 3
    assert facts.val_in_train == 2
    assert "3 test images are in the training or validation split, too" in str(facts)
