"""The pass over all files: digests, damage, and the cache that saves the second pass."""

import hashlib
import io
import json
import os
import shutil
import threading
import time

import pytest
from PIL import Image

from harness.data import examine
from harness.data.examine import examined
from tests.support.trees import grow


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree whose files may be trusted at once, and its files' names."""
    monkeypatch.setattr(examine, "SETTLED_NS", 0)
    return grow(tmp_path / "tree", train=3, val=2)


def names(tree):
    return sorted(str(file.relative_to(tree)) for file in tree.rglob("*.png"))


@pytest.fixture
def opened(monkeypatch):
    """How many files were opened as pictures."""
    seen = []
    plain = Image.open
    monkeypatch.setattr(Image, "open", lambda file, *rest, **named: seen.append(file) or plain(file, *rest, **named))
    return seen


def test_a_digest_is_of_the_bytes(tree):
    found = examined(tree, names(tree))
    assert [*found] == names(tree)
    for name, digest in found.items():
        assert digest == hashlib.blake2b((tree / name).read_bytes(), digest_size=16).digest()


def test_a_second_pass_opens_no_file(tree, opened):
    first = examined(tree, names(tree))
    assert len(opened) == 15
    assert examined(tree, names(tree)) == first
    assert len(opened) == 15


def test_a_file_that_changed_is_read_again(tree, opened):
    first = examined(tree, names(tree))
    name = names(tree)[4]
    before = (tree / name).stat()
    content = (tree / name).read_bytes()
    other = io.BytesIO()
    Image.open(io.BytesIO(content)).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(other, "PNG")
    (tree / name).write_bytes(other.getvalue())
    os.utime(tree / name, ns=(before.st_atime_ns, before.st_mtime_ns))  # the time does not show it, as after cp -p
    opened.clear()
    second = examined(tree, names(tree))
    assert [key for key in first if first[key] != second[key]] == [name]
    assert len(opened) == 1


def test_a_file_of_the_last_two_seconds_is_not_trusted(tree, opened, monkeypatch):
    monkeypatch.setattr(examine, "SETTLED_NS", 2 * 10**9)
    examined(tree, names(tree))
    examined(tree, names(tree))
    assert len(opened) == 30


def test_what_was_not_decoded_yet_is_decoded(tree, opened):
    some = frozenset(names(tree)[:4])
    examined(tree, names(tree))
    opened.clear()
    examined(tree, names(tree), some)
    assert len(opened) == 4
    examined(tree, names(tree), some)
    assert len(opened) == 4


def test_damage_is_one_sentence_that_names_the_files(tree, opened):
    first, second = (tree / name for name in names(tree)[:2])
    second.write_bytes(second.read_bytes()[:400])  # its header is whole
    examined(tree, names(tree))
    with pytest.raises(ValueError, match=f"^{second} cannot be read as a picture .*; replace or delete it$"):
        examined(tree, names(tree), frozenset(names(tree)))
    first.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"^{first} cannot .* \(no format.*\); {second} cannot .*delete them$"):
        examined(tree, names(tree), frozenset(names(tree)))
    opened.clear()
    second.unlink()
    first.unlink()
    examined(tree, names(tree), frozenset(names(tree)))  # what was seen before the damage is known
    assert opened == []


def test_many_damaged_files_are_counted(tree):
    for name in names(tree)[:9]:
        (tree / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r", and 4 more; replace or delete them$"):
        examined(tree, names(tree))


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def empty(path):
    path.write_bytes(b"")


def forged(path):
    """One digest is another; the rest is in order."""
    head, _, content = path.read_bytes().partition(b"\n")
    kept = json.loads(content)
    first = min(kept["pictures"])
    kept["pictures"][first] = kept["pictures"][first][:-32] + "0" * 32
    path.write_bytes(head + b"\n" + json.dumps(kept).encode())


def of_another_pillow(path):
    kept = json.loads(path.read_bytes().partition(b"\n")[2])
    content = json.dumps(kept | {"made by": "records of format 1, Pillow 0.1"}).encode()
    path.write_bytes(hashlib.blake2b(content, digest_size=16).hexdigest().encode() + b"\n" + content)


@pytest.mark.parametrize("damage", [cut, empty, forged, of_another_pillow, lambda path: path.unlink()])
def test_a_damaged_cache_is_ignored(damage, tree, opened, cache_home):
    first = examined(tree, names(tree))
    (file,) = (cache_home / "spatial-bias-bench/pictures").iterdir()
    damage(file)
    opened.clear()
    assert examined(tree, names(tree)) == first
    assert len(opened) == 15
    examined(tree, names(tree))
    assert len(opened) == 15  # and it was written anew


def test_a_cache_that_cannot_be_written_costs_time_alone(tree, cache_home):
    (cache_home / "spatial-bias-bench").write_text("a file is in the way")
    assert len(examined(tree, names(tree))) == 15


def test_another_tree_in_the_same_place_is_another(tree, tmp_path):
    first = examined(tree, names(tree))
    other = grow(tmp_path / "other", train=3, val=2, seed=1)
    shutil.rmtree(tree)
    other.rename(tree)
    second = examined(tree, names(tree))
    assert all(first[name] != second[name] for name in first)


@pytest.mark.parametrize("count", [0, 1, 31, 33, 289, 545, 2000])
def test_all_names_are_worked_on_once(count):
    seen, done = [], []
    examine._shared_out([str(n) for n in range(count)], lambda part: seen.extend(part) or len(part), done.append)
    assert sorted(seen, key=int) == [str(n) for n in range(count)]
    assert sum(done) == count


def test_work_that_waits_is_shared_among_threads():
    """As on a network's disk; one thread alone would need all of it."""
    names, wait = [str(n) for n in range(2000)], 0.001
    workers = set()

    def work(part):
        workers.add(threading.get_ident())
        time.sleep(wait * len(part))
        return len(part)

    start = time.perf_counter()
    examine._shared_out(names, work, lambda count: None)
    assert len(workers) > examine.THREADS / 2
    assert time.perf_counter() - start < 0.8 * wait * len(names)


def test_work_that_holds_the_interpreter_stays_in_one_thread():
    """As the headers of small files that the machine has in memory: threads hand the interpreter to and fro."""
    rest, at_once = [], threading.Semaphore(1)

    def work(part):
        if at_once.acquire(blocking=False):
            time.sleep(0.001)
            at_once.release()
        else:
            time.sleep(0.5)  # threads are in each other's way
        rest.append(threading.current_thread() is threading.main_thread())
        return len(part)

    examine._shared_out([str(n) for n in range(2000)], work, lambda count: None)
    assert all(rest[-40:])
