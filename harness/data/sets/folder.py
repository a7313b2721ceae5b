"""`folder:PATH`: an ImageNet-style tree of pictures, PATH/train/CLASS/*.jpg and PATH/val/CLASS/*.jpg.

Deeper folders belong to the class that they lie in. All files are checked before any work, and the test pictures
decoded; later a picture is read when it is asked for. A part of train/, drawn by seed, is the validation split; val/ is
the test split.
"""

from __future__ import annotations

import os
from collections import Counter
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from harness.data.dataset import Dataset
from harness.data.examine import examined
from harness.data.picture import WHITE, Ground
from harness.data.reader import streamed
from harness.data.scan import INTENDED, Listing, Met, in_words, listing
from harness.data.sources import Files

TEST = ("val", "validation", "test")
ALLOWED = 0.01  # the share of files that may be skipped


def folder(path: str, data_dir: Path | None, seed: int, behind: Ground = WHITE, allowed: float = ALLOWED) -> Dataset:
    """The tree at a path, or at --data-dir where the path is empty.

    behind: the ground of transparent pictures. Raises ValueError where the tree is not there or has no pictures, where
    train/ and val/ differ in their classes, where more than the share `allowed` of all files is skipped, or where a
    file is no picture.
    """
    root = _root(path, data_dir)
    held = next(root / name for name in TEST if (root / name).is_dir())
    tree = os.path.realpath(root / "train"), os.path.realpath(held)
    if len({os.path.commonpath(tree), *tree}) < 3:
        raise ValueError(f"{root}/train and {held} are one folder, or one lies in the other; test on other pictures")
    met = Met(tree)
    train, test = listing(root / "train", met), listing(held, met)
    skipped = train.skipped + test.skipped
    _check_classes(root, held, train, test, skipped)
    _check_share(root, train.count + test.count, skipped, allowed)
    names = [[f"{part}/{file}" for files in found.pictures.values() for file in files]
             for part, found in (("train", train), (held.name, test))]  # fmt: skip
    digests = examined(root, [*names[0], *names[1]], decode=frozenset(names[1]))
    parts = [Files(str(root), tuple(part), b"".join(digests[name] for name in part)) for part in names]
    return streamed(
        f"folder:{root}", (parts[0], _labels(train)), (parts[1], _labels(test)), tuple(train.pictures), seed, behind,
        dict(skipped.most_common()),
    )  # fmt: skip


def _root(path: str, data_dir: Path | None) -> Path:
    """The folder that has train/ and val/ in it."""
    if path and data_dir is not None:
        raise ValueError(f"folder:{path} and --data-dir {data_dir} both say where the pictures are; give one of them")
    root = Path(path).expanduser() if path else data_dir
    if root is None:
        raise ValueError("folder is no dataset without a path; write folder:PATH, or name the path with --data-dir")
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}; --dataset folder:PATH wants one with train/ and val/ in it")
    if not (root / "train").is_dir():
        raise ValueError(f"there is no {root}/train; put the training pictures there, a folder for each class")
    if not any((root / name).is_dir() for name in TEST):
        raise ValueError(f"there is no {root}/val; put the test pictures there, a folder for each class of train/")
    return root


def _check_classes(root: Path, held: Path, train: Listing, test: Listing, skipped: Counter[str]) -> None:
    """Raises ValueError where a class has no pictures in one part or in both."""
    aside = f" (skipped {in_words(skipped)})" if skipped else ""
    for top, found in ((root / "train", train), (held, test)):
        if not found.count:
            raise ValueError(f"there are no pictures in {top}{aside}; put some there, a folder for each class")
    of_train, of_test = ({name for name, files in found.pictures.items() if files} for found in (train, test))
    if of_train != of_test:
        only = [f"only in {where}/: {', '.join(sorted(names)[:5])}" for where, names in
                (("train", of_train - of_test), (held.name, of_test - of_train)) if names]  # fmt: skip
        raise ValueError(
            f"the classes of {root}/train ({len(of_train)}) and {held} ({len(of_test)}) differ ({'; '.join(only)})"
            f"{aside}; both want the same folders, none without pictures"
        )
    empty = sorted(train.pictures.keys() - of_train)
    if empty or test.pictures.keys() - of_test:
        top, name = (root / "train", empty[0]) if empty else (held, min(test.pictures.keys() - of_test))
        raise ValueError(f"the folder {top / name} has no pictures{aside}; every folder is a class: fill or delete it")


def _check_share(root: Path, pictures: int, skipped: Counter[str], allowed: float) -> None:
    """Raises ValueError where too many files are no pictures; hidden ones and second links are none that are missed."""
    lost = sum(count for kind, count in skipped.items() if kind not in INTENDED)
    share = lost / (pictures + lost)
    if share > allowed:
        enough = ceil(100 * share) / 100
        raise ValueError(
            f"{lost:,} of {pictures + lost:,} files in {root} ({100 * share:.2g} %) are of no kind of picture that is "
            f"read ({in_words(skipped)}); convert or delete them, or allow it with --allow-skipped {enough}"
        )


def _labels(found: Listing) -> Tensor:
    """int64 [n]: the number of each picture's class."""
    counts = torch.tensor([len(files) for files in found.pictures.values()])
    return torch.arange(len(counts)).repeat_interleave(counts)
