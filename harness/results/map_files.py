"""Maps on disk: CELL.maps.npz, float16, less their neutral value. What the maps say is in harness/results/maps.py.

Trainings write such files and execute this module; they do not execute what is said of maps.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.floating]
Book = dict[tuple[int, str, int | None], NDArray[np.floating]]  # (layer, kind, epoch; None the end) -> map or gate

NEUTRAL = {"prior": 1.0, "bias": 0.0, "keys": 0.0, "position": 0.0, "kept": 1.0, "attention": 1.0}
# what numpy and zipfile raise for an .npz of which some bytes are wrong, wherever they lie
UNREADABLE = (ValueError, OSError, EOFError, KeyError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error)

ENTRY = re.compile(r"(\d+)\.([a-z]+)(?:@(\d+))?")
LARGEST = 6e4  # of float16


def packed(book: Mapping[tuple[int, str, int | None], Map]) -> bytes:
    """The maps of a model as an .npz: LAYER.KIND or LAYER.KIND@EPOCH, float16, less their neutral value.

    So what is next to neutral keeps its digits. The same maps give the same bytes.
    """
    arrays = {}
    for (layer, kind, epoch), one in book.items():
        departure = np.clip(one.astype(float) - NEUTRAL.get(kind, 0.0), -LARGEST, LARGEST)
        arrays[f"{layer}.{kind}" + ("" if epoch is None else f"@{epoch}")] = departure.astype(np.float16)
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def unpacked(path: Path) -> Book:
    """What `packed` wrote. Raises ValueError, naming the file, where it is not such a file."""
    book: Book = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                entry, found = ENTRY.fullmatch(name), arrays[name]
                if entry is None or found.dtype != np.float16 or found.ndim not in (1, 3) or not found.size:
                    raise ValueError(f"its entry {name} is no map")
                kind, epoch = entry[2], None if entry[3] is None else int(entry[3])
                book[int(entry[1]), kind, epoch] = found.astype(float) + NEUTRAL.get(kind, 0.0)
    except UNREADABLE as error:
        raise ValueError(f"the maps at {path} cannot be read: {error}; delete the file and its rows") from error
    return book
