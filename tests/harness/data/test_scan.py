"""Which files of a tree are pictures of which class; links, hidden files and what else lies between them."""

import os
import shutil
from collections import Counter

import pytest

from harness.data.scan import HIDDEN, LINKED, ODD, Met, in_words, listing


@pytest.fixture
def top(tmp_path):
    """A folder of two classes with two empty files each; what is in them is asked elsewhere."""
    return touched(tmp_path / "tree/train", "cat/1.jpg", "cat/2.png", "dog/1.jpg", "dog/2.jpg")


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def listed(top):
    return listing(top, Met((os.path.realpath(top),)))


def test_the_first_level_is_the_class_and_deeper_ones_belong_to_it(top):
    touched(top, "cat/images/3.jpg", "cat/2021/may/4.webp", "dog/2021/3.jpg")
    found = listed(top)
    assert found.pictures == {
        "cat": ["cat/1.jpg", "cat/2.png", "cat/2021/may/4.webp", "cat/images/3.jpg"],
        "dog": ["dog/1.jpg", "dog/2.jpg", "dog/2021/3.jpg"],
    }
    assert (found.count, found.skipped) == (7, Counter())


def test_classes_and_files_are_in_one_order_whatever_the_disk_says(top, monkeypatch):
    touched(top, "dog/10.jpg", "dog/01.jpg", "c10/a.jpg", "c9/a.jpg")
    right = listed(top)
    assert [*right.pictures] == ["c9", "c10", "cat", "dog"]
    assert right.pictures["dog"] == ["dog/01.jpg", "dog/1.jpg", "dog/10.jpg", "dog/2.jpg"]
    scandir = os.scandir

    class Backwards:
        def __init__(self, folder):
            with scandir(folder) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    assert listed(top).pictures == right.pictures


def test_what_is_hidden_or_of_another_kind_is_skipped_and_counted(top):
    touched(top, ".DS_Store", "cat/._1.jpg", "cat/.ipynb_checkpoints/1-checkpoint.jpg", "cat/a.TXT", "dog/b.txt",
            "dog/LICENSE", "labels.csv", "cat/data.h5")  # fmt: skip
    os.mkfifo(top / "cat/pipe.jpg")
    found = listed(top)
    assert found.count == 4
    assert found.skipped == {HIDDEN: 3, ".txt": 2, "without an ending": 1, ".csv": 1, ".h5": 1, ODD: 1}
    assert in_words(Counter({".txt": 2000, HIDDEN: 3})) == "2,000 .txt, 3 hidden"


@pytest.mark.parametrize("target", ["..", "../..", "../../..", ".", "../dog", "/"])
def test_a_link_that_leads_back_into_the_tree_is_not_followed(top, target):
    before = listed(top).pictures
    os.symlink(target, top / "cat/up")
    found = listed(top)
    assert found.pictures == before
    assert found.skipped == {LINKED: 1}


def test_a_link_to_other_folders_and_files_is_followed_once(top, tmp_path):
    pool = touched(tmp_path / "pool", "a/3.jpg", "a/4.jpg", "b/5.jpg")
    os.symlink(pool / "a", top / "cat/more")
    os.symlink(pool / "a", top / "cat/same")
    os.symlink(pool, top / "dog/all")  # a was listed; b is new
    os.symlink(pool / "b/5.jpg", top / "dog/one.jpg")
    os.symlink("1.jpg", top / "dog/twin.jpg")
    found = listed(top)
    files = {os.path.realpath(top / file) for files in found.pictures.values() for file in files}
    assert len(files) == found.count == 7
    assert {os.path.relpath(file, tmp_path) for file in files} >= {"pool/a/3.jpg", "pool/a/4.jpg", "pool/b/5.jpg"}
    assert found.skipped[LINKED] == 4


def test_a_tree_of_links_to_files_is_read(top, tmp_path):
    real = shutil.move(top, tmp_path / "pool")
    for name in ("cat/1.jpg", "dog/1.jpg", "dog/2.jpg"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(real / name, top / name)
    assert listed(top).pictures == {"cat": ["cat/1.jpg"], "dog": ["dog/1.jpg", "dog/2.jpg"]}


def test_links_to_nothing_and_to_themselves_end(top):
    os.symlink("nowhere", top / "cat/lost.jpg")
    os.symlink("round", top / "cat/round")
    os.symlink("round.jpg", top / "cat/round.jpg")
    found = listed(top)
    assert {"cat/lost.jpg", "cat/round.jpg"} < set(found.pictures["cat"])  # reading them names them
    assert found.skipped == {ODD: 1}


def test_pictures_in_no_class_and_closed_folders_are_said(top, monkeypatch):
    touched(top, "stray.bmp")
    with pytest.raises(ValueError, match=f"{top}/stray.bmp lies in no class"):
        listed(top)
    (top / "stray.bmp").unlink()

    def closed(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(ValueError, match=rf"the folder {top} cannot be listed \(Permission denied\); make it readable"):
        listed(top)
