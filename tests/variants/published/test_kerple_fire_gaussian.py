"""kerple, fire, gaussian: their ties to alibi_2d, psa and the 1-D originals; bounds, resolution, starts."""

import math

import pytest
import torch

from variants import build, fire, geometry, kerple

from .agreement import SQUARE, WIDE, WIDTH, agree, agrees_with_equation, at, drawn, rejected
from .biases import SLOPES

NOTHING = torch.zeros(1, 1, 1, dtype=torch.float64)


def bias_of(attention, grid):
    return sum(attention.terms(NOTHING, grid).bias)


# KERPLE.


def test_kerple_with_the_power_of_1_and_alibis_slopes_is_alibi():
    """Of three heads: the fourth slope, 1/256, is below what kerple reads."""
    attention = drawn("kerple[kernel=power]", WIDE, heads=3)
    attention.relation.r.data.fill_(1.0)
    attention.relation.s.data = torch.tensor(SLOPES[4][:3], dtype=torch.float64)
    expected = bias_of(drawn("alibi_2d", WIDE), WIDE)[:3]
    agree(bias_of(attention, WIDE), expected)
    attention.relation.r.data.fill_(1.1)
    with rejected():
        agree(bias_of(attention, WIDE), expected)


@pytest.mark.proof("KERPLE's kernels on a line", "kerple")
@pytest.mark.parametrize("spec", ["kerple", "kerple[kernel=power]"])
def test_on_a_line_kerple_is_the_published_kernel_of_the_past(spec):
    """-r log(1 + s (i - j)) and -s (i - j)^r for j <= i, as the code computes them."""
    attention = drawn(spec, (1, 6))
    r, s = (attention.relation.get_parameter(name).detach().clamp(min=0.01)[:, None, None] for name in ("r", "s"))
    i = torch.arange(6, dtype=torch.float64)
    past = (i[:, None] - i).tril()
    expected = -r * torch.log(1 + s * past) if spec == "kerple" else -s * past.pow(r)
    pairs = geometry.to_pairs(bias_of(attention, (1, 6)), (1, 6))
    agree(pairs.tril(), expected.tril())


@pytest.mark.parametrize("spec", ["kerple", "kerple[kernel=power]"])
def test_bounds_hold_for_what_is_read_and_let_the_gradient_through(spec):
    attention = drawn(spec, SQUARE)
    attention.relation.r.data = torch.tensor([-1.0, 0.5, 3.0, 2.0], dtype=torch.float64)
    attention.relation.s.data = torch.tensor([0.5, -2.0, 0.7, 0.1], dtype=torch.float64)
    agrees_with_bounds = bias_of(attention, SQUARE)
    agrees_with_bounds.square().sum().backward()
    assert attention.relation.r.grad.all()
    assert attention.relation.s.grad.all()
    attention.relation.r.data.clamp_(0.01, 2.0 if "power" in spec else None)
    attention.relation.s.data.clamp_(0.01)
    agree(bias_of(attention, SQUARE), agrees_with_bounds)
    assert (agrees_with_bounds <= 0).all()


def test_kerple_starts_uniform_below_2_and_below_1():
    torch.manual_seed(0)
    relation = build("kerple", 4000, 1000, grid=SQUARE).relation
    for parameter, most in ((relation.r.detach(), 2.0), (relation.s.detach(), 1.0)):
        assert 0 <= parameter.min() < 0.02 * most
        assert 0.98 * most < parameter.max() <= most
        assert abs(float(parameter.mean()) - most / 2) < 0.05 * most


def test_a_kernel_without_its_bounds_is_rejected(monkeypatch):
    monkeypatch.setattr(kerple, "_bounded", lambda parameter, most=None: parameter.abs())
    for spec in ("kerple", "kerple[kernel=power]"):
        with rejected():
            agrees_with_equation(spec, SQUARE)


# FIRE.


def published_fire(relation, length, last_bias=0.0, threshold=0.0):
    """[H, i, j]: FIRE on a line, causal: the share of the farthest key that the query sees, at least `threshold`."""
    c = relation.c.abs()
    i = torch.arange(length, dtype=torch.float64)
    share = torch.log(c * (i[:, None] - i).abs() + 1) / (torch.log(c * i.clamp(min=threshold) + 1) + 1e-6)[:, None]
    return relation.mlp(share[..., None]).movedim(-1, 0) + last_bias


@pytest.mark.proof("FIRE on a line, at its last query", "fire")
@at("length", 2, 6, 15)
def test_on_a_line_the_last_query_sees_what_fire_gives_it(length):
    """There the farthest key of the grid is the farthest that the query sees; a last bias would be a constant."""
    attention = drawn("fire", (1, length))
    ours = geometry.to_pairs(bias_of(attention, (1, length)), (1, length))
    agree(ours[:, -1], published_fire(attention.relation, length)[:, -1])
    agree(
        ours[:, -1].softmax(-1),
        published_fire(attention.relation, length, last_bias=3.0, threshold=1)[:, -1].softmax(-1),
    )
    with rejected():
        agree(ours[:, 0], published_fire(attention.relation, length)[:, 0])


def test_fire_stretches_with_the_grid_and_never_leaves_0_to_1(monkeypatch):
    attention, shares = drawn("fire", SQUARE), []
    hook = attention.relation.mlp.register_forward_hook(lambda module, args, out: shares.append(args[0].detach()))
    for grid in (SQUARE, (2, 6), (30, 30), (1, 1)):
        bias_of(attention, grid)
    hook.remove()
    for share, grid in zip(shares, (SQUARE, (2, 6), (30, 30), (1, 1)), strict=True):
        assert share.min() == 0
        assert share.max() <= 1
        assert grid == (1, 1) or share.max() > 0.99999
    assert attention.resolution_rule() == "rescaled"


@pytest.mark.parametrize("wrong", ["linear distance", "without the share"])
def test_another_measure_is_rejected(wrong, monkeypatch):
    if wrong == "linear distance":
        monkeypatch.setattr(torch, "log1p", lambda x: x)
    else:
        monkeypatch.setattr(fire, "EPSILON", 1.0)
    with rejected():
        agrees_with_equation("fire", SQUARE)


def test_fire_starts_as_in_the_paper_and_has_no_last_bias():
    relation = build("fire", WIDTH, 4, grid=SQUARE).relation
    agree(relation.c, 0.1, 1e-6)
    assert [p.shape for p in relation.mlp.parameters()] == [(32, 1), (32,), (4, 32)]
    assert relation.mlp[0].weight.abs().max() <= 1
    assert relation.mlp[2].weight.abs().max() <= 32**-0.5


# A Gaussian.


def test_weights_are_multiplied_by_a_gaussian():
    """With equal content, the map is the normalised Gaussian of the offset."""
    attention = drawn("gaussian", WIDE)
    attention.qkv.weight.data[: 2 * WIDTH] = 0
    attention.qkv.bias.data[: 2 * WIDTH] = 0
    q, k, _ = attention.project(torch.randn(1, 15, WIDTH, dtype=torch.float64), WIDE)
    a, b = attention.relation.log_sigma.exp().T[:, :, None, None]
    dy, dx = geometry.to_pairs(geometry.offsets(WIDE, dtype=torch.float64), WIDE)
    bell = torch.exp(-(dy**2) / (2 * a**2)) * torch.exp(-(dx**2) / (2 * b**2))
    found = attention.weights(q, k, WIDE)[0]
    agree(found, bell / bell.sum(-1, keepdim=True))
    for wrong in (bell.sqrt(), bell.mT.flip(0), torch.exp(-(dy**2) / a**2 - dx**2 / b**2)):
        with rejected():
            agree(found, wrong / wrong.sum(-1, keepdim=True))


def test_a_gaussian_of_one_width_is_psa_without_its_linear_terms():
    attention, other = drawn("gaussian", WIDE), drawn("psa", WIDE)
    attention.relation.log_sigma.data = attention.relation.log_sigma[:, :1].expand(-1, 2).clone()
    other.relation.weight.data.zero_()
    other.relation.weight.data[:, 0] = -1 / (2 * attention.relation.log_sigma[:, 0].exp() ** 2)
    agree(bias_of(attention, WIDE), bias_of(other, WIDE))


@at("sigma", 0.5, 2.0)
def test_heads_start_at_widths_from_half_of_sigma_to_its_double(sigma):
    widths = build(f"gaussian[sigma={sigma}]", WIDTH, 4, grid=WIDE).relation.log_sigma.exp()
    agree(widths, [[sigma * 2 ** (2 * head / 3 - 1)] * 2 for head in range(4)], 1e-6)
    one = build(f"gaussian[sigma={sigma}]", WIDTH, 1, grid=WIDE)
    agree(one.relation.log_sigma.exp(), [[sigma] * 2], 1e-6)
    assert one.no_weight_decay() == {"relation.log_sigma"}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("gaussian[sigma=0]", "has no width"),
        ("gaussian[sigma=1e-30]", "has no width"),
        ("gaussian[sigma=1e999]", "has no width"),
        ("gaussian[sigma=-1.0]", "sigma is a number of patches from 0.001"),
        ("fire[hidden=4]", "hidden is a whole number from 8"),
        ("kerple[kernel=linear]", "kernel is log or power"),
    ],
)
def test_what_they_refuse_is_a_sentence(spec, says):
    with pytest.raises(ValueError, match=says):
        build(spec, WIDTH, 4, grid=WIDE)


def test_no_bias_is_infinite_on_one_patch():
    for spec in ("kerple", "kerple[kernel=power]", "fire", "gaussian"):
        assert all(math.isfinite(value) for value in bias_of(drawn(spec, (1, 1)), (1, 1)).flatten().tolist())
