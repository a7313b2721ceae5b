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
from collections.abc import Callable, Mapping, Sequence
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
    now, top = time.time_ns(), str(root)

    def look(name: str, known: Seen | None) -> Seen | str:
        return _seen(f"{top}/{name}", name in decode, known)

    def settled(seen: Seen) -> bool:
        return max(seen.mtime, seen.ctime) < now - SETTLED_NS

    found = _look_at_all(_path(os.path.realpath(root)), root.name, names, look, settled)
    return {name: bytes.fromhex(found[name].digest) for name in names}


def examined_records(key: str, count: int, record: Callable[[int], tuple[str, bytes]], decode: bool) -> list[bytes]:
    """The same of the records 0..count-1, whose name and bytes `record` gives.

    key: stands for all of their content, "" where nothing does and another start reads them again.
    """

    def look(name: str, known: Seen | None) -> Seen | str:
        if known is not None and (known.decoded or not decode):
            return known
        title, content = record(int(name))
        return _checked(title, content, (len(content), 0, 0), decode)

    names = [str(index) for index in range(count)]
    found = _look_at_all(_path(f"records {key}") if key else None, "records", names, look, lambda _: True)
    return [bytes.fromhex(found[name].digest) for name in names]


def _look_at_all(
    cache: Path | None, title: str, names: Sequence[str], look: Callable[[str, Seen | None], Seen | str],
    keep: Callable[[Seen], bool],
) -> dict[str, Seen]:  # fmt: skip
    """What `look` says of each name and of what the cache has of it; what may be kept of it goes into the cache."""
    from tqdm import tqdm

    known = _load(cache) if cache else {}
    found: dict[str, Seen] = {}
    damaged: list[str] = []
    quiet = os.environ.get("RANK", "0") != "0"  # torchrun's other processes

    def look_at(part: Sequence[str]) -> list[tuple[str, Seen | str]]:
        return [(name, look(name, known.get(name))) for name in part]

    pool = ThreadPoolExecutor(THREADS)
    try:
        with tqdm(total=len(names), unit=" pictures", desc=f"checking {title}", delay=2, disable=quiet) as bar:
            for results in pool.map(look_at, [names[at : at + CHUNK] for at in range(0, len(names), CHUNK)]):
                for name, seen in results:
                    if isinstance(seen, str):
                        damaged.append(seen)
                    else:
                        found[name] = seen
                bar.update(len(results))
    finally:
        pool.shutdown(cancel_futures=True)
        kept = {name: seen for name, seen in found.items() if keep(seen)}
        if cache and kept != known:
            _save(cache, kept)
    if damaged:
        more = f", and {len(damaged) - NAMED:,} more" if len(damaged) > NAMED else ""
        raise ValueError(f"{'; '.join(damaged[:NAMED])}{more}; replace or delete {'them' if damaged[1:] else 'it'}")
    return found


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
    except OSError as error:
        return damage(path, error)
    return _checked(path, content, (now.st_size, now.st_mtime_ns, now.st_ctime_ns), decode)


def _checked(name: str, content: bytes, stat: tuple[int, int, int], decode: bool) -> Seen | str:
    try:
        check(io.BytesIO(content), decode)
    except DAMAGE as error:
        return damage(name, error)
    return Seen(*stat, hashlib.blake2b(content, digest_size=16).hexdigest(), decode)


def _path(what: str) -> Path:
    """Where the cache of a tree, told by its real path, or of records lies."""
    return download.cache() / "pictures" / f"{hashlib.blake2b(os.fsencode(what), digest_size=16).hexdigest()}.json"


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
