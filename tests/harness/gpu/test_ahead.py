"""The kernels compiled for cards that are not here: the committed report holds, and is what the compiler gives now."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from harness.gpu import ahead
from harness.gpu.ahead import Binary, Case
from variants.backends.triton import tiles

AGAIN = [  # compiled anew by the test: what the report has of them
    Case("forward", 64, "bfloat16", "prior", 90),
    Case("tables", 64, "bfloat16", "all", 90),
    Case("backward_keys", 64, "bfloat16", "prior", 80),
    Case("forward", 64, "bfloat16", "keys", 90),
    Case("contexts16", 64, "bfloat16", "keys", 80),
]


def test_the_report_is_of_the_kernels_as_they_are():
    made, found = ahead.read()
    assert made["source"] == ahead.source(), "the kernels or their tiles changed: run python -m harness.gpu --ahead"
    assert list(found) == list(ahead.cases())
    assert ahead.OUTPUT.with_name("README.md").read_text() == ahead.page(made, found)


def test_no_kernel_that_auto_takes_spills_or_wants_too_much():
    _, found = ahead.read()
    assert {case: ahead.failures(case, binary) for case, binary in found.items() if ahead.failures(case, binary)} == {}
    assert all(binary.wgmma for case, binary in found.items() if case.capability == 90 and case.dtype == "bfloat16"
               and case.tile.queries >= 64 and case.tile.keys >= 32 and case.kernel == "forward")  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stack": 8}, "8 bytes of stack"),
        ({"registers": 256}, "256 registers"),
        ({"shared": 300_000}, "wants 300,000 bytes of shared memory"),
        ({"wgmma": 0}, "no tensor-core instruction"),
    ],
)
def test_what_a_binary_must_not_be_is_noticed(change, words):
    good = Binary(200, 0, 80_000, 8, 0)
    assert ahead.failures(AGAIN[0], good) == []
    assert words in ahead.failures(AGAIN[0], replace(good, **change))[0]


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="without Triton nothing is compiled")
def test_the_compiler_gives_what_the_report_says_and_a_block_too_large_spills(tmp_path):
    """In a process of its own, since this one interprets."""
    import triton

    made, found = ahead.read()
    script = f"""
import json
from dataclasses import asdict
from harness.gpu.ahead import Case, compiled
from variants.backends.triton.tiles import Tile
cases = [Case(**one) for one in {[asdict(case) for case in AGAIN]!r}]
binaries = [compiled(case) for case in cases] + [compiled(cases[1], Tile(128, 128, 4, 1))]
print(json.dumps([asdict(one) for one in binaries]))
"""
    clean = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    clean["TRITON_CACHE_DIR"] = str(tmp_path)
    told = subprocess.run([sys.executable, "-W", "error", "-c", script], env=clean, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    *again, large = [Binary(**one) for one in json.loads(told.stdout.splitlines()[-1])]
    for case, binary in zip(AGAIN, again, strict=True):
        assert ahead.failures(case, binary) == []
        if triton.__version__ == made["triton"]:
            assert binary == found[case]
    assert "stack" in ahead.failures(AGAIN[1], large)[0]


def test_where_kernels_are_interpreted_nothing_is_compiled():
    if not importlib.util.find_spec("triton"):
        pytest.skip("without Triton")
    import triton

    if triton.knobs.runtime.interpret:
        with pytest.raises(RuntimeError, match="the interpreter compiles nothing; unset it"):
            ahead.compiled(AGAIN[0])


def test_every_kernel_has_a_tile_for_every_width():
    for without, with_keys in (tiles.HOPPER, tiles.OTHERS, tiles.FLOAT32):
        assert with_keys.keys() == set(tiles.KERNELS)
        assert without.keys() == {name for name in tiles.KERNELS if not name.startswith("contexts")}
        assert all(len(row) == len(tiles.WIDTHS) for table in (without, with_keys) for row in table.values())
    assert tiles.tile("forward", 96, True, 90) == tiles.tile("forward", 128, True, 90)
    assert tiles.tile("forward", 64, True, 90) != tiles.tile("forward", 64, True, 80)
    assert [tiles.contexts_of(wide) for wide in (1, 16, 17, 32, 33, 100)] == [
        "contexts16", "contexts16", "contexts32", "contexts32", "contexts64", "contexts64",
    ]  # fmt: skip
