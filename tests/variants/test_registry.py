"""Specs: canonical forms, and one sentence for each way to be wrong."""

import pytest
import torch

from variants import Attention, SpatialRelation, build, canonical, families, names, register, registry
from variants.registry import expand, family_of


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("sp_sa", "sp_sa"),
        ("sp_sa[]", "sp_sa"),
        (" sp_sa[scope=layer, hidden=16] ", "sp_sa[hidden=16,scope=layer]"),
        ("sp_sa[hidden=32,form=mlp]", "sp_sa"),
        ("swin+rpe_2d[mode=bias,extent=7]", "swin+rpe_2d[extent=7,mode=bias]"),
        ("gpsa[gate=2]", "gpsa[gate=2.0]"),
        ("gpsa[gate=1]", "gpsa"),
        ("swin[window=auto]", "swin"),
        ("rpe_2d[factorized=True]", "rpe_2d[factorized=True]"),
    ],
)
def test_canonical_form(spec, expected):
    assert canonical(spec) == expected
    assert canonical(expected) == expected


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("spsa", "did you mean 'sp_sa'.*There are sa, sp_sa"),
        ("", "there is no variant ''; there are sa, sp_sa"),
        ("sp_sa[depth=3]", "no setting 'depth'; it has hidden"),
        ("sp_sa[scope=model]", "scope is head or layer or network"),
        ("sp_sa[hidden=big]", "hidden is a whole number"),
        ("sp_sa[hidden=True]", "hidden is a whole number"),
        ("sp_sa[hidden]", "is no setting"),
        ("sp_sa[hidden=8,hidden=9]", "gives 'hidden' twice"),
        ("sp_sa[hidden=16", "opens a bracket and does not close"),
        ("sp_sa]", "closes a bracket"),
        ("sp_sa[hidden=16]x", "goes on after its bracket"),
        ("sa+rpe", "'rpe' is a family and cannot stand inside the sum"),
        ("rpe[mode=bias]", "'rpe' is a family and takes no settings"),
        ("gpsa+gpsa", "each are a whole attention"),
        ("sp_sa[hidden=__import__('os')]", "hidden is a whole number"),
    ],
)
def test_each_mistake_is_a_sentence(spec, says):
    with pytest.raises(ValueError, match=says):
        canonical(spec)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("sp_sa[hidden=0]", "hidden is a whole number from 1"),
        ("sp_sa[form=table,hidden=8]", "has no hidden layer"),
        ("rpe_2d[extent=0]", "covers no offset"),
        ("swin[window=0]", "holds no patch"),
        ("cswin[stripe=-1]", "holds no patch"),
        ("window[width=-1]", "is no box"),
    ],
)
def test_values_out_of_range_are_a_sentence(spec, says):
    with pytest.raises(ValueError, match=says):
        build(spec, 64, 4, grid=(4, 4))


def test_the_list_expands_families_once_and_remembers_what_was_asked_for_by_name():
    assert expand("rpe,rpe_2d,sp_sa") == [("rpe_1d", False), ("rpe_2d", True), ("sp_sa", True)]
    assert [spec for spec, _ in expand("sp_sa[hidden=16,scope=layer],psa")] == ["sp_sa[hidden=16,scope=layer]", "psa"]
    with pytest.raises(ValueError, match="empty place"):
        expand("")


def test_families():
    assert families()["rpe"] == ["rpe_1d", "rpe_2d"]
    assert families()["windows"] == ["swin", "cswin"]
    assert families()["paper"] == ["sa", "sp_sa", "psa", "gpsa", "rpe_1d", "rpe_2d", "swin", "cswin", "window"]
    assert families()["all"] == names()
    assert (family_of("sp_sa[hidden=8]"), family_of("sp_sa+swin")) == ("priors", "hybrid")


def test_a_taken_name_says_who_has_it():
    with pytest.raises(ValueError, match=r"'psa' is taken by variants\.psa\.PSA"):
        register("psa")(SpatialRelation)
    with pytest.raises(ValueError, match="cannot name both"):
        register("rpe")(SpatialRelation)
    with pytest.raises(ValueError, match="no name for a variant"):
        register("My-Variant")(SpatialRelation)
    with pytest.raises(ValueError, match="no subclass of SpatialRelation or Attention"):
        register("a_module_for_test")(torch.nn.Linear)


@pytest.mark.parametrize("spec", ["sp_sa", "psa", "gpsa", "rpe_2d", "swin+sp_sa", "gpsa+window"])
def test_one_seed_gives_the_same_shared_weights_and_leaves_the_same_stream(spec):
    def built(name):
        torch.manual_seed(3)
        attention = build(name, 64, 4, grid=(3, 5), layer=1)
        return attention, torch.rand(())

    (plain, after_plain), (variant, after_variant) = built("sa"), built(spec)
    assert torch.equal(plain.qkv.weight, variant.qkv.weight)
    assert torch.equal(plain.proj.weight, variant.proj.weight)
    assert after_plain == after_variant


def test_layers_and_seeds_draw_their_own_relation_weights():
    def table(seed, layer):
        torch.manual_seed(seed)
        return build("rpe_2d", 64, 4, grid=(4, 4), layer=layer).relation.tables[0]

    assert torch.equal(table(0, 0), table(0, 0))
    assert not torch.equal(table(0, 0), table(0, 1))
    assert not torch.equal(table(0, 0), table(1, 0))


def test_convit_initialisation_gives_up_pairing_of_v_alone():
    torch.manual_seed(0)
    plain = build("sa", 64, 4, grid=(4, 4))
    torch.manual_seed(0)
    convit = build("gpsa[init=convit]", 64, 4, grid=(4, 4))
    assert torch.equal(convit.qkv.weight[:128], plain.qkv.weight[:128])
    assert torch.equal(convit.qkv.weight[128:], torch.eye(64))


def test_scope_network_shares_one_prior_between_layers():
    shared = {}
    first, second = (build("sp_sa[scope=network]", 64, 4, grid=(4, 4), layer=i, shared=shared) for i in range(2))
    assert first.relation.function is second.relation.function
    other = build("sp_sa[scope=network]", 64, 4, grid=(4, 4))
    assert other.relation.function is not first.relation.function


def test_build_refuses_heads_that_do_not_divide_the_width_and_an_unknown_backend():
    with pytest.raises(ValueError, match="cannot be shared by 5 heads"):
        build("sa", 64, 5, grid=(4, 4))
    with pytest.raises(ValueError, match="no backend 'fast'; choose auto, eager, sdpa"):
        build("sa", 64, 4, grid=(4, 4), backend="fast")
    with pytest.raises(ValueError, match="square number of heads, not 6"):
        build("psa", 96, 6, grid=(4, 4))


def test_an_attention_of_ones_own_gets_the_shared_weights(monkeypatch):
    for name in ("_classes", "_families", "_home"):  # which other tests read
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))

    class Doubled(Attention):
        def __init__(self, *parts, factor: float = 2.0, backend: str = "auto"):
            super().__init__(*parts, backend=backend)
            self.factor = factor

        def attend(self, q, k, v, grid):
            return self.factor * super().attend(q, k, v, grid)

    register("doubled_for_test")(Doubled)
    torch.manual_seed(0)
    plain = build("sa", 64, 4, grid=(4, 4))
    torch.manual_seed(0)
    doubled = build("doubled_for_test[factor=3]+rpe_2d", 64, 4, grid=(4, 4))
    assert torch.equal(plain.qkv.weight, doubled.qkv.weight)
    assert doubled.factor == 3.0
    assert "keys" in doubled.relation.terms((4, 4), torch.device("cpu"), torch.float32).present
