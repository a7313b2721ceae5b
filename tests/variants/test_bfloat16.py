"""Under autocast to half precision a variant's output is as exact as plain attention's, on every backend."""

import pytest
import torch

import variants
from variants import backends, build
from variants.backends import sdpa

GRID = (14, 14)
HALVES = [torch.bfloat16, torch.float16]


def tokens(prefix):
    return torch.randn(2, prefix + GRID[0] * GRID[1], 256, generator=torch.Generator().manual_seed(0))


def layer(spec, backend="eager", noise=0.0):
    torch.manual_seed(0)
    made = build(spec, 256, 4, grid=GRID, backend=backend).eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.startswith("qkv.weight"):  # scores of about 1
                parameter.mul_(3)
            elif not name.startswith(("proj.", "qkv.")):
                parameter.add_(noise * torch.randn(parameter.shape, generator=draw))
    return made


@torch.no_grad()
def error(spec, backend, noise, dtype, x):
    """The output's distance from eager's in float32, over the latter."""
    exact = layer(spec, "eager", noise)(x, GRID)
    with torch.autocast("cpu", dtype):
        rounded = layer(spec, backend, noise)(x, GRID)
    return float((rounded.float() - exact).norm() / exact.norm())


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("backend", ["eager", "sdpa", "tiled", "grouped"])
@pytest.mark.parametrize("spec", [*variants.names(), "swin+log_cpb+cosine", "no_content+log_cpb"])
def test_no_variant_is_twice_as_far_off_as_plain_attention(spec, backend, dtype):
    x = tokens(prefix=int(backend != "grouped"))
    terms = layer(spec).terms(x, GRID)
    if backend not in backends.serving(terms, x.shape[1]):
        pytest.skip(f"{backend} does not serve {spec}")
    for noise in (0.0, 0.1):
        plain = error("sa", "eager", noise, dtype, x)
        assert error(spec, backend, noise, dtype, x) <= 2 * plain


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_autocast_leaves_a_bias_its_values(backend, monkeypatch):
    """All 729 of log_cpb's table, where bfloat16 near 8 tells a handful apart."""
    seen = []
    fused, plain = torch.nn.functional.scaled_dot_product_attention, backends.eager.logits
    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention",
                        lambda *qkv, attn_mask: seen.append(attn_mask) or fused(*qkv, attn_mask=attn_mask))  # fmt: skip
    monkeypatch.setattr(backends.eager, "logits", lambda *given: seen.append(plain(*given)) or seen[-1])
    made = layer("log_cpb", backend)
    if backend == "eager":
        made.qkv.weight.data.zero_()
        made.qkv.bias.data.zero_()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        made(tokens(prefix=0), GRID)
    assert seen[0].dtype == torch.float32
    assert len(seen[0][0, 0].unique()) > 700


def test_where_a_kernel_wants_the_bias_in_half_precision_it_is_shifted_first():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 50, 16).bfloat16()
    bias = torch.nn.functional.pad(8 + 0.1 * torch.randn(4, 49, 49), (1, 0, 1, 0))

    def attended(mask, *qkv):
        return torch.nn.functional.scaled_dot_product_attention(*qkv, attn_mask=mask[None]).float()

    exact = attended(bias, q.float(), k.float(), v.float())
    gaps = {
        name: float((attended(mask.bfloat16(), q, k, v) - exact).norm() / exact.norm())
        for name, mask in (("as it is", bias), ("shifted", sdpa.shifted(bias)))
    }
    assert gaps["shifted"] < 0.004 < 0.01 < gaps["as it is"]
    torch.testing.assert_close(attended(sdpa.shifted(bias), q.float(), k.float(), v.float()), exact)


def test_the_shift_passes_gradients_on_as_they_are():
    bias = torch.randn(2, 5, 5, requires_grad=True)
    weight = torch.randn(2, 5, 5)
    (sdpa.shifted(bias) * weight).sum().backward()
    assert torch.equal(bias.grad, weight)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("spec", variants.names())
def test_a_model_in_half_precision_gives_half_precision(spec, dtype):
    made = layer(spec).to(dtype)
    x = tokens(prefix=1).to(dtype)
    for backend in ("eager", "auto"):
        made.backend = backend
        out = made(x, GRID)
        assert out.dtype == dtype
        assert out.isfinite().all()


@pytest.mark.parametrize(
    ("spec", "with_gradients", "without"),
    [
        ("sa", "flash", "flash"),
        ("swin", "flash", "flash"),
        ("alibi_2d", "flash", "flash"),
        ("rel_bias", "math", "flash"),
        ("sp_sa", "", ""),
    ],
)
def test_which_kernel_is_behind_sdpa_on_the_cpu(spec, with_gradients, without):
    x = tokens(prefix=1)
    made = layer(spec, backend="auto" if spec == "sp_sa" else "sdpa")
    assert made.sdpa_kernel(x, GRID) == with_gradients
    with torch.no_grad():
        assert made.sdpa_kernel(x, GRID) == without


@pytest.mark.parametrize("spec", ["sa", "rel_bias", "alibi_2d"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_that_is_named_is_the_one_that_runs(spec, dtype):
    """By torch's profiler."""
    made, x = layer(spec, backend="sdpa"), tokens(prefix=1)
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients), torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
            named = made.sdpa_kernel(x, GRID)
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
                made(x, GRID)
        ran = {event.key for event in recorded.key_averages()}
        assert named == ("flash" if "aten::_scaled_dot_product_flash_attention_for_cpu" in ran else "math")
