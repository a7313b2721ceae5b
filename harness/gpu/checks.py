"""Every backend against eager on a device: how far outputs and gradients of a layer lie from those in float32."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor

from variants import build
from variants.geometry import Grid

GRID = (12, 16)
SERVED = {
    "sdpa": ["sa", "psa", "swin", "window", "gpsa", "decomposed"],
    "triton": ["sa", "sp_sa", "rel_bias", "sp_sa[scope=layer]+psa", "swin+sp_sa", "window+sp_sa", "gpsa+sp_sa",
               "rpe_2d", "rpe_1d+sp_sa", "decomposed"],
    "flex": ["sa", "sp_sa", "sp_sa[scope=layer]+psa", "sp_sa[form=table]", "swin+sp_sa", "window+sp_sa", "gpsa+sp_sa"],
    "grouped": ["swin", "cswin", "swin[window=4]+sp_sa"],
    "tiled": ["sp_sa+psa", "rpe_2d", "window+sp_sa"],
    "auto": ["sa", "sp_sa", "psa", "gpsa", "rpe_1d", "rpe_2d", "swin", "cswin", "window", "swin+sp_sa"],
}  # fmt: skip
# where `triton` has other kernels for the gradient of keys: rows of up to 16 patches, up to 32, more than a block
GRIDS = {("triton", "rpe_2d"): (GRID, (3, 24), (2, 70))}
IMAGES = 5  # more than the chunks that gradients of tables are summed in
LIMITS = {"float32": 2e-3, "bfloat16": 6e-2}
LEAST = 1e-4  # a gradient smaller than this is rounding


def found(
    spec: str, backend: str, prefix: int, precision: str, device: torch.device, grid: Grid = GRID, width: int = 32
) -> dict[str, Tensor]:
    """The output of a layer of four heads, and the gradients of its input and parameters."""
    torch.manual_seed(0)
    attention = build(spec, 4 * width, 4, grid=grid, layer=1, backend=backend).to(device)
    x = torch.randn(IMAGES, prefix + grid[0] * grid[1], 4 * width).to(device).requires_grad_()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape).to(device))
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        out = attention(x, grid)
    out.float().sin().sum().backward()
    gradients = {name: p.grad for name, p in attention.named_parameters() if p.grad is not None}
    return {"out": out.detach().float(), "x": x.grad} | gradients


def gaps(truth: dict[str, Tensor], mine: dict[str, Tensor]) -> dict[str, float]:
    """By name, the norm of the difference over the norm of the truth."""
    if truth.keys() != mine.keys():
        raise ValueError(f"gradients of {sorted(truth.keys() ^ mine.keys())} are missing")
    return {
        name: float((mine[name] - expected).norm() / expected.norm())
        for name, expected in truth.items() if expected.abs().max() > LEAST
    }  # fmt: skip


def rows(
    backend: str, spec: str, about: dict[str, Any], device: torch.device, **settings: Any
) -> Iterator[dict[str, Any]]:
    """For each grid, prefix and precision the gap of the output and the largest of the gradients."""
    grids = (settings.pop("grid"),) if "grid" in settings else GRIDS.get((backend, spec), (GRID,))
    for grid, prefix in product(grids, (0, 1)):
        if backend == "grouped" and prefix:
            continue  # a prefix token sees all windows
        truth = found(spec, "eager", prefix, "float32", device, grid, **settings)
        for precision, limit in LIMITS.items():
            common = about | {"variant": spec, "backend": backend, "precision": precision, "unit": "1"}
            common |= {"grid": f"{grid[0]}x{grid[1]}", "params": {"prefix": prefix}}
            try:
                each = gaps(truth, found(spec, backend, prefix, precision, device, grid, **settings))
            except Exception as error:  # refused, not compiled, too large: the others count all the same
                why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                yield common | {"metric": "parity", "value": None, "note": why}
                continue
            of_gradients = {name: gap for name, gap in each.items() if name != "out"}
            worst = max(of_gradients, key=lambda name: of_gradients[name])
            said = [("parity", each["out"], "the output"),
                    ("train_parity", of_gradients[worst], f"the gradient of {worst}")]  # fmt: skip
            for metric, gap, what in said:
                red = None if gap < limit else f"{what} differs from eager's by {gap:.1e}, more than {limit:.0e}"
                yield common | {"metric": metric, "value": gap, "note": red}
