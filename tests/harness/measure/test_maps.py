"""Maps of attentions: each kind is what the relation is, and a planted peak lands on its offset."""

import torch

from harness.measure import attention as attention_of
from harness.measure import maps
from harness.measure.tables import spread, tables
from harness.results import maps as offsets
from variants import build


def head_of(attention, grid, n=4, prefix=0):
    head = attention_of.Head(grid)
    with torch.no_grad():
        x = torch.randn(n, prefix + grid[0] * grid[1], attention.qkv.in_features)
        attention_of.take_down(attention.eval(), x, grid, head)
    return head


def test_the_tables_are_the_relations_own_and_only_those_there_are():
    grid = (3, 5)
    for spec, kinds in {
        "sa": set(), "sp_sa": {"prior"}, "rel_bias+sp_sa": {"prior", "bias"}, "rpe_2d": {"keys"}, "swin": {"kept"},
        "gpsa": {"position", "gate"}, "lookhere": {"bias", "kept"},
    }.items():  # fmt: skip
        attention = build(spec, 32, 4, grid=grid)
        found = maps.maps(attention, grid, head_of(attention, grid))
        assert set(found) - {"attention"} == kinds, spec
        assert all(found[kind].shape[-2:] == (5, 9) for kind in set(found) - {"gate"})


def test_sums_are_multiplied_and_added_and_short_axes_spread():
    attention = build("sp_sa+sp_sa[form=linear]", 32, 4, grid=(3, 3))
    with torch.no_grad():
        attention.relation.parts[0].function.b2.fill_(2.0)
        attention.relation.parts[1].function.b.fill_(3.0)
    assert tables(attention, (3, 3))["prior"].unique().tolist() == [6.0]
    rows = torch.arange(5.0).view(1, 5, 1)
    assert torch.equal(spread(rows, (3, 4)), rows.expand(1, 5, 7))


def test_keys_are_what_they_add_to_the_logits_on_average():
    grid = (3, 4)
    attention = build("rpe_2d", 32, 4, grid=grid).eval()
    head = head_of(attention, grid, prefix=1)
    terms = attention.terms(attention.qkv.weight, grid)
    found = maps.met(terms, head)
    (table,) = terms.keys
    q = head.means["query"]
    for dy, dx in ((0, 0), (-2, 3), (1, -1)):
        whole = spread(table, grid).double().detach().expand(4, -1, -1, -1)[..., dy + 2, dx + 3]
        assert torch.allclose(found[:, dy + 2, dx + 3], (q * whole).sum(1) / 8**0.5)
    assert not torch.allclose(found, found.flip(-1), atol=1e-4)


def test_the_mask_is_that_of_the_middle_patch():
    attention = build("window[height=1,width=0]", 32, 4, grid=(4, 5))
    kept = maps.maps(attention, (4, 5), head_of(attention, (4, 5)))["kept"]
    assert kept.shape == (1, 7, 9)
    y, x = torch.nonzero(kept[0] == 1, as_tuple=True)
    assert set(zip((y - 3).tolist(), (x - 4).tolist(), strict=True)) == {(-1, 0), (0, 0), (1, 0)}
    assert int((~kept.isnan()).sum()) == 20  # the keys of one patch


def test_a_planted_one_offset_peak_lands_on_that_offset():
    """Weights planted so that each head adds 5 nats at one offset: bias, and attention in the real forward."""
    grid, where = (5, 5), [(0, 1), (-1, 0), (2, -2), (1, 1)]
    attention = build("rel_bias", 32, 4, grid=grid).eval()
    with torch.no_grad():
        attention.relation.tables[0].zero_()
        for head, (dy, dx) in enumerate(where):
            attention.relation.tables[0][head, dy + 4, dx + 4] = 5.0
    found = maps.maps(attention, grid, head_of(attention, grid))
    for kind in ("bias", "attention"):
        assert offsets.peaks(found[kind].numpy()).tolist() == [list(place) for place in where], kind
    assert offsets.peaks(found["bias"].flip(-2, -1).numpy()).tolist() != [list(place) for place in where]  # query - key


def test_facts_hold_by_head_and_say_who_is_neutral():
    planted = {"prior": torch.ones(2, 5, 5), "gate": torch.tensor([0.25, 0.75])}
    planted["prior"][1, 2, 4] = -0.5
    found = {fact["metric"]: fact for fact in maps.said(planted)}
    assert (found["prior_min"]["value"], found["prior_min"]["samples"]) == (-0.5, [1.0, -0.5])
    assert found["prior_max"]["value"] == 1.0
    assert (found["prior_radius"]["value"], found["prior_radius"]["samples"]) == (2.0, [2.0])
    assert found["prior_radius"]["note"] == "of heads 2; the others are neutral"
    assert found["gate"]["samples"] == [0.25, 0.75]
    assert "prior_complementarity" not in found  # a constant has no correlation
    assert not [fact for fact in maps.said({"prior": torch.ones(2, 5, 5)}) if fact["metric"] == "prior_radius"]
