"""On a GPU: every backend against eager, in outputs and gradients. Without one there is nothing to see."""

import pytest
import torch

from harness.gpu.checks import LIMITS, SERVED, found, gaps

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize(("backend", "spec"), [(b, spec) for b, specs in SERVED.items() for spec in specs])
def test_a_backend_is_eager(backend, spec, prefix, precision):
    if backend == "grouped" and prefix:
        pytest.skip("grouped has no prefix tokens")
    device = torch.device("cuda")
    truth, mine = (found(spec, *how, device) for how in (("eager", prefix, "float32"), (backend, prefix, precision)))
    far = {name: gap for name, gap in gaps(truth, mine).items() if not gap < LIMITS[precision]}
    assert not far


@pytest.mark.parametrize("spec", ["sp_sa", "rel_bias", "swin+sp_sa"])
def test_gradients_of_tables_have_the_same_bits_in_two_runs(spec):
    first, again = (found(spec, "triton", 1, "bfloat16", torch.device("cuda")) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
