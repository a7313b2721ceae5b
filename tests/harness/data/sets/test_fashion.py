"""Fashion-MNIST: real, whole, found in the order that is promised, checked, and missed in one sentence.

Wants Debian's package dataset-fashion-mnist (30 MB); without it a laptop skips these tests, and CI fails.
"""

import gzip
import os
import shutil
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from harness import data
from harness.data.sets import fashion

FILES = [f"{name}.gz" for name in fashion.MD5]


@pytest.fixture(scope="module")
def debian():
    missing = [name for name in FILES if not (fashion.DEBIAN / name).is_file()]
    if missing:
        why = f"{fashion.DEBIAN} lacks {', '.join(missing)}; run apt-get install dataset-fashion-mnist"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    return fashion.DEBIAN


@pytest.fixture(scope="module")
def loaded(debian):
    return data.load("fashion_mnist")


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No Debian package, an empty cache, no network. Returns the cache's folder."""

    def unreachable(*args, **kwargs):
        raise URLError("no network in this test")

    monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "none")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    return tmp_path / "cache/spatial-bias-bench"


def test_it_is_split_in_proportion_and_the_test_split_is_the_official_one(loaded):
    assert loaded.train_x.shape == (54_000, 1, 28, 28)
    assert loaded.train_x.dtype == torch.uint8
    assert torch.bincount(loaded.train_y).tolist() == [5400] * 10
    assert torch.bincount(loaded.val_y).tolist() == [600] * 10
    assert torch.bincount(loaded.test_y).tolist() == [1000] * 10
    assert loaded.test_y[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]  # as published
    assert loaded.classes[0] == "T-shirt/top"
    assert loaded.mean[0] == pytest.approx(0.2860, abs=1e-3)  # of all 60,000, as everybody has it
    assert loaded.std[0] == pytest.approx(0.3530, abs=1e-3)


def test_training_and_validation_are_the_60_000_and_the_seed_draws_them(loaded):
    other = data.load("fashion_mnist", seed=1)
    one, two = (torch.cat([x.flatten(1).sum(1) for x in (part.train_x, part.val_x)]) for part in (loaded, other))
    assert torch.equal(one.sort().values, two.sort().values)
    assert not torch.equal(loaded.val_x, other.val_x)
    assert torch.equal(loaded.test_x, other.test_x)


@pytest.mark.parametrize("layout", [".", fashion.RAW])
@pytest.mark.parametrize("packed", [True, False])
def test_the_data_dir_may_hold_the_files_packed_or_not_as_torchvision_lays_them_or_not(
    layout, packed, loaded, debian, nowhere, tmp_path
):
    folder = tmp_path / "mine" / layout
    folder.mkdir(parents=True)
    for name in FILES:
        if packed:
            (folder / name).symlink_to(debian / name)
        else:
            (folder / name[:-3]).write_bytes(gzip.decompress((debian / name).read_bytes()))
    assert fashion._found(tmp_path / "mine") == folder
    assert torch.equal(fashion._images(folder, "t10k"), loaded.test_x)


def test_the_folders_are_searched_in_order(debian, nowhere, monkeypatch, tmp_path):
    holding = []
    monkeypatch.setattr(fashion, "_contents", lambda folder, name: holding.append(folder) or bytes(16 + 784))
    order = [tmp_path / "mine", tmp_path / "mine" / fashion.RAW, tmp_path / "none", nowhere / fashion.RAW]
    for folder in reversed(order):
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).symlink_to(debian / name)
        fashion._images(fashion._found(tmp_path / "mine"), "t10k")
        assert holding[-1] == folder


def test_nowhere_to_be_had_is_one_sentence_with_three_ways_out(nowhere):
    with pytest.raises(ValueError, match=r"apt-get install dataset-fashion-mnist.*--data-dir.*network$") as raised:
        data.load("fashion_mnist")
    assert f"could not be downloaded into {nowhere}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_download_lands_in_the_cache_and_is_read_from_there(loaded, debian, nowhere, monkeypatch):
    import torchvision.datasets

    def download(root: Path, download: bool):
        shutil.copytree(debian, Path(root) / fashion.RAW)

    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "__init__", lambda self, *a, **k: download(*a, **k))
    assert torch.equal(data.load("fashion_mnist").test_x, loaded.test_x)
    assert (nowhere / fashion.RAW).is_dir()


def flipped(content):
    """One pixel of the packed file's contents is another."""
    whole = bytearray(gzip.decompress(content))
    whole[5000] ^= 1
    return gzip.compress(bytes(whole), compresslevel=0)


@pytest.mark.parametrize(
    ("damage", "said"),
    [(flipped, "is [0-9a-f]{32}"), (lambda c: c[:9000], "none .*ended"), (lambda c: b"<html>", "none .*gzip")],
    ids=["one pixel", "cut off", "a web page"],
)
def test_a_damaged_file_is_named_with_what_was_expected(damage, said, debian, nowhere, tmp_path):
    for name in FILES:
        (tmp_path / name).symlink_to(debian / name)
    broken = tmp_path / "t10k-images-idx3-ubyte.gz"
    content = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(damage(content))
    with pytest.raises(ValueError, match=f"{broken} is damaged.*{said}.*{fashion.MD5[broken.stem]}; delete the file"):
        data.load("fashion_mnist", tmp_path)
