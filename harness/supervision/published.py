"""Label maps that others made, as the authors of token labelling publish theirs: a torch file a picture.

    DIR/CLASS/PICTURE.pt    of train/CLASS/PICTURE.jpg: one tensor [2, k, h, w], logits and the numbers of their classes

The ending goes: `a.b.jpg` has the map `a.b.pt`, or `a.pt`, since the authors' code cuts a name at its first dot. All
maps are read and checked before any training, without running code that a file may hold, and are kept in the cache.

Both halves of a tensor are float16, which cannot tell whole numbers above 2,048 apart: class 2,049 becomes 2,048. So
maps are refused where the dataset has more classes than their numbers can tell apart. ImageNet's 1,000 fit;
ImageNet-21k's would be scrambled.

Source: generate_label.py of LV-ViT, arXiv 2104.10858; SP-ViT, arXiv 2206.07662, trains by token labelling, too. Those
maps are of a centre crop, and they are read as those of the whole picture.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harness.data import Dataset
from harness.data.download import in_one_line
from harness.data.label_maps import ABOUT, FORMAT, About, LabelMaps, Writer, open_maps
from harness.data.sources import Files, Read

ENDING = ".pt"


@dataclass(frozen=True, slots=True)
class Found:
    """The map's file of a picture, its size in bytes and when it changed, in ns."""

    path: str
    size: int
    changed: int


def imported(folder: Path, data: Dataset, cache: Path) -> LabelMaps:
    """The label maps in a folder, of all training pictures in the order of data.train_y.

    It has either this project's maps, or a torch file a picture, which are converted into the cache once. Raises
    ValueError where a map is missing, damaged or does not fit the others or the dataset.
    """
    data = data if data.placed is None else data.placed.originals
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder} of label maps; name one, or a teacher that makes them")
    if (folder / ABOUT).is_file():
        return _fitting(open_maps(folder), data)
    files = _files(folder, _names(data))
    classes = len(data.classes)
    first, _ = _read(files[0].path, classes)
    k, *grid = first.shape
    about = About(len(files), k, (grid[0], grid[1]), classes, "others", data.fingerprint)
    key = hashlib.sha256(repr((FORMAT, os.path.realpath(folder), data.fingerprint)).encode())
    for file in files:
        key.update(f"{file.path[len(str(folder)) :]} {file.size} {file.changed}\n".encode())
    writer = Writer(cache / "label_maps" / f"imported-{key.hexdigest()[:10]}", about)
    missing = writer.missing()
    if missing:
        _convert(writer, missing, files)
    return writer.finish()


def _fitting(maps: LabelMaps, data: Dataset) -> LabelMaps:
    """The maps. Raises ValueError where they are another dataset's."""
    own = {"pictures": len(data.train_y), "classes": len(data.classes), "dataset": data.fingerprint}
    for what, value in own.items():
        found = getattr(maps.about, what)
        if found != value:
            words = {"dataset": f"of a dataset with the fingerprint {found}, and that of {data.name} is {value}"}
            differs = words.get(what, f"of {found} {what}, and {data.name} trains with {value}")
            raise ValueError(f"the label maps in {maps.folder} are {differs}; name those of {data.name}, or a teacher "
                             f"that makes them")  # fmt: skip
    return maps


def _names(data: Dataset) -> Iterator[str]:
    """CLASS/PICTURE.jpg of the training pictures. Raises ValueError for a set that is no tree of files."""
    pictures = data.train_x
    if not isinstance(pictures, Read) or not isinstance(pictures.source, Files):
        raise ValueError(f"{data.name} has no files of pictures that files of label maps could be named after; choose "
                         f"a set such as folder:PATH, or a teacher that makes the maps")  # fmt: skip
    top = "train/" if data.name.startswith("folder:") else ""
    names = pictures.source.names
    return (names[number].removeprefix(top) for number in pictures.index.tolist())


def _files(folder: Path, names: Iterator[str]) -> list[Found]:
    """The file of each picture's map. Raises ValueError where one has none, or two have the same."""
    files, lacking, whose = [], [], dict[str, str]()
    for name in names:
        at, picture = os.path.split(name)
        for stem in (picture.rpartition(".")[0], picture.partition(".")[0]):
            path = os.path.join(folder, at, stem + ENDING)
            try:
                there = os.stat(path)
            except OSError:
                continue
            if path in whose:
                raise ValueError(f"{path} would be the label map of both {whose[path]} and {name}; rename one of the "
                                 f"pictures, and give it a map of its own")  # fmt: skip
            whose[path] = name
            files.append(Found(path, there.st_size, there.st_mtime_ns))
            break
        else:
            lacking.append(name)
    if lacking:
        wanted = os.path.join(folder, os.path.splitext(lacking[0])[0] + ENDING)
        raise ValueError(f"{len(lacking):,} of {len(files) + len(lacking):,} training pictures have no label map in "
                         f"{folder}, the first of them {lacking[0]}; put it at {wanted}")  # fmt: skip
    return files


def _convert(writer: Writer, missing: Sequence[range], files: Sequence[Found]) -> None:
    from tqdm import tqdm

    about, quiet = writer.about, os.environ.get("RANK", "0") != "0"
    if not quiet:
        print(f"label maps by {about.made_by} are checked and converted once: {about.bytes / 1e6:,.2f} MB in "
              f"{writer.folder}", file=sys.stderr)  # fmt: skip
    wanted = (about.k, *about.grid)
    with tqdm(total=sum(map(len, missing)), unit=" maps", desc="checking label maps", delay=2, disable=quiet) as bar:
        for part in missing:
            found = []
            for number in part:
                values, indices = _read(files[number].path, about.classes)
                if tuple(values.shape) != wanted:
                    raise ValueError(f"{files[number].path} has a map of {list(values.shape)}, and {files[0].path} one "
                                     f"of {list(wanted)}; all want the same grid: make it again")  # fmt: skip
                found.append((values, indices))
                bar.update()
            values, indices = (torch.stack(tensors) for tensors in zip(*found, strict=True))
            writer.write(part, values, indices)


def _read(path: str, classes: int) -> tuple[Tensor, Tensor]:
    """Values float16 and classes int64 [k, h, w] of a file. Raises ValueError where it is no map of so many classes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickles of other protocols, which are refused
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} cannot be read as a label map, since it is cut off or holds code, which is not run; "
                         f"replace it by a file that holds one tensor") from error  # fmt: skip
    except (OSError, EOFError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        why = in_one_line(error).partition(". ")[0]
        raise ValueError(f"{path} cannot be read as a label map ({why}); replace it") from error
    if not isinstance(found, Tensor):
        raise ValueError(f"{path} holds a {type(found).__name__}; a label map is one tensor [2, k, h, w]")
    return _checked(found, path, classes)


def _checked(found: Tensor, path: str, classes: int) -> tuple[Tensor, Tensor]:
    """Values float16 and classes int64 [k, h, w] of a file's tensor; raises as _read does."""
    kind = str(found.dtype).removeprefix("torch.")
    if found.ndim != 4 or len(found) != 2 or not found.is_floating_point() or not found.numel():
        raise ValueError(f"{path} holds a tensor {list(found.shape)} of {kind}; a label map is [2, k, h, w] in float16")
    values, numbers = found[0].half(), found[1]
    told_apart = int(2 / torch.finfo(found.dtype).eps) + 1
    if classes > told_apart:
        raise ValueError(f"{path} keeps the numbers of classes as {kind}, which tells {told_apart:,} apart, and the "
                         f"dataset has {classes:,}; make the maps by a teacher")  # fmt: skip
    if not numbers.isfinite().all() or not values.isfinite().all():
        raise ValueError(f"{path} has numbers that are not finite in float16; make it again")
    if not 0 <= float(numbers.min()) <= float(numbers.max()) < classes:
        raise ValueError(f"{path} names the classes {float(numbers.min()):g} to {float(numbers.max()):g}, and the "
                         f"dataset has 0 to {classes - 1}; name the maps of this dataset")  # fmt: skip
    if (numbers != numbers.round()).any():
        raise ValueError(f"{path} names classes that are no whole numbers; make it again")
    return values, numbers.long()
