"""Composition, neutral prefix tokens, and the terms that are kept in inference."""

import pytest
import torch

from variants import SpatialRelation, backends, build, register
from variants.relation import Composed, Site


class Constant(SpatialRelation):
    """Every term at once, so that composition can be read off."""

    def __init__(self, site, factor=1.0):
        super().__init__(site)
        self.factor = factor

    def prior(self, offsets):
        return torch.full((1, *offsets.shape[1:]), self.factor)

    def bias(self, offsets):
        return self.factor * offsets[:1]

    def keys(self, offsets):
        return torch.full((1, self.site.head_dim, *offsets.shape[1:]), self.factor)

    def groups(self, grid):
        return (torch.arange(grid[0] * grid[1]) // int(self.factor))[None]


def terms(relation, grid=(3, 5)):
    return relation.terms(grid, torch.device("cpu"), torch.float32)


def test_composition_multiplies_priors_adds_the_rest_and_pairs_groups():
    site = Site(num_heads=2, head_dim=8, grid=(3, 5))
    both = terms(Constant(site, 2.0) + Constant(site, 3.0))
    assert [float(t[0, 0, 0]) for t in both.prior] == [2.0, 3.0]
    assert len(both.bias) == len(both.keys) == 2
    token = torch.arange(15)
    same = (token[:, None] // 2 == token // 2) & (token[:, None] // 3 == token // 3)
    assert torch.equal(both.mask()[0], same)


def test_sums_of_sums_are_flat_and_masks_intersect():
    site = Site(2, 8, (3, 5))
    nested = Constant(site) + (Constant(site) + Constant(site))
    assert isinstance(nested, Composed)
    assert len(nested.parts) == 3
    narrow = build("window[width=1,height=9]+window[width=9,height=0]", 16, 2, grid=(3, 5)).relation
    box = build("window[width=1,height=0]", 16, 2, grid=(3, 5)).relation
    assert torch.equal(terms(narrow).mask(), terms(box).mask())


def test_a_row_is_never_empty_even_where_the_box_leaves_the_grid():
    far = terms(build("window[width=0,height=0,dy=9]", 16, 2, grid=(3, 5)).relation).mask()
    assert torch.equal(far[0], torch.eye(15, dtype=torch.bool))


@pytest.mark.parametrize("spec", ["sp_sa", "psa", "rpe_1d", "rpe_2d", "swin[window=2]", "cswin", "window", "psa+swin"])
def test_pairs_with_a_prefix_token_are_neutral(spec):
    """Rows and columns of the class token see plain content, unmasked: removing the relation does not change them."""
    torch.manual_seed(0)
    attention = build(spec, 64, 4, grid=(3, 5), layer=1).double()
    for parameter in attention.relation.parameters():
        torch.nn.init.normal_(parameter)
    q, k = torch.randn(2, 2, 4, 16, 16, dtype=torch.float64)
    plain = q @ k.transpose(-2, -1) / 4
    found = backends.eager.logits(q, k, attention.terms(q, (3, 5)))
    torch.testing.assert_close(found[..., 0, :], plain[..., 0, :])
    torch.testing.assert_close(found[..., :, 0], plain[..., :, 0])
    assert not torch.allclose(found[..., 1:, 1:], plain[..., 1:, 1:])


def test_too_few_tokens_for_the_grid_is_a_sentence():
    with pytest.raises(ValueError, match="8 tokens are too few for a 3x5 grid"):
        build("sa", 64, 4, grid=(3, 5))(torch.randn(1, 8, 64), (3, 5))


@pytest.mark.parametrize("change", ["optimizer", "fused", "load", "double", "in place"])
def test_evaluation_follows_every_change_of_a_weight(change):
    torch.manual_seed(0)
    attention = build("sp_sa", 64, 4, grid=(4, 4)).eval()
    x = torch.randn(2, 16, 64)
    with torch.no_grad():
        before = attention(x, (4, 4))
    if change in ("optimizer", "fused"):
        opt = torch.optim.AdamW(attention.relation.parameters(), lr=1.0, fused=change == "fused")
        attention(x, (4, 4)).square().sum().backward()
        with torch.no_grad():
            attention(x, (4, 4))
        opt.step()
    elif change == "load":
        state = {k: v + 1 for k, v in attention.relation.state_dict().items()}
        attention.relation.load_state_dict(state)
    elif change == "double":
        attention, x = attention.double(), x.double()
        attention.relation.function.b2.data += 1
    else:
        with torch.no_grad():
            attention.relation.function.b2.add_(1)
    with torch.no_grad():
        after = attention(x, (4, 4))
        fresh = build("sp_sa", 64, 4, grid=(4, 4)).to(x.dtype)
        fresh.load_state_dict(attention.state_dict())
        assert torch.equal(after, fresh(x, (4, 4)))
    assert not torch.allclose(before.to(after.dtype), after)


def test_relations_compute_in_float32_under_autocast():
    seen = []

    class Probe(SpatialRelation):
        def bias(self, offsets):
            seen.append((offsets @ offsets.mT).dtype)
            return offsets[:1]

    register("probe_for_test")(Probe)
    attention = build("probe_for_test", 64, 4, grid=(4, 4))
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(torch.randn(2, 16, 64), (4, 4))
    assert seen == [torch.float32]
    assert out.dtype == torch.bfloat16
