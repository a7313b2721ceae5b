"""The attention alone, between its projections: backend beside backend in interleaved rounds, over plain attention.

Forward the terms are kept, as in all timings of inference; in training they are computed each time. The baseline is
`sa` by torch's fused kernel; a second copy of it is the A/A floor. A subject that a backend refuses, or that finds no
room, is a null row with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from harness.measure.timing import memory
from harness.measure.timing.interleave import interleave, latency, ratio
from variants import Attention, build
from variants.geometry import Grid

BASELINE, AGAIN = ("sa", "sdpa"), ("sa", "again")
SUBJECTS = (
    BASELINE, ("sa", "triton"), ("sp_sa", "triton"), ("sp_sa", "flex"), ("rel_bias", "triton"), ("rel_bias", "flex"),
    ("rel_bias", "sdpa"), ("swin", "triton"), ("swin", "grouped"), ("swin", "flex"),
    ("rpe_2d", "triton"), ("rpe_2d", "eager"), ("decomposed", "sdpa"), ("decomposed", "triton"),
)  # fmt: skip
IMAGES = {14: 64, 24: 16, 32: 16, 64: 4}  # by the side of the grid, as DeiT-S has them at 224, 384, 512 and 1024 px
HEADS, WIDTH = 6, 64


class Core:
    """One layer's attention on queries, keys and values that stay: a forward, or forward and backward."""

    def __init__(self, spec: str, backend: str, grid: Grid, images: int, device: torch.device, dtype: torch.dtype):
        torch.manual_seed(0)
        width = HEADS * WIDTH
        self.attention: Attention = build(spec, width, HEADS, grid=grid, layer=1, backend=backend).to(device)
        shape = (images, HEADS, grid[0] * grid[1], WIDTH)
        self.q, self.k, self.v = (torch.randn(shape).to(device, dtype).requires_grad_() for _ in range(3))
        self.above, self.grid = torch.randn(shape).to(device, dtype), grid

    def forward(self) -> None:
        with torch.inference_mode():
            self.attention.attend(self.q, self.k, self.v, self.grid)

    def training(self) -> None:
        out = self.attention.attend(self.q, self.k, self.v, self.grid)
        learned = [p for p in self.attention.relation.parameters() if p.requires_grad]
        torch.autograd.grad(out, [self.q, self.k, self.v, *learned], self.above, allow_unused=True)

    def held(self) -> list[Tensor]:
        return [self.q, self.k, self.v, self.above, *self.attention.parameters()]


def rows(
    side: int, about: dict[str, Any], device: torch.device, rounds: int = 15, images: int | None = None,
    subjects: tuple[tuple[str, str], ...] = (), dtype: torch.dtype = torch.bfloat16,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Milliseconds, time over plain attention's, and MiB at the peak, forward and in training, on a square grid."""
    grid, images = (side, side), images or IMAGES[side]
    common = about | {"grid": f"{side}x{side}", "batch_size": images, "precision": str(dtype).removeprefix("torch.")}
    cores: dict[tuple[str, str], Core] = {}
    for spec, backend in (*(subjects or SUBJECTS), AGAIN):
        words = common | {"variant": spec, "backend": backend, "metric": "layer_forward_ms", "unit": "ms"}
        try:
            core = Core(spec, BASELINE[1] if backend == AGAIN[1] else backend, grid, images, device, dtype)
            with core.attention.keep_terms():
                core.forward()
            core.training()
            cores[spec, backend] = core
        except Exception as error:  # refused, not compiled, no room: the row says which
            yield words | {"value": None, "note": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
    for phase in ("forward", "training"):
        works = {f"{spec} {backend}": getattr(core, phase) for (spec, backend), core in cores.items()}
        with ExitStack() as kept:
            for core in cores.values() if phase == "forward" else ():
                kept.enter_context(core.attention.keep_terms())
            samples = interleave(works, rounds, device, lambda: None)
        baseline = samples[" ".join(BASELINE)]
        for (spec, backend), core in cores.items():
            mine = samples[f"{spec} {backend}"]
            words = common | {"variant": spec, "backend": backend}
            yield words | latency(f"layer_{phase}_ms", mine)
            if (spec, backend) != BASELINE:
                yield words | ratio(f"layer_{phase}_ratio", mine, baseline)
            if backend != AGAIN[1]:
                yield words | memory.peak(f"layer_{phase}_peak_mib", works[f"{spec} {backend}"], core.held(), device)
