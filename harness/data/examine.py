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
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import PIL

from harness.data import download
from harness.data.picture import DAMAGE, check, damage
from harness.results.store import write_bytes

THREADS = 8  # where they wait for the disk or decode; with small files at hand they only wait for one another
TRIED = 256  # files that both one and all threads are timed on
CHUNK = 32  # files that a thread takes at a time
SETTLED_NS = 2 * 10**9  # a file may change without a trace within its file system's tick
NAMED = 5  # of the damaged files
MADE_BY = f"records of format 1, Pillow {PIL.__version__}"


# What is known of a file that is a picture: its size, its times of change in ns, whether it was decoded, and the digest
# of its bytes, between blanks. One text a file, since a million tuples would keep Python's garbage collector busy.
Record = str


def examined(root: Path, names: Sequence[str], decode: frozenset[str] = frozenset()) -> dict[str, bytes]:
    """The digest of each file, 16 bytes; names are relative to the root, those in `decode` are decoded.

    Raises ValueError that names the files that are no pictures.
    """
    now, top = time.time_ns(), str(root)

    def settled(record: Record) -> bool:
        _, mtime, ctime, *_ = record.split()
        return max(int(mtime), int(ctime)) < now - SETTLED_NS

    passes = [[name for name in names if name not in decode], [name for name in names if name in decode]]
    found = _look_at_all(
        _path(os.path.realpath(root)), root.name, passes,
        lambda name, known: _look_at_file(f"{top}/{name}", name in decode, known), settled,
    )  # fmt: skip
    return {name: _digest_of(found[name]) for name in names}


def examined_records(key: str, count: int, read: Callable[[int], tuple[str, bytes]], decode: bool) -> list[bytes]:
    """The same of the pictures 0..count-1 of a set, whose names and bytes `read` gives.

    key: stands for all of their content, "" where nothing does and another start reads them again.
    """

    def look(number: str, known: Record | None) -> Record:
        if known is not None and _serves(known, decode):
            return known
        try:
            name, content = read(int(number))
        except OSError as error:
            raise ValueError(damage(f"picture {number}", error)) from error
        return _look_at_bytes(name, content, (0, 0), decode)

    numbers = [str(number) for number in range(count)]
    found = _look_at_all(_path(f"records {key}") if key else None, "records", [numbers], look, lambda _: True)
    return [_digest_of(found[number]) for number in numbers]


def _look_at_all(
    cache: Path | None, title: str, passes: Sequence[Sequence[str]], look: Callable[[str, Record | None], Record],
    keep: Callable[[Record], bool],
) -> dict[str, Record]:  # fmt: skip
    """What `look` makes of each name and of what the cache has of it; what may be kept goes into the cache.

    passes: the names, those together that are as much work.
    """
    from tqdm import tqdm

    known = _load(cache) if cache else {}
    found: dict[str, Record] = {}
    damaged: dict[str, str] = {}
    quiet = os.environ.get("RANK", "0") != "0"  # torchrun's other processes

    def look_at(part: Sequence[str]) -> int:
        for name in part:
            try:
                found[name] = look(name, known.get(name))
            except ValueError as error:
                damaged[name] = str(error)
        return len(part)

    names = [name for part in passes for name in part]
    try:
        with tqdm(total=len(names), unit=" pictures", desc=f"checking {title}", delay=2, disable=quiet) as bar:
            for part in passes:
                _shared_out(part, look_at, bar.update)
    finally:
        kept = {name: record for name, record in found.items() if keep(record)}
        if cache and kept != known:
            _save(cache, kept)
    if damaged:
        sentences = [damaged[name] for name in names if name in damaged]
        more = f", and {len(sentences) - NAMED:,} more" if len(sentences) > NAMED else ""
        raise ValueError(f"{'; '.join(sentences[:NAMED])}{more}; replace or delete {'them' if sentences[1:] else 'it'}")
    return found


def _shared_out(names: Sequence[str], work: Callable[[Sequence[str]], int], done: Callable[[int], object]) -> None:
    """Works on all names, by one thread or THREADS, whichever was faster on the first TRIED names of its own."""
    chunks = [names[at : at + CHUNK] for at in range(0, len(names), CHUNK)]
    trial, pool = TRIED // CHUNK, ThreadPoolExecutor(THREADS)

    def timed(mapped: Callable[..., Iterable[int]], part: Sequence[Sequence[str]]) -> float:
        start = time.perf_counter()
        for count in mapped(work, part):
            done(count)
        return time.perf_counter() - start

    try:
        timed(map, chunks[:1])  # Pillow imports a format with its first file
        alone = timed(map, chunks[1 : 1 + trial])
        together = timed(pool.map, chunks[1 + trial : 1 + 2 * trial])
        timed(map if alone < together else pool.map, chunks[1 + 2 * trial :])
    finally:
        pool.shutdown(cancel_futures=True)


def _look_at_file(path: str, decode: bool, known: Record | None) -> Record:
    """Raises ValueError where a file is no picture; one that is known and did not change is not read again."""
    try:
        if known is not None and _serves(known, decode):
            now = os.stat(path)
            if known.startswith(f"{now.st_size} {now.st_mtime_ns} {now.st_ctime_ns} "):
                return known
        with open(path, "rb", buffering=0) as file:
            now = os.fstat(file.fileno())
            content = file.readall()
    except OSError as error:
        raise ValueError(damage(path, error)) from error
    return _look_at_bytes(path, content, (now.st_mtime_ns, now.st_ctime_ns), decode)


def _look_at_bytes(name: str, content: bytes, times: tuple[int, int], decode: bool) -> Record:
    try:
        check(io.BytesIO(content), name, decode)
    except DAMAGE as error:
        raise ValueError(damage(name, error)) from error
    return f"{len(content)} {times[0]} {times[1]} {int(decode)} {_digest(content)}"


def _serves(record: Record, decode: bool) -> bool:
    """Whether a picture was looked at as closely as is wanted."""
    return not decode or record.split()[3] == "1"


def _digest_of(record: Record) -> bytes:
    return bytes.fromhex(record.rpartition(" ")[2])


def _path(what: str) -> Path:
    """Where the cache of a tree, told by its real path, or of records lies."""
    return download.cache() / "pictures" / f"{_digest(os.fsencode(what))}.json"


def _load(path: Path) -> Mapping[str, Record]:
    """What is in a cache; nothing where it is not there, not whole, or not of this Pillow."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
        kept = json.loads(content) if digest.decode() == _digest(content) else {}
    except (OSError, ValueError):
        return {}
    return kept["pictures"] if kept.get("made by") == MADE_BY else {}


def _save(path: Path, pictures: Mapping[str, Record]) -> None:
    content = json.dumps({"made by": MADE_BY, "pictures": pictures}).encode()
    with suppress(OSError):  # a disk that is full or read-only costs the next start its time, nothing else
        write_bytes(path, _digest(content).encode() + b"\n" + content)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
