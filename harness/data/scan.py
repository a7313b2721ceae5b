"""Which pictures lie below a folder of classes, by torchvision's rule: the first level names the class.

Deeper levels belong to it. Hidden files and folders are passed over. Each real folder and file is listed once,
whatever links lead to it, and one inside the tree under its own path alone.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from harness.data.picture import extensions

HIDDEN, LINKED, ODD = "hidden", "linked a second time", "neither file nor folder"
INTENDED = (HIDDEN, LINKED)  # skipping these loses no picture


@dataclass(frozen=True)
class Listing:
    """Files of pictures by class, relative to the folder, sorted; how many files were skipped, by kind."""

    pictures: dict[str, list[str]]
    skipped: Counter[str]

    @property
    def count(self) -> int:
        return sum(map(len, self.pictures.values()))


@dataclass
class Met:
    """What links lead to: the tree's real folders, and the real paths outside it that were listed already."""

    tree: tuple[str, ...]
    known: set[str] = field(default_factory=set)

    def again(self, real: str) -> bool:
        """Whether a real path was listed, is listed by its own path, or has the tree below it; remembers it."""
        below = any(part == real or part.startswith(os.path.join(real, "")) for part in self.tree)
        inside = any(real.startswith(os.path.join(part, "")) for part in self.tree)
        if below or inside or real in self.known:
            return True
        self.known.add(real)
        return False


def listing(top: Path, met: Met) -> Listing:
    """What lies in a folder of classes. Raises ValueError for pictures in no class and folders that cannot be read."""
    pictures, skipped = {}, Counter[str]()
    for entry in _entries(str(top)):
        if entry.name.startswith("."):
            skipped[HIDDEN] += 1
        elif not _is_folder(entry):
            if _ending(entry.name) in extensions():
                raise ValueError(
                    f"{entry.path} lies in no class; put it into a folder of {top} that is named after its class"
                )
            skipped[_kind(entry)] += 1
        else:
            start = len(str(top)) + 1
            pictures[entry.name] = sorted(path[start:] for path in _walk(entry, met, skipped))
    return Listing({name: pictures[name] for name in sorted(pictures, key=_natural)}, skipped)


def in_words(skipped: Counter[str]) -> str:
    """ "12 .txt, 3 hidden", the most frequent first; "" where nothing was skipped."""
    return ", ".join(f"{count:,} {kind}" for kind, count in skipped.most_common())


def _walk(folder: os.DirEntry[str], met: Met, skipped: Counter[str]) -> list[str]:
    """Paths of the pictures in a folder and below it."""
    found: list[str] = []
    waiting: list[tuple[os.DirEntry[str], str]] = [(folder, _outside(folder, ""))]
    while waiting:
        entry, outside = waiting.pop()
        if outside and os.path.exists(outside) and met.again(outside):
            skipped[LINKED] += 1
        elif _is_folder(entry):
            for below in _entries(entry.path):
                if below.name.startswith("."):
                    skipped[HIDDEN] += 1
                else:
                    waiting.append((below, _outside(below, outside)))
        elif _ending(entry.name) in extensions() and (_is_file(entry) or not os.path.exists(entry.path)):
            found.append(entry.path)  # a link to nothing, too: it is named where it is read
        else:
            skipped[_kind(entry)] += 1
    return found


def _outside(entry: os.DirEntry[str], folder: str) -> str:
    """The real path of what a link led to, `folder` that of the folder around it; "" where no link led out."""
    if entry.is_symlink():
        return os.path.realpath(entry.path)
    return os.path.join(folder, entry.name) if folder else ""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # a link may lead to itself


def _is_file(entry: os.DirEntry[str]) -> bool:
    return os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file()


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"the folder {folder} cannot be listed ({error.strerror}); make it readable") from error


def _ending(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return dot + ending.lower() if stem else ""


def _kind(entry: os.DirEntry[str]) -> str:
    if not _is_file(entry):
        return ODD
    return _ending(entry.name) or "without an ending"


def _natural(name: str) -> tuple[list[str | int], str]:
    """Orders class 2 before class 10, as timm does; the name itself decides between 01 and 1."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name.lower())], name
