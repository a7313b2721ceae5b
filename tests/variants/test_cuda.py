"""On a GPU: every backend against eager, in outputs and gradients. Without one there is nothing to see."""

import pytest
import torch

from variants import build

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
GRID = (12, 16)
SERVED = {
    "sdpa": ["sa", "psa", "swin", "window", "gpsa"],
    "flex": ["sa", "sp_sa", "sp_sa[scope=layer]+psa", "sp_sa[form=table]", "swin+sp_sa", "window+sp_sa", "gpsa+sp_sa"],
    "grouped": ["swin", "cswin", "swin[window=4]+sp_sa"],
    "tiled": ["sp_sa+psa", "rpe_2d", "window+sp_sa"],
    "auto": ["sa", "sp_sa", "psa", "gpsa", "rpe_1d", "rpe_2d", "swin", "cswin", "window", "swin+sp_sa"],
}


def found(spec, backend, prefix, dtype):
    torch.manual_seed(0)
    attention = build(spec, 4 * 32, 4, grid=GRID, layer=1, backend=backend).cuda()
    x = torch.randn(2, prefix + GRID[0] * GRID[1], 4 * 32, device="cuda", requires_grad=True)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
        out = attention(x, GRID)
    out.float().sin().sum().backward()
    gradients = {name: p.grad for name, p in attention.named_parameters() if p.grad is not None}
    return {"out": out.detach().float(), "x": x.grad} | gradients


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize(("backend", "spec"), [(b, spec) for b, specs in SERVED.items() for spec in specs])
def test_a_backend_is_eager(backend, spec, prefix, dtype):
    if backend == "grouped" and prefix:
        pytest.skip("grouped has no prefix tokens")
    truth, mine = found(spec, "eager", prefix, torch.float32), found(spec, backend, prefix, dtype)
    limit = 2e-3 if dtype == torch.float32 else 6e-2
    assert mine.keys() == truth.keys()
    for name, expected in truth.items():
        if expected.abs().max() > 1e-4:
            gap = float((mine[name] - expected).norm() / expected.norm())
            assert gap < limit, f"{name} is off by {gap:.1e}"
