"""FlexAttention against eager: its formula in torch's uncompiled reference (with gradients), and compiled once."""

import shutil

import pytest
import torch
from torch.nn.attention import flex_attention as torchs

from variants import Unsupported, build
from variants.backends import flex

SPECS = [
    "sa", "sp_sa", "sp_sa[scope=layer]+psa", "rpe_2d[factorized=True,mode=bias]", "sp_sa[form=table]", "swin[window=2]",
    "cswin[stripe=1]+sp_sa", "window[height=1,width=2]+sp_sa", "swin[window=2]+window[height=1,width=1]", "gpsa+sp_sa",
]  # fmt: skip


@pytest.fixture
def reference(monkeypatch):
    """FlexAttention traced and not compiled, and with a backward on the CPU, for what is handed to it."""
    monkeypatch.setattr(torchs, "_validate_device", lambda *tensors: None)
    monkeypatch.setattr(flex, "compiled", lambda: torch.compile(torchs.flex_attention, backend="eager"))
    monkeypatch.setattr(flex, "_no_backward", lambda *tensors: False)


def by(backend, spec, grid, prefix, heads=4):
    torch.manual_seed(0)
    attention = build(spec, 16 * heads, heads, grid=grid, layer=1, backend=backend)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(2, prefix + grid[0] * grid[1], 16 * heads, requires_grad=True)
    return attention, x


def largest(a, b):
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-9))


@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize("spec", SPECS)
def test_what_flex_is_given_has_eagers_outputs_and_gradients(spec, prefix, reference):
    found = []
    for backend in ("flex", "eager"):
        attention, x = by(backend, spec, (3, 5), prefix)
        out = attention(x, (3, 5))
        out.sin().sum().backward()
        named = {name: p.grad for name, p in attention.named_parameters() if p.grad is not None}
        found.append({"out": out.detach(), "x": x.grad} | named)
    assert found[0].keys() == found[1].keys()
    for name, expected in found[1].items():
        if expected.abs().max() > 1e-5:
            assert largest(found[0][name], expected) < 1e-4, name


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("prefix", lambda terms, device, prefix, places: true_score_mod(terms, device, 2, places)),
        ("no score_mod", lambda *given: None),
    ],
)
def test_an_error_in_what_flex_is_given_is_seen(name, wrong, reference, monkeypatch):
    monkeypatch.setattr(flex, "score_mod", wrong)
    attention, x = by("flex", "sp_sa+psa", (3, 5), 1)
    found = attention(x, (3, 5)).detach()
    attention.backend = "eager"
    assert largest(found, attention(x, (3, 5)).detach()) > 1e-2


true_score_mod = flex.score_mod


def test_blocks_of_a_mask_are_made_once(reference, monkeypatch):
    made = []
    monkeypatch.setattr(flex, "create_block_mask", lambda *a, **k: made.append(1) or torchs.create_block_mask(*a, **k))
    attention, x = by("flex", "swin[window=2]", (3, 5), 0)
    for _ in range(3):
        attention(x, (3, 5))
    assert len(made) == 1


@torch.no_grad()
def test_compiled_it_gives_eagers_outputs_or_says_what_is_missing():
    """On a mask whose tokens are in another order, and that leaves blocks out."""
    attention, x = by("flex", "sp_sa+psa+swin[window=4]", (8, 8), 1)
    if not shutil.which("g++"):
        with pytest.raises(Unsupported, match=r"could not be compiled.*use backend=auto"):
            attention(x, (8, 8))
        return
    found = attention(x, (8, 8))
    masked, places = flex.blocks(attention.terms(x, (8, 8)), attention.project(x, (8, 8))[0], 1)
    assert places is not None
    assert masked.sparsity() > 0
    attention.backend = "eager"
    assert largest(found, attention(x, (8, 8))) < 1e-4


@pytest.mark.parametrize(
    ("spec", "dtype", "words"),
    [
        ("rpe_2d", torch.float32, "cannot serve keys; use backend=eager or auto"),
        ("sp_sa", torch.float64, "has no float64; use backend=eager"),
        ("sp_sa", torch.float32, "no backward on the CPU; use backend=tiled or auto"),
    ],
)
def test_flex_refuses_with_a_sentence(spec, dtype, words):
    attention, x = by("flex", spec, (3, 5), 0)
    with pytest.raises(Unsupported, match=words):
        attention.to(dtype)(x.to(dtype), (3, 5))


def test_a_compiler_that_fails_is_a_sentence(monkeypatch):
    def fails(*args, **settings):
        raise flex.BackendCompilerFailed(lambda: None, RuntimeError("no compiler"), [])

    monkeypatch.setattr(flex, "compiled", lambda: fails)
    attention, x = by("flex", "sp_sa", (3, 5), 0)
    with torch.no_grad(), pytest.raises(Unsupported, match=r"could not be compiled.*C\+\+ compiler.*use backend=auto"):
        attention(x, (3, 5))
