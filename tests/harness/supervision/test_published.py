"""Maps of others: read by the names of pictures, checked before any training, converted once."""

import os
import pickle
from dataclasses import replace

import pytest
import torch

from harness import data as sets
from harness.data import label_maps
from harness.data.label_maps import About, Writer
from harness.supervision import published
from harness.supervision.published import imported
from tests.support.teachers import halves
from tests.support.trees import grow


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(label_maps, "SHARD", 7)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def tree(tmp_path):
    return grow(tmp_path / "tree", train=6, val=2)


def a_map(label, k):
    """float16 [2, 2, 1, 3]: the class and the number of its picture tell every value."""
    values = torch.arange(6).view(2, 1, 3) / 8 + k - 3 * label
    classes = torch.stack([torch.full((1, 3), label), torch.full((1, 3), (label + 1) % 3)])
    return torch.stack([values, classes]).half()


def published_for(tree, folder, name=lambda picture: picture.stem, legacy=False):
    """A map of each picture of train/."""
    for label, of_class in enumerate(sorted((tree / "train").iterdir())):
        for picture in of_class.rglob("*.*"):
            path = folder / picture.parent.relative_to(tree / "train") / f"{name(picture)}.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(a_map(label, int(picture.name[:3])), path, _use_new_zipfile_serialization=not legacy)
    return folder


def load(tree):
    return sets.load(f"folder:{tree}")


def each_has_its_own(dataset, maps):
    values, classes = maps[torch.arange(len(dataset.train_y))]
    assert (len(maps), maps.grid, maps.classes, maps.about.k) == (len(dataset.train_y), (1, 3), 3, 2)
    source = dataset.train_x.source
    for at, number in enumerate(dataset.train_x.index.tolist()):
        label, name = int(dataset.train_y[at]), os.path.basename(source.names[number])
        expected = a_map(label, int(name[:3]))
        assert torch.equal(values[at], expected[0])
        assert torch.equal(classes[at], expected[1].long())


@pytest.mark.parametrize("legacy", [False, True])
def test_each_picture_has_its_map(legacy, tree, tmp_path, capsys):
    folder = published_for(tree, tmp_path / "maps", legacy=legacy)
    each_has_its_own(load(tree), imported(folder, load(tree), tmp_path))
    assert capsys.readouterr().err.startswith("label maps by others are checked and converted once: 0.00 MB in")


def test_another_order_is_noticed(tree, tmp_path, monkeypatch):
    folder, names = published_for(tree, tmp_path / "maps"), published._names
    monkeypatch.setattr(published, "_names", lambda data: reversed([*names(data)]))
    with pytest.raises(AssertionError):
        each_has_its_own(load(tree), imported(folder, load(tree), tmp_path))


def test_deeper_folders_are_followed(tmp_path):
    tree = grow(tmp_path / "tree", below="some/more", train=6, val=2)
    each_has_its_own(load(tree), imported(published_for(tree, tmp_path / "maps"), load(tree), tmp_path))


def dotted(tmp_path):
    tree = grow(tmp_path / "tree", train=6, val=2)
    for picture in (tree / "train").rglob("*.png"):
        picture.rename(picture.with_name(f"{picture.stem}.of.mine.png"))
    return tree


def test_a_name_is_cut_at_its_last_dot_or_at_its_first(tmp_path):
    tree = dotted(tmp_path)
    whole = published_for(tree, tmp_path / "whole")
    assert (whole / "cat" / "000.of.mine.pt").exists()
    cut = published_for(tree, tmp_path / "cut", name=lambda picture: picture.name.split(".")[0])
    assert (cut / "cat" / "000.pt").exists()
    for folder in (whole, cut):
        each_has_its_own(load(tree), imported(folder, load(tree), tmp_path))
    with pytest.raises(ValueError, match=r"15 of 15 training pictures have no label map"):
        imported(published_for(tree, tmp_path / "other", name=lambda picture: picture.name), load(tree), tmp_path)


def test_a_map_of_two_pictures_is_refused(tree, tmp_path):
    for picture in (tree / "train" / "cat").iterdir():
        picture.rename(picture.with_name(f"000.{picture.stem}.png"))
    folder = published_for(tree, tmp_path / "maps", name=lambda picture: picture.name.split(".")[0])
    with pytest.raises(ValueError, match=r"cat/000\.pt would be the label map of both cat/000.*png and cat/000.*png;"):
        imported(folder, load(tree), tmp_path)


def test_they_are_converted_once_unless_a_file_changed(tree, tmp_path, monkeypatch):
    folder = published_for(tree, tmp_path / "maps")
    first = imported(folder, load(tree), tmp_path)
    convert = published._convert
    monkeypatch.setattr(published, "_convert", None)  # a call would raise
    again = imported(folder, load(tree), tmp_path)
    assert (again.folder, again.digest) == (first.folder, first.digest)
    for file in (folder / "dog").iterdir():
        torch.save(a_map(1, int(file.stem)) + torch.tensor([1, 0]).view(2, 1, 1, 1), file)
    monkeypatch.setattr(published, "_convert", convert)
    assert imported(folder, load(tree), tmp_path).digest != first.digest


def test_maps_that_are_missing_are_counted(tree, tmp_path):
    folder = published_for(tree, tmp_path / "maps")
    for file in (folder / "dog").iterdir():
        file.unlink()
    count = int((load(tree).train_y == 1).sum())
    sentence = rf"{count} of 15 training pictures have no label map in .*maps, the first of them dog/00\d\.png; put it"
    with pytest.raises(ValueError, match=sentence):
        imported(folder, load(tree), tmp_path)


class Code:
    """What a pickle would run."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pickled(path):
    path.write_bytes(pickle.dumps(Code()))


def tensors(change):
    return lambda path: torch.save(change(torch.load(path, weights_only=True)), path)


def legacy(path):
    torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-3])


BAD = {
    "cut off": (halved, "cannot be read as a label map .*; replace it"),
    "cut off, legacy": (legacy, "cannot be read as a label map .*; replace it"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read as a label map .*; replace it"),
    "text": (lambda path: path.write_text("a label map"), "cannot be read as a label map .*; replace it"),
    "code": (lambda path: torch.save(Code(), path), "is cut off or holds code, which is not run; replace it"),
    "code, legacy": (pickled, "is cut off or holds code, which is not run; replace it"),
    "a dict": (tensors(lambda found: {"map": found}), "holds a dict; a label map is one tensor"),
    "one half": (tensors(lambda found: found[0]), r"holds a tensor \[2, 1, 3\] of float16; a label map is"),
    "whole numbers": (tensors(lambda found: found.long()), r"holds a tensor \[2, 2, 1, 3\] of int64; a label map is"),
    "nothing": (tensors(lambda found: found[:, :, :0]), r"holds a tensor \[2, 2, 0, 3\] of float16; a label map is"),
    "another grid": (tensors(lambda found: found.mT.contiguous()), "all want the same grid"),
    "NaN": (tensors(lambda found: found * torch.tensor([torch.nan, 1.0]).view(2, 1, 1, 1).half()), "not finite"),
    "infinite classes": (tensors(lambda found: found / torch.tensor([1, 0]).view(2, 1, 1, 1)), "not finite"),
    "large values": (tensors(lambda found: found.float() * torch.tensor([1e6, 1]).view(2, 1, 1, 1)), "not finite in f"),
    "class 3": (tensors(lambda found: found + 1), r"names the classes \d to 3, and the dataset has 0 to 2; name"),
    "class -1": (tensors(lambda found: found - 3), r"names the classes -\d to \S+, and the dataset has 0 to 2; name"),
    "half a class": (tensors(lambda found: found / 2), "names classes that are no whole numbers; make it again"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_map_is_named(kind, tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, dataset = published_for(tree, tmp_path / "maps"), load(tree)
    number = int(dataset.train_x.index[9])
    path = folder / dataset.train_x.source.names[number].removeprefix("train/").replace(".png", ".pt")
    make, sentence = BAD[kind]
    make(path)
    with pytest.raises(ValueError, match=sentence) as error:
        imported(folder, dataset, tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_the_first_may_be_the_damaged_one(tree, tmp_path):
    folder = published_for(tree, tmp_path / "maps")
    for file in folder.rglob("*.pt"):
        halved(file)
    with pytest.raises(ValueError, match="cannot be read as a label map"):
        imported(folder, load(tree), tmp_path)


def test_more_classes_than_float16_tells_apart_are_refused(tmp_path):
    """2,049 numbers, 0 to 2,048, are exact; class 2,049 would be read as 2,048."""
    found = torch.tensor([1.0, 2049.0]).half().view(2, 1, 1, 1)
    assert int(found[1]) == 2048
    with pytest.raises(ValueError, match=r"as float16, which tells 2,049 apart, and the dataset has 2,050; make"):
        published._checked(found, "a.pt", 2050)
    assert int(published._checked(found, "a.pt", 2049)[1]) == 2048  # which cannot be class 2,049: there is none
    exact = torch.tensor([1.0, 2049.0]).view(2, 1, 1, 1)
    assert int(published._checked(exact, "a.pt", 2050)[1]) == 2049
    with pytest.raises(ValueError, match=r"as bfloat16, which tells 257 apart"):
        published._checked(exact.bfloat16(), "a.pt", 258)


def test_a_set_without_files_and_a_folder_that_is_none_are_refused(tmp_path):
    (tmp_path / "maps").mkdir()
    with pytest.raises(ValueError, match=r"halves has no files of pictures .*; choose a set such as folder:PATH"):
        imported(tmp_path / "maps", halves(), tmp_path)
    with pytest.raises(ValueError, match=r"there is no folder .* of label maps; name one, or a teacher"):
        imported(tmp_path / "nowhere", halves(), tmp_path)


def own(folder, of, **changes):
    about = About(len(of.train_y), 1, (1, 1), len(of.classes), "a test", of.fingerprint)
    writer = Writer(folder, replace(about, **changes))
    for part in writer.missing():
        writer.write(part, torch.zeros(len(part), 1, 1, 1), torch.zeros(len(part), 1, 1, 1).long())
    return writer.finish()


def test_this_projects_maps_are_opened_as_they_are(tmp_path):
    dataset = halves()
    maps = own(tmp_path / "a", dataset)
    assert imported(tmp_path / "a", dataset, tmp_path) == maps
    assert imported(tmp_path / "a", sets.canvas.placed(dataset, "translated"), tmp_path) == maps


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"pictures": 55}, "of 55 pictures, and halves trains with 54; name those of halves, or a teacher"),
    ({"classes": 3}, "of 3 classes, and halves trains with 2; name"),
    ({"dataset": "0123456789"}, "of a dataset with the fingerprint 0123456789, and that of halves is [0-9a-f]{10}; na"),
])  # fmt: skip
def test_maps_of_another_dataset_are_refused(changes, sentence, tmp_path):
    own(tmp_path / "a", halves(), **changes)
    with pytest.raises(ValueError, match=sentence):
        imported(tmp_path / "a", halves(), tmp_path)
