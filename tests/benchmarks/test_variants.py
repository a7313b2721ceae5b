"""Every variant's layer against plain attention's, forward and forward with backward, on ViT-S's width."""

import pytest
import torch

from harness.measure.cost import eager
from harness.measure.timing.gate import LOGITS
from variants import keep_terms

from .conditions import AGAIN, CONDITIONS, DIM, HEADS, SPECS, TINY, is_short, spec_of, target
from .counters import counters
from .layers import executes, layer, tokens, work
from .pairs import ratios
from .record import DTYPE, record

CASES = [
    pytest.param(name, at, id=f"{at}-{name}", marks=[pytest.mark.short] if is_short(name, at) else [])
    for at in CONDITIONS
    for name in (AGAIN, *SPECS)
]


@pytest.mark.parametrize(("name", "at"), CASES)
def test_layer(benchmark, rounds, name, at):
    """Records the ratio to `sa`; fails where the backend's numbers are not eager's, for then its speed is no speed."""
    real, dim = at, DIM
    if benchmark.disabled:
        at, dim = TINY[at.mode], 8 * HEADS
    subject, baseline, x = layer(spec_of(name), at, dim), layer("sa", at, dim), tokens(at, dim)
    assert difference(subject, x, at) < LOGITS[DTYPE]
    with keep_terms(subject), keep_terms(baseline):  # which has an effect in inference alone
        found = ratios(benchmark, work(subject, x, at), work(baseline, x, at), rounds)
    record(
        benchmark, found, variant=name, baseline="sa", condition=str(real), target=target(name, at),
        short=is_short(name, at), again=name == AGAIN, grid=f"{at.grid[0]}x{at.grid[1]}", batch=at.batch,
        mode=at.mode, backend=executes(subject, x, at), baseline_backend=executes(baseline, x, at),
        counters=counters(subject, x, at.grid) if found else {},
    )  # fmt: skip


def difference(module, x, at):
    """The largest difference of the output from eager's, over eager's largest value, by the backend that is timed."""
    with torch.set_grad_enabled(at.mode == "training"):
        found = module(x, at.grid).detach()
    with torch.no_grad(), eager(module):
        truth = module(x, at.grid)
    return float((found - truth).abs().max() / truth.abs().max())
