"""`folder:PATH`: an ImageNet-style tree of pictures, PATH/train/CLASS/*.jpg and PATH/val/CLASS/*.jpg.

timm lists the files; a picture is read when it is asked for. A part of train/, drawn by seed, is the validation
split; val/ is the test split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.data.dataset import Dataset
from harness.data.download import in_one_line
from harness.data.reader import classes, streamed

TEST = ("val", "validation", "test")


def folder(path: str, data_dir: Path | None, seed: int) -> Dataset:
    """The tree at a path, or at --data-dir where the path is empty.

    Raises ValueError where the tree is not there, has no pictures, or train/ and val/ differ in their classes.
    """
    if path and data_dir is not None:
        raise ValueError(f"folder:{path} and --data-dir {data_dir} both say where the pictures are; give one of them")
    root = Path(path).expanduser() if path else data_dir
    if root is None:
        raise ValueError("folder is no dataset without a path; write folder:PATH, or name the path with --data-dir")
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}; --dataset folder:PATH wants one with train/ and val/ in it")
    if not (root / "train").is_dir():
        raise ValueError(f"there is no {root}/train; put the training pictures there, a folder for each class")
    held = next((root / name for name in TEST if (root / name).is_dir()), None)
    if held is None:
        raise ValueError(f"there is no {root}/val; put the test pictures there, a folder for each class of train/")
    train, test = _listed(root / "train"), _listed(held)
    of_train, of_test = (set(part.reader.class_to_idx) for part in (train, test))
    if of_train != of_test:
        only = [f"only in {where}/: {', '.join(sorted(names)[:5])}" for where, names in
                (("train", of_train - of_test), (held.name, of_test - of_train)) if names]  # fmt: skip
        raise ValueError(
            f"the classes of {root}/train ({len(of_train)}) and {held} ({len(of_test)}) differ ({'; '.join(only)}); "
            f"both want the same folders, none without pictures"
        )
    return streamed(f"folder:{root}", train, test, classes(train, len(of_train)), seed)


def _listed(root: Path) -> Any:
    """timm's dataset of a folder of classes."""
    from timm.data import create_dataset

    try:
        source = create_dataset("", root=str(root), search_split=False)
    except RuntimeError as error:
        raise ValueError(f"there are no pictures in {root} ({in_one_line(error)})") from error
    if "" in source.reader.class_to_idx:  # pictures beside the folders
        stray = next(path for path, _ in source.reader.samples if Path(path).parent == root)
        raise ValueError(f"{stray} lies in no class; put it into a folder of {root} that is named after its class")
    return source
