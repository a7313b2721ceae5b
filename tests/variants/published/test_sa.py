"""sa: logit = <q_i, k_j> / sqrt(D), against loops and against timm's two plain attentions."""

import pytest
import torch
import torch.nn.functional as F
from timm.models.convit import MHSA
from timm.models.vision_transformer import Attention as TimmAttention

from .agreement import SQUARE, WIDE, WIDTH, agree, agrees_with_equation, at, drawn, on, rejected, tokens


@pytest.mark.proof("the equation by loops", "sa")
@at("prefix", 0, 1, 2)
@on(SQUARE, WIDE, (1, 5), (1, 1))
@at("backend", "eager", "sdpa", "auto")
def test_sa_is_the_equation(grid, prefix, backend):
    agrees_with_equation("sa", grid, prefix, backend=backend)


def agrees_with_timm(reference, *, heads, prefix, qkv_bias, change=None):
    attention = drawn("sa", WIDE, heads=heads, qkv_bias=qkv_bias)
    other = reference(WIDTH, num_heads=heads, qkv_bias=qkv_bias).double().eval()
    other.load_state_dict(attention.state_dict())  # timm's names, strictly
    if change:
        change(other)
    x = tokens(WIDE, prefix)
    agree(attention(x, WIDE), other(x))


@pytest.mark.proof("timm's Attention and convit.MHSA", "sa")
@pytest.mark.parametrize("qkv_bias", [True, False], ids=["qkv_bias", "no_qkv_bias"])
@at("prefix", 0, 1)
@at("heads", 1, 4)
@pytest.mark.parametrize("reference", [TimmAttention, MHSA], ids=["timm Attention", "timm convit.MHSA"])
def test_sa_is_timms_attention(reference, heads, prefix, qkv_bias):
    agrees_with_timm(reference, heads=heads, prefix=prefix, qkv_bias=qkv_bias)


def _scale(other):
    other.scale = 1.0


def _heads(other):
    other.num_heads, other.head_dim = 2, 12


def _exchanged(other):
    c = other.proj.in_features
    other.qkv.weight.data = other.qkv.weight.data.roll(c, 0)
    other.qkv.bias.data = other.qkv.bias.data.roll(c, 0)


@pytest.mark.parametrize(
    "change", [_scale, _heads, _exchanged], ids=["scale forgotten", "other heads", "v, q, k order"]
)
def test_timms_attention_with_an_error_is_rejected(change):
    with rejected():
        agrees_with_timm(TimmAttention, heads=4, prefix=0, qkv_bias=True, change=change)


@pytest.mark.proof("torch's scaled_dot_product_attention", "sa")
@at("backend", "eager", "sdpa")
def test_sa_is_torchs_scaled_dot_product_attention(backend):
    attention, x = drawn("sa", WIDE, backend=backend), tokens(WIDE, 1)
    q, k, v = attention.project(x, WIDE)
    expected = F.scaled_dot_product_attention(q, k, v)
    agree(attention.attend(q, k, v, WIDE), expected)
    agree(attention.weights(q, k, WIDE) @ v, expected)
    with rejected():
        agree(attention.attend(q, k, v, WIDE), F.scaled_dot_product_attention(q, k, v, scale=1.0))


def test_sa_does_not_know_where_the_patches_are():
    """Patches in another order give the outputs in that order; the grid's sides do not matter."""
    attention, x = drawn("sa", (3, 4)), tokens((3, 4))
    order = torch.randperm(12)
    agree(attention(x[:, order], (3, 4)), attention(x, (3, 4))[:, order])
    agree(attention(x, (2, 6)), attention(x, (3, 4)))
