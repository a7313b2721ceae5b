"""sp_sa: Omega_h(Delta) <q_i, k_j> / sqrt(D), against loops that run the two-layer MLP on every pair."""

import pytest
import torch

from variants import backends, build, geometry, sp_sa

from . import oracles
from .agreement import SQUARE, WIDE, agree, agrees_with_equation, at, drawn, equations, on, rejected, tokens

SPECS = [
    "sp_sa", "sp_sa[hidden=1]", "sp_sa[hidden=7]", "sp_sa[form=linear]", "sp_sa[form=table]",
    "sp_sa[hidden=4,scope=layer]", "sp_sa[hidden=4,scope=network]", "sp_sa[form=table,scope=layer]",
    "sp_sa[form=linear,scope=network]", "sp_sa[combine=add,hidden=4]", "sp_sa[combine=add,form=linear]",
    "sp_sa[combine=add,form=table]", "sp_sa[combine=add,hidden=4,scope=layer]",
]  # fmt: skip


@pytest.mark.proof("the equation by loops", "sp_sa")
@at("prefix", 0, 1)
@on(SQUARE, WIDE)
@pytest.mark.parametrize("spec", SPECS)
def test_sp_sa_is_the_equation(spec, grid, prefix):
    agrees_with_equation(spec, grid, prefix)


@pytest.mark.parametrize("spec", ["sp_sa[hidden=4]", "sp_sa[form=linear]", "sp_sa[combine=add,hidden=4,scope=layer]"])
@on((5, 6), (2, 3))
def test_at_another_resolution_only_the_offsets_are_new(spec, grid):
    agrees_with_equation(spec, grid, 1, trained_at=SQUARE)


def omega_agrees_on_every_pair(grid, hidden=8):
    """The table on the (2h-1)(2w-1) offsets, spread to pairs, against W1 on each of the N^2 pairs."""
    attention = drawn(f"sp_sa[hidden={hidden}]", grid)
    (equation,) = equations(attention, f"sp_sa[hidden={hidden}]", grid)
    terms = attention.relation.terms(grid, torch.device("cpu"), torch.float64)
    assert terms.prior[0].shape == (4, 2 * grid[0] - 1, 2 * grid[1] - 1)
    pairs = [oracles.every_pair(grid, lambda dy, dx, h=h: equation.omega(h, dy, dx)) for h in range(4)]
    agree(geometry.to_pairs(terms.prior[0], grid), pairs)


@pytest.mark.proof("Omega on every pair", "sp_sa")
@on(SQUARE, WIDE, (1, 6), (6, 2))
def test_omega_on_the_offsets_is_omega_on_every_pair(grid):
    omega_agrees_on_every_pair(grid)


def _without_relu(self, offsets):
    first = torch.einsum("hmc,cyx->hmyx", self.w1, offsets) + self.b1[..., None, None]
    return torch.einsum("hm,hmyx->hyx", self.w2, first) + self.b2[:, None, None]


def _other_heads(self, offsets):
    first = (torch.einsum("hmc,cyx->hmyx", self.w1, offsets) + self.b1[..., None, None]).relu()
    return torch.einsum("hm,hmyx->hyx", self.w2.roll(1, 0), first) + self.b2[:, None, None]


def _without_first_bias(self, offsets):
    first = torch.einsum("hmc,cyx->hmyx", self.w1, offsets).relu()
    return torch.einsum("hm,hmyx->hyx", self.w2, first) + self.b2[:, None, None]


def _without_last_bias(self, offsets):
    first = (torch.einsum("hmc,cyx->hmyx", self.w1, offsets) + self.b1[..., None, None]).relu()
    return torch.einsum("hm,hmyx->hyx", self.w2, first)


@pytest.mark.parametrize(
    "forward",
    [_without_relu, _other_heads, _without_first_bias, _without_last_bias],
    ids=["no ReLU", "another head's hidden units", "b1 forgotten", "b2 forgotten"],
)
def test_omega_by_a_wrong_network_is_rejected(forward, monkeypatch):
    monkeypatch.setattr(sp_sa.MLP, "forward", forward)
    with rejected():
        omega_agrees_on_every_pair(WIDE)
    with rejected():
        agrees_with_equation("sp_sa[hidden=4]", WIDE)


def test_omega_added_instead_of_multiplied_is_rejected(monkeypatch):
    monkeypatch.setattr(sp_sa.SPSA, "prior", lambda self, offsets: None)
    monkeypatch.setattr(sp_sa.SPSA, "bias", lambda self, offsets: self.function(offsets))
    with rejected():
        agrees_with_equation("sp_sa[hidden=4]", WIDE)


def test_omega_after_the_softmax_is_rejected(monkeypatch):
    def after(q, k, v, terms):
        plain = backends.eager.logits(q, k, type(terms)(terms.grid)).softmax(dim=-1)
        weights = plain * geometry.to_pairs(terms.prior[0], terms.grid)
        return backends.eager.apply(weights / weights.sum(-1, keepdim=True), v, terms)

    monkeypatch.setitem(backends.BACKENDS, "eager", after)
    with rejected():
        agrees_with_equation("sp_sa[hidden=4]", WIDE)


@pytest.mark.parametrize("spec", SPECS)
@at("prefix", 0, 1)
def test_at_initialisation_it_is_sa_with_the_same_seed(spec, prefix):
    layers = []
    for name in (spec, "sa"):
        torch.manual_seed(3)
        layers.append(build(name, 64, 4, grid=WIDE, layer=2, depth=6, backend="eager"))
    x = torch.randn(2, prefix + 15, 64)
    agree(layers[0](x, WIDE), layers[1](x, WIDE), tolerance=1e-6)
    relation = layers[0].relation
    terms = relation.terms(WIDE, torch.device("cpu"), torch.float32)
    neutral = terms.bias[0] == 0 if "combine=add" in spec else terms.prior[0] == 1
    assert neutral.all()  # Omega = 1 at every offset, exactly


def hidden_layer_waits_a_step(attention):
    """Asserts zero gradient in w1 and b1 at step 0, non-zero in w2 and b2; non-zero in all four at step 1."""
    x, target = tokens(SQUARE, width=64), tokens(SQUARE, width=64)
    optimizer = torch.optim.SGD(attention.parameters(), lr=0.1)
    function = attention.relation.function
    for step in range(2):
        optimizer.zero_grad()
        (attention(x, SQUARE) - target).square().sum().backward()
        moved = {name: bool(p.grad.abs().max() > 0) for name, p in function.named_parameters()}
        assert moved == {"w1": step > 0, "b1": step > 0, "w2": True, "b2": True}
        optimizer.step()


def _initial(grid=SQUARE, width=64, heads=4, spec="sp_sa"):
    return build(spec, width, heads, grid=grid, backend="eager").double()


def test_hidden_layer_has_zero_gradient_at_step_0_and_not_at_step_1():
    hidden_layer_waits_a_step(_initial())


def test_a_last_layer_that_does_not_start_at_zero_is_rejected():
    attention = _initial()
    torch.nn.init.trunc_normal_(attention.relation.function.w2, std=0.02)
    with pytest.raises(AssertionError, match="w1"):
        hidden_layer_waits_a_step(attention)


@pytest.mark.parametrize(("width", "heads"), [(384, 6), (512, 8), (768, 12), (192, 3)])
def test_it_has_4C_plus_H_extra_parameters_a_layer_at_hidden_C_over_H(width, heads):
    """1,542 for SP-ViT-S, 2,056 for M, 3,084 for L."""
    count = [
        sum(p.numel() for p in build(spec, width, heads, grid=(14, 14)).parameters())
        for spec in (f"sp_sa[hidden={width // heads}]", "sa")
    ]
    assert count[0] - count[1] == 4 * width + heads
    published = {384: 1542, 512: 2056, 768: 3084}
    assert published.get(width, 4 * width + heads) == count[0] - count[1]


@at("scope", "head", "layer", "network")
def test_scope_says_who_shares_a_prior(scope):
    shared = {}
    first, second = (
        build(f"sp_sa[scope={scope}]", 16, 4, grid=SQUARE, layer=i, depth=2, shared=shared) for i in range(2)
    )
    w1 = first.relation.function.w1
    assert len(w1) == (4 if scope == "head" else 1)
    assert (second.relation.function.w1 is w1) == (scope == "network")


def test_the_hidden_layer_that_is_made_again_has_both_derivatives():
    shapes = ((2, 15), (3, 4, 2), (3, 4), (3, 4))  # offsets, w1, b1, w2
    drawn = [torch.randn(shape, dtype=torch.float64, requires_grad=i > 0) for i, shape in enumerate(shapes)]
    kept, again = sp_sa._two_layers(*drawn), sp_sa._TwoLayers.apply(*drawn)
    assert again.equal(kept)
    assert torch.autograd.gradcheck(sp_sa._TwoLayers.apply, drawn)
    assert torch.autograd.gradgradcheck(sp_sa._TwoLayers.apply, drawn)
