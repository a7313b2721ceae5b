"""One pass over the files of a set before any work: each is a picture, and this is the digest of its bytes.

What was found is kept in the user's cache, keyed by each file's path, size and times, so that another start reads no
file that did not change. A cache that is damaged, or was written with another Pillow, is ignored.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import PIL

from harness.data import download
from harness.data.picture import DAMAGE, check, damage
from harness.results.store import write_bytes

THREADS = 8  # they wait for the disk, and decode, at once
CHUNK = 256  # files that a thread takes at a time
SETTLED_NS = 2 * 10**9  # a file may change without a trace within its file system's tick
NAMED = 5  # of the damaged files


class Seen(NamedTuple):
    """A picture's file: its size, its times of change in ns, the digest of its bytes, whether it was decoded."""

    size: int
    mtime: int
    ctime: int
    digest: str
    decoded: bool


def examined(root: Path, names: Sequence[str], decode: frozenset[str] = frozenset()) -> dict[str, bytes]:
    """The digest of each file, 16 bytes; names are relative to the root, those in `decode` are decoded.

    Raises ValueError that names the files that are no pictures.
    """
    from tqdm import tqdm

    cache = _path(root)
    known = _load(cache)
    found: dict[str, Seen] = {}
    damaged: list[str] = []
    now, top = time.time_ns(), str(root)

    def look(part: Sequence[str]) -> list[tuple[str, Seen | str]]:
        return [(name, _seen(f"{top}/{name}", name in decode, known.get(name))) for name in part]

    quiet = os.environ.get("RANK", "0") != "0"  # torchrun's other processes
    pool = ThreadPoolExecutor(THREADS)
    try:
        with tqdm(total=len(names), unit=" pictures", desc=f"checking {root.name}", delay=2, disable=quiet) as bar:
            for results in pool.map(look, [names[at : at + CHUNK] for at in range(0, len(names), CHUNK)]):
                for name, seen in results:
                    if isinstance(seen, str):
                        damaged.append(seen)
                    else:
                        found[name] = seen
                bar.update(len(results))
    finally:
        pool.shutdown(cancel_futures=True)
        settled = {name: seen for name, seen in found.items() if max(seen.mtime, seen.ctime) < now - SETTLED_NS}
        if settled != known:
            _save(cache, settled)
    if damaged:
        more = f", and {len(damaged) - NAMED:,} more" if len(damaged) > NAMED else ""
        raise ValueError(f"{'; '.join(damaged[:NAMED])}{more}; replace or delete {'them' if damaged[1:] else 'it'}")
    return {name: bytes.fromhex(found[name].digest) for name in names}


def _seen(path: str, decode: bool, known: Seen | None) -> Seen | str:
    """What a file is, or why it is no picture; what is known already is not read again."""
    try:
        if known is not None and (known.decoded or not decode):
            now = os.stat(path)
            if (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == known[:3]:
                return known
        with open(path, "rb", buffering=0) as file:
            now = os.fstat(file.fileno())
            content = file.readall()
        check(io.BytesIO(content), decode)
    except DAMAGE as error:
        return damage(path, error)
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return Seen(now.st_size, now.st_mtime_ns, now.st_ctime_ns, digest, decode)


def _path(root: Path) -> Path:
    """Where the cache of a tree lies, told by the tree's real path."""
    key = hashlib.blake2b(os.fsencode(os.path.realpath(root)), digest_size=16).hexdigest()
    return download.cache() / "pictures" / f"{key}.json"


def _load(path: Path) -> Mapping[str, Seen]:
    """What is in a cache; nothing where it is not there, not whole, or not of this Pillow."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
        if digest != _digest(content):
            return {}
        kept = json.loads(content)
        return {name: Seen(*seen) for name, seen in kept["pictures"].items()} if kept["pillow"] == _pillow() else {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _save(path: Path, pictures: Mapping[str, Seen]) -> None:
    content = json.dumps({"pillow": _pillow(), "pictures": pictures}).encode()
    with suppress(OSError):  # a disk that is full or read-only costs the next start its time, nothing else
        write_bytes(path, _digest(content) + b"\n" + content)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()


def _pillow() -> str:
    return str(PIL.__version__)
