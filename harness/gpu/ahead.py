"""What the triton backend's kernels become on a card, compiled without one.

For every kernel, width of a head, type of numbers and terms, at the sizes of variants/backends/triton/tiles.py:
registers, bytes of stack (where spills go), shared memory, and how many tensor-core instructions there are.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from string import digits
from typing import Any

from harness.gpu.roofline import CARDS, Layer, flops, moved, occupancy, ratio, ratio_with_keys
from harness.results.store import write_bytes
from variants.backends.triton import tiles
from variants.backends.triton.tiles import Tile

PREDICTED = {14: 64, 24: 16, 32: 16, 64: 4}  # sides of a grid, and images
CAPABILITIES = (80, 90)  # A100, H100 and H200
# what a layer may have: nothing, sp_sa's, all numbers at once; rpe_2d's vectors, and with them all of these
TERMS = {
    "plain": (), "prior": ("prior",), "all": ("prior", "bias", "groups"),
    "keys": ("context",), "all and keys": ("prior", "bias", "groups", "context"),
}  # fmt: skip
TRIED = {"bfloat16": tuple(TERMS), "float16": ("all", "all and keys"), "float32": ("all", "all and keys")}
# the kernels of gradients of tables, and the term that each cannot do without
LEARNED = {"tables": "prior", "contexts": "context"}
SHARED = {80: 99 * 1024, 90: 227 * 1024}  # of a program; 80 stands for RTX cards as well, which have no more
REGISTERS = 255
OUTPUT = Path("results/kernels/ahead.json")

_POINTERS = {
    **dict.fromkeys(("lse", "delta", "prior", "bias", "of_prior", "of_bias", "of_context"), "fp32"),
    **dict.fromkeys(("place", "token", "groups", "lists", "counts", "which", "pairs", "first", "spans"), "i32"),
}
_NUMBERS = frozenset({"q", "k", "v", "out", "above", "dq", "dk", "dv", "context"})
_ALIGNED = re.compile(r"(q|k|v|out|above|dq|dk|dv)_(image|head|token)|width")  # multiples of 16 in a model
_TYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


@dataclass(frozen=True)
class Case:
    """One kernel, as it is launched."""

    kernel: str
    width: int
    dtype: str
    terms: str
    capability: int

    @property
    def tile(self) -> Tile:
        half, context = self.dtype != "float32", "context" in TERMS[self.terms]
        return tiles.tile(self.kernel, self.width, half, self.capability, context)


@dataclass(frozen=True)
class Binary:
    """Registers of a thread and bytes of its stack, where spills go; bytes of shared memory of a program; how many
    tensor-core instructions there are, of Hopper's kind and of the older one."""

    registers: int
    stack: int
    shared: int
    wgmma: int
    mma: int


def cases() -> Iterator[Case]:
    for kernel in tiles.KERNELS:
        for capability in CAPABILITIES:
            for width in tiles.WIDTHS:  # one of 96 is in a block of 128
                for dtype, of_type in TRIED.items():
                    for terms in of_type:
                        if LEARNED.get(kernel.rstrip(digits), "") in ("", *TERMS[terms]):
                            yield Case(kernel, width, dtype, terms, capability)


def failures(case: Case, binary: Binary) -> list[str]:
    """What a binary must not be, in words; in float32 it may spill, and `auto` does not take it."""
    found = []
    if binary.stack and case.dtype != "float32":
        found.append(f"has {binary.stack} bytes of stack, so it spills registers")
    if binary.registers > REGISTERS:
        found.append(f"has {binary.registers} registers")
    if binary.shared > SHARED[case.capability]:
        found.append(f"wants {binary.shared:,} bytes of shared memory, of {SHARED[case.capability]:,}")
    if not binary.wgmma + binary.mma:
        found.append("has no tensor-core instruction")
    return found


def compiled(case: Case, tile: Tile | None = None) -> Binary:
    """Raises RuntimeError in a process that has Triton's interpreter on, where nothing is compiled."""
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if triton.knobs.runtime.interpret:
        raise RuntimeError("TRITON_INTERPRET is set, and the interpreter compiles nothing; unset it")
    from variants.backends.triton import gradients, kernels
    from variants.backends.triton.launch import COMPILED, width_of_block

    tile = tile or case.tile
    terms = TERMS[case.terms]
    name = case.kernel.rstrip(digits)  # the class of a row's width
    kernel = getattr(gradients if name in LEARNED else kernels, name)
    constants: dict[str, Any] = {
        "WIDTH": width_of_block(case.width), "QUERIES": tile.queries, "KEYS": tile.keys,
        "PRIOR": "prior" in terms, "BIAS": "bias" in terms, "CONTEXT": "context" in terms,
        "GROUPS": "groups" in terms, "LISTS": "groups" in terms,
        "WANTED": True, "OF_PRIOR": "prior" in terms, "OF_BIAS": "bias" in terms,
        "DOT": getattr(tl, case.dtype), "PRECISION": "tf32x3",
    }  # fmt: skip
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    signature, hints = {}, {}
    for place, name in enumerate(kernel.arg_names):
        pointer = _TYPES[case.dtype] if name in _NUMBERS else _POINTERS.get(name)
        if name in constants:
            signature[name] = "constexpr"
        elif pointer:
            signature[name] = f"*{pointer}"
        else:
            signature[name] = "fp32" if name == "scale" else "i32"
        if pointer or _ALIGNED.fullmatch(name):  # else nothing is vectorised, and registers say little
            hints[(place,)] = [["tt.divisibility", 16]]
    found = triton.compile(
        ASTSource(kernel, signature, constexprs=constants, attrs=hints),
        target=GPUTarget("cuda", case.capability, 32),
        options={"num_warps": tile.warps, "num_stages": tile.stages, **COMPILED},
    )
    ptx = found.asm["ptx"]
    registers, stack = _usage(found.asm["cubin"], Path(triton.__file__).parent)
    return Binary(
        registers, stack, found.metadata.shared, ptx.count("wgmma.mma_async"), len(re.findall(r"\bmma\.sync", ptx))
    )


def _usage(cubin: bytes, triton: Path) -> tuple[int, int]:
    """The registers and the bytes of stack of a binary, as the CUDA tool that comes with Triton reads them."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(triton / "backends/nvidia/bin/cuobjdump"), "--dump-resource-usage", file.name]
        told = subprocess.run(command, capture_output=True, text=True, check=True)
    uses = re.findall(r"REG:(\d+) STACK:(\d+)", told.stdout)  # of the kernel, and of functions that it calls
    return max(int(registers) for registers, _ in uses), max(int(stack) for _, stack in uses)


def source() -> str:
    """A digest of what decides the binaries: the kernels, the sizes of their blocks, and how they are launched."""
    folder = Path(tiles.__file__).parent
    names = ("blocks.py", "kernels.py", "gradients.py", "tiles.py", "launch.py")
    whole = b"".join((folder / name).read_bytes() for name in names)
    return hashlib.blake2b(whole, digest_size=8).hexdigest()


def read(path: Path = OUTPUT) -> tuple[dict[str, str], dict[Case, Binary]]:
    """A report: what it is of, and its binaries."""
    content = json.loads(path.read_text())
    found = {Case(**row["case"]): Binary(**row["binary"]) for row in content["kernels"]}
    return {name: content[name] for name in ("triton", "source")}, found


def table(found: Mapping[Case, Binary]) -> str:
    """A report in words, for people: the binaries of sp_sa and of all terms, and the predicted times."""
    lines = [
        "| kernel | card | numbers | head | terms | block | warps | registers | stack | shared | occupancy | dot by |",
        "|---|---|---|--:|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for case, binary in found.items():
        card = CARDS["H100" if case.capability == 90 else "A100"]
        share = occupancy(binary.registers, binary.shared, case.tile, card)
        lines.append(
            f"| {case.kernel} | sm_{case.capability} | {case.dtype} | {case.width} | {case.terms} "
            f"| {case.tile.queries} x {case.tile.keys} | {case.tile.warps} | {binary.registers} | {binary.stack} "
            f"| {binary.shared / 1024:.0f} KiB | {share:.0%} | {'wgmma' if binary.wgmma else 'mma'} |"
        )
    lines += [
        "",
        "| grid, images | card | GFLOP forward | MB forward | prior: forward | prior: training step | keys: forward "
        "| keys: training step |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for side, images in PREDICTED.items():
        layer = Layer(images, 6, (side, side))
        for name, card in CARDS.items():
            lines.append(
                f"| {side} x {side}, {images} | {name} | {flops('forward', layer) / 1e9:.1f} "
                f"| {moved('forward', layer, True) / 1e6:.1f} | {ratio('forward', layer, card):.3f} "
                f"| {ratio('training', layer, card):.2f} | {ratio_with_keys('forward', layer, name):.1f} "
                f"| {ratio_with_keys('training', layer, name):.1f} |"
            )
    return "\n".join(lines)


def page(made: Mapping[str, str], found: Mapping[Case, Binary]) -> str:
    """results/kernels/README.md."""
    return f"""# The triton backend, compiled ahead of time

Written by `python -m harness.gpu --ahead` with Triton {made["triton"]}, without a GPU. No speed was measured.

The first table says what each kernel becomes: registers of a thread, bytes of its stack (where spills go), shared
memory of a program, and the share of a multiprocessor's threads in use. Heads of 96 numbers are in a block of 128.

The second table is a prediction by roofline for a layer of six heads of 64 in half precision. It divides the time of a
learned prior (`sp_sa`), or of general keys (`rpe_2d`), by the time of plain flash attention. The backward makes the map
again for queries, for keys and for tables, so that every sum has one order. So where tensor cores are the limit, a
training step with a prior costs 11 products where plain attention costs 7. Keys cost more: a query meets the vectors of
all offsets between two blocks, of which each pair takes one.

{table(found)}
"""


def write(path: Path = OUTPUT) -> int:
    """Compiles all cases, in a process without the interpreter; the report and its page. Returns 1 where one fails.

    Raises ValueError where nothing can be compiled here.
    """
    if find_spec("triton") is None:
        raise ValueError("there is no Triton here, which compiles the kernels; it comes with torch's wheels for Linux")
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        raise ValueError(f"TRITON_INTERPRET={os.environ['TRITON_INTERPRET']} has the kernels interpreted, and then "
                         f"nothing is compiled; unset it")  # fmt: skip
    import triton
    from tqdm import tqdm

    rows, wrong = [], 0
    for case in tqdm(list(cases()), unit=" kernels", disable=None):
        binary = compiled(case)
        rows.append({"case": asdict(case), "tile": case.tile._asdict(), "binary": asdict(binary)})
        for failure in failures(case, binary):
            wrong += 1
            print(f"{case.kernel}, {case.dtype}, heads of {case.width}, {case.terms}, sm_{case.capability}: {failure}")
    made = {"triton": triton.__version__, "source": source()}
    write_bytes(path, (json.dumps(made | {"kernels": rows}, indent=1) + "\n").encode())
    write_bytes(path.with_name("README.md"), page(*read(path)).encode())
    print(f"{len(rows)} kernels, {wrong} of them spill, want too much or use no tensor cores: {path}")
    return 1 if wrong else 0
