"""psa and gpsa: a quadratic form in the offset, added or gated, against loops and against timm's ConViT."""

import math

import pytest
import torch
from timm.models.convit import GPSA

from variants import Unsupported, backends, build, geometry, psa

from .agreement import SQUARE, WIDE, agree, agrees_with_equation, at, drawn, on, rejected, tokens

SIDE = 4


@pytest.mark.proof("the equation by loops", "{name}")
@at("prefix", 0, 1)
@on(SQUARE, WIDE)
@at("init", "local", "convit", "normal")
@pytest.mark.parametrize("name", ["psa", "gpsa"])
def test_psa_and_gpsa_are_the_equation(name, init, grid, prefix):
    agrees_with_equation(f"{name}[init={init}]", grid, prefix)


@pytest.mark.parametrize("name", ["psa", "gpsa"])
def test_at_another_resolution_only_the_offsets_are_new(name):
    agrees_with_equation(name, (5, 6), 1, trained_at=SQUARE)


def test_psa_and_gpsa_with_a_number_of_heads_that_is_no_square():
    for name in ("psa", "gpsa"):
        agrees_with_equation(f"{name}[init=normal]", WIDE, heads=2)


@at("prefix", 0, 1)
@pytest.mark.parametrize(
    "other", ["swin[window=2]", "window[width=1,height=2]", "rpe_2d[values=True]", "sp_sa[hidden=4]"]
)
def test_gpsa_with_another_relation_takes_its_terms_in_the_content_and_its_mask_in_both(other, prefix):
    agrees_with_equation(f"gpsa+{other}", WIDE, prefix, layer=1)
    agrees_with_equation(f"{other}+gpsa", WIDE, prefix, layer=1)


# timm's GPSA: square grids only; columns x, y, |Delta|^2; a bias in the form, which softmax ignores.


def twin(attention, grid):
    """timm's GPSA with the parameters of ours (gpsa, or psa without its gate)."""
    c, heads = attention.proj.in_features, attention.num_heads
    weight = attention.position.weight if hasattr(attention, "position") else attention.relation.weight
    other = GPSA(c, heads, qkv_bias=True).double().eval()
    with torch.no_grad():
        other.qk.weight.copy_(attention.qkv.weight[: 2 * c])
        other.qk.bias.copy_(attention.qkv.bias[: 2 * c])
        other.v.weight.copy_(attention.qkv.weight[2 * c :])
        other.v.bias.copy_(attention.qkv.bias[2 * c :])
        other.proj.load_state_dict(attention.proj.state_dict())
        other.pos_proj.weight.copy_(weight[:, [2, 1, 0]])
        other.pos_proj.bias.normal_()
        if hasattr(attention, "gate"):
            other.gating_param.copy_(attention.gate)
    other.rel_indices = other.get_rel_indices(grid[0] * grid[1])
    return other


def gpsa_agrees_with_timm(side=SIDE, heads=4, change=None):
    grid = (side, side)
    attention = drawn("gpsa[init=normal]", grid, heads=heads, width=36)
    other, x = twin(attention, grid), tokens(grid, width=36)
    if change:
        change(attention)
    q, k, _ = attention.project(x, grid)
    agree(attention.weights(q, k, grid), other.get_attention(x))
    agree(attention(x, grid), other(x))


@pytest.mark.proof("timm's convit.GPSA", "gpsa")
@at("heads", 1, 4, 9)
@at("side", 2, 3, 4)
def test_gpsa_is_timms_gpsa(side, heads):
    gpsa_agrees_with_timm(side, heads)


def psa_agrees_with_timm(change=None):
    """The positional logits, and softmax of their sum with the content."""
    grid = (SIDE, SIDE)
    attention = drawn("psa[init=normal]", grid)
    other, x = twin(attention, grid), tokens(grid)
    if change:
        change(attention)
    logits = other.pos_proj(other.rel_indices).permute(0, 3, 1, 2)
    terms = attention.relation.terms(grid, torch.device("cpu"), torch.float64)
    agree(geometry.to_pairs(*terms.bias, grid)[None], logits - other.pos_proj.bias[:, None, None])
    q, k, _ = attention.project(x, grid)
    content = q @ k.mT * other.scale
    agree(attention.weights(q, k, grid), (content + logits).softmax(-1))


@pytest.mark.proof("the position scores of timm's convit.GPSA", "psa")
def test_psa_logits_are_timms_gpsa_logits():
    psa_agrees_with_timm()


def _columns(order):
    def change(attention):
        relation = getattr(attention, "position", attention.relation)
        relation.weight.data = relation.weight.data[:, order]

    return change


def _minus(attention):
    relation = getattr(attention, "position", attention.relation)
    relation.weight.data[:, 1:] *= -1


def _heads(attention):
    relation = getattr(attention, "position", attention.relation)
    relation.weight.data = relation.weight.data.flip(0)


WRONG = {
    "columns x, y exchanged": _columns([0, 2, 1]),
    "columns in timm's order": _columns([2, 1, 0]),
    "query minus key": _minus,
    "heads in the other order": _heads,
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_timms_gpsa_rejects_a_wrong_form(change):
    with rejected():
        gpsa_agrees_with_timm(change=change)
    with rejected():
        psa_agrees_with_timm(change=change)


def _mixed(mix):
    def weights(self, q, k, grid):
        content = backends.eager.logits(q, k, self.terms(q, grid))
        return mix(self.gate[:, None, None], content, self.positional(q, grid))

    return weights


WRONG_MIXTURES = {
    "gate turned round": _mixed(lambda g, s, p: g.sigmoid() * s.softmax(-1) + (1 - g.sigmoid()) * p),
    "gate without sigmoid": _mixed(lambda g, s, p: (1 - g) * s.softmax(-1) + g * p),
    "position alone": _mixed(lambda g, s, p: p.expand_as(s)),
    "content alone": _mixed(lambda g, s, p: s.softmax(-1)),
    "one softmax of the mixed logits": _mixed(
        lambda g, s, p: ((1 - g.sigmoid()) * s + g.sigmoid() * p.log()).softmax(-1)
    ),
    "softmax over the queries": _mixed(lambda g, s, p: (1 - g.sigmoid()) * s.softmax(-2) + g.sigmoid() * p),
}  # fmt: skip


@pytest.mark.parametrize("weights", WRONG_MIXTURES.values(), ids=WRONG_MIXTURES)
def test_timms_gpsa_and_the_loops_reject_a_wrong_mixture(weights, monkeypatch):
    monkeypatch.setattr(psa.GPSA, "weights", weights)
    with rejected():
        gpsa_agrees_with_timm()
    with rejected():
        agrees_with_equation("gpsa", WIDE)


# The local initialisation.


def local_init_is_timms(heads, change=None):
    other = GPSA(heads * 4, heads)
    other.local_init()
    found = build("gpsa", heads * 4, heads, grid=SQUARE).position.weight
    agree(found if change is None else change(found), other.pos_proj.weight[:, [2, 1, 0]])


@at("heads", 1, 4, 9, 16)
def test_local_init_is_timms_in_every_head(heads):
    local_init_is_timms(heads)
    found = build("psa", heads * 4, heads, grid=SQUARE).relation.weight
    agree(found, build("gpsa", heads * 4, heads, grid=SQUARE).position.weight)


@at("heads", 4, 9, 16)
def test_local_init_with_the_head_order_or_the_sign_of_the_centre_wrong_is_rejected(heads):
    with rejected():
        local_init_is_timms(heads, lambda w: w[:, [0, 2, 1]])
    with rejected():
        local_init_is_timms(heads, lambda w: w * torch.tensor([1, -1, -1]))


@at("heads", 1, 4, 9)
def test_head_h1_plus_k_h2_peaks_at_offset_y_h1_x_h2_less_the_centre(heads):
    """-(|delta|^2 - 2 centre . delta): peaks on the 3x3 neighbours for 9 heads, at (+-1/2, +-1/2) for 4."""
    kernel = math.isqrt(heads)
    relation = build("psa", heads * 4, heads, grid=(5, 7)).double().relation
    offsets = geometry.offsets((5, 7), dtype=torch.float64)
    bias = relation.bias(offsets)
    for h1 in range(kernel):
        for h2 in range(kernel):
            centre = torch.tensor([h1 - (kernel - 1) / 2, h2 - (kernel - 1) / 2], dtype=torch.float64)
            away = (offsets - centre[:, None, None]).square().sum(0)
            agree(bias[h1 + kernel * h2], centre.square().sum() - away)
            peaks = (bias[h1 + kernel * h2] == bias[h1 + kernel * h2].max()).nonzero() - torch.tensor([4, 6])
            assert torch.equal(peaks.double().mean(0), centre)


@pytest.mark.parametrize("name", ["psa", "gpsa"])
@at("heads", 2, 3, 6, 12)
def test_local_init_refuses_a_number_of_heads_that_is_no_square(name, heads):
    for init in ("local", "convit"):
        with pytest.raises(Unsupported, match="a square number of heads"):
            build(f"{name}[init={init}]", heads * 4, heads, grid=SQUARE)
    build(f"{name}[init=normal]", heads * 4, heads, grid=SQUARE)


@pytest.mark.parametrize("name", ["psa", "gpsa"])
def test_init_local_leaves_the_shared_weights_and_convit_sets_the_value_to_the_identity(name):
    layers = {}
    for spec in ("sa", f"{name}[init=local]", f"{name}[init=convit]"):
        torch.manual_seed(5)
        layers[spec] = build(spec, 16, 4, grid=SQUARE)
    plain, local, convit = layers.values()
    assert torch.equal(local.qkv.weight, plain.qkv.weight)
    assert torch.equal(convit.qkv.weight[:32], plain.qkv.weight[:32])
    assert torch.equal(convit.qkv.weight[32:], torch.eye(16))
    assert all(torch.equal(a.proj.weight, plain.proj.weight) for a in (local, convit))
    x = torch.randn(2, 16, 16)
    _, _, v = convit.project(x, SQUARE)
    agree(v.transpose(1, 2).flatten(2), x, tolerance=1e-6)


def test_gates_start_at_sigmoid_of_one_and_at_what_is_asked():
    assert build("gpsa", 16, 4, grid=SQUARE).gate.tolist() == [1.0] * 4
    assert build("gpsa[gate=-2.5]", 16, 4, grid=SQUARE).gate.tolist() == [-2.5] * 4
    assert math.isclose(build("gpsa", 16, 4, grid=SQUARE).gate.sigmoid()[0].item(), 0.731, abs_tol=5e-4)


def test_gpsa_has_4H_extra_parameters_a_layer():
    """3H of the form and H gates; ConViT's 5H counts the bias of the form, which softmax ignores."""
    count = [sum(p.numel() for p in build(s, 36, 9, grid=SQUARE).parameters()) for s in ("gpsa", "psa", "sa")]
    assert (count[0] - count[2], count[1] - count[2]) == (4 * 9, 3 * 9)
    other = GPSA(36, 9)
    assert other.pos_proj.weight.numel() + other.pos_proj.bias.numel() + other.gating_param.numel() == 5 * 9


def test_rows_of_gpsa_sum_to_one():
    attention, x = drawn("gpsa", WIDE), tokens(WIDE, 1)
    q, k, _ = attention.project(x, WIDE)
    sums = attention.weights(q, k, WIDE).sum(-1)
    agree(sums, torch.ones_like(sums))
