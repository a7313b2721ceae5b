"""t5: transformers' buckets at every step, its bias of a sequence; buckets that no step reaches; errors on purpose."""

import math

import pytest
import torch

from variants import build, geometry, t5
from variants.relation import Site

from .agreement import SQUARE, WIDE, WIDTH, agree, agrees_with_equation, at, drawn, on, rejected
from .biases import t5_bucket
from .initial import is_normal

SITE = Site(4, 6, SQUARE)
SETTINGS = [(32, 128), (32, 20), (8, 6), (16, 300), (4, 3)]


def _theirs():
    return pytest.importorskip("transformers.models.t5.modeling_t5", reason="transformers is not installed").T5Attention


def buckets_agree(buckets, most, signed, change=lambda n: n):
    steps = torch.arange(-2 * most, 2 * most + 1) if signed else torch.arange(2 * most + 1)
    ours = t5.Buckets(SITE, buckets, most, signed).of(change(steps).double())
    direction = 1 if signed else -1  # one-directional buckets count into the past
    theirs = _theirs()._relative_position_bucket(direction * steps, signed, num_buckets=buckets, max_distance=most)
    agree(ours, theirs)


@at("signed", True, False)
@pytest.mark.parametrize(("buckets", "most"), SETTINGS)
def test_buckets_equal_transformers_at_every_step(buckets, most, signed):
    buckets_agree(buckets, most, signed)


def test_transformers_buckets_reject_another_direction_and_another_step():
    for change in (lambda n: -n, lambda n: n + 1, lambda n: 2 * n):
        with rejected():
            buckets_agree(32, 128, True, change)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("buckets", "most"), SETTINGS)
def test_buckets_are_those_of_the_equation(buckets, most, signed):
    """In float64, where a step on a border may fall to the other side than in fp32; none does here."""
    steps = range(-most - 3 if signed else 0, most + 3)
    ours = t5.Buckets(SITE, buckets, most, signed).of(torch.tensor(steps, dtype=torch.float64))
    agree(ours, [t5_bucket(n, buckets, most, signed) for n in steps])


def test_the_published_buckets_of_twenty_steps():
    found = t5.Buckets(SITE, 32, 128, True).of(torch.arange(-20.0, 21))
    left = [10] * 5 + [9] * 4 + [8] * 4 + [7, 6, 5, 4, 3, 2, 1, 0]
    assert found.tolist() == left + [*range(17, 24)] + [24] * 4 + [25] * 4 + [26] * 5


def sequence_agrees(grid, change=lambda pairs: pairs):
    """The whole bias of a sequence by T5Attention, from our table; its bucket "0 to the right" has no entry here."""
    config = pytest.importorskip("transformers", reason="transformers is not installed").T5Config(
        d_model=24, num_heads=4, d_kv=6
    )
    theirs = _theirs()(config, has_relative_attention_bias=True).double()
    attention = drawn("t5", grid)
    table = attention.relation.tables[0].table.detach()
    weight = torch.full((32, 4), torch.nan, dtype=torch.float64)
    weight[[n for n in range(32) if n != 16]] = table.T
    theirs.relative_attention_bias.weight.data = weight
    n = grid[0] * grid[1]
    terms = attention.terms(torch.zeros(1, 1, 1, dtype=torch.float64), grid)
    agree(change(geometry.to_pairs(terms.bias[0], grid)), theirs.compute_bias(n, n)[0])


@pytest.mark.proof("transformers' T5Attention", "t5")
@on(SQUARE, WIDE, (6, 2), (12, 14))
def test_the_bias_of_the_sequence_equals_transformers(grid):
    sequence_agrees(grid)


def test_transformers_rejects_queries_and_keys_exchanged_and_heads_rolled():
    with rejected():
        sequence_agrees(WIDE, lambda pairs: pairs.mT)
    with rejected():
        sequence_agrees(WIDE, lambda pairs: pairs.roll(1, 0))


WRONG = {
    "the other direction": lambda of: lambda self, step: of(self, -step),
    "one step on": lambda of: lambda self, step: of(self, step + 1),
    "no direction": lambda of: lambda self, step: of(self, -step.abs()),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("spec", ["t5", "t5[axes=both]"])
def test_other_buckets_are_rejected(spec, wrong, monkeypatch):
    attention = drawn(spec, SQUARE)
    monkeypatch.setattr(t5.Buckets, "of", wrong(t5.Buckets.of))
    terms = attention.terms(torch.zeros(1, 1, 1, dtype=torch.float64), SQUARE)
    monkeypatch.undo()
    expected = attention.terms(torch.zeros(1, 1, 1, dtype=torch.float64), SQUARE)
    with rejected():
        agree(sum(terms.bias), sum(expected.bias))


# Which entries there are.


@pytest.mark.parametrize(
    ("spec", "entries"),
    [
        ("t5", [31]),
        ("t5[max_distance=20]", [31]),
        ("t5[axes=both]", [31, 31]),
        ("t5[axes=euclidean]", [32]),
        ("t5[axes=euclidean,max_distance=20000]", [32]),
        ("t5[buckets=8,max_distance=6]", [7]),
    ],
)
def test_each_bucket_that_some_step_reaches_has_an_entry_and_no_other(spec, entries):
    relation = build(spec, WIDTH, 4, grid=(14, 14)).relation
    assert [list(table.table.shape) for table in relation.tables] == [[4, n] for n in entries]


@pytest.mark.parametrize(("buckets", "most"), SETTINGS)
def test_buckets_of_distances_have_an_entry_where_some_distance_of_the_plane_lies_in_them(buckets, most):
    distances = {math.hypot(a, b) for a in range(most + 1) for b in range(most + 1)}
    reached = {t5_bucket(distance, buckets, most, False) for distance in distances}
    assert t5.Buckets(SITE, buckets, most, False).table.shape == (4, len(reached))
    if (buckets, most) == (32, 20):  # sixteen buckets between 16 and 20, more than whole numbers
        assert len({t5_bucket(n, buckets, most, False) for n in range(most + 1)}) < len(reached)


def test_tables_start_normal_with_the_root_of_the_width_and_do_not_decay():
    torch.manual_seed(11)
    attention = build("t5[buckets=256,max_distance=1000]", 1024, 16, grid=(14, 14))
    is_normal(attention.relation.tables[0].table, 1 / 32)
    assert attention.no_weight_decay() == {"relation.tables.0.table"}


def test_with_scope_network_all_layers_have_one_table_and_else_each_its_own():
    for scope, one in (("network", True), ("layer", False)):
        shared = {}
        first, second = (
            build(f"t5[scope={scope}]", WIDTH, 4, grid=SQUARE, layer=n, depth=2, shared=shared).relation for n in (0, 1)
        )
        assert (first.tables is second.tables) is one
    other = build("t5[axes=both,scope=network]", WIDTH, 4, grid=SQUARE, shared=shared).relation
    assert len(other.tables) == 2


@at("grid", (2, 6), (7, 7))
@pytest.mark.parametrize("spec", ["t5", "t5[axes=both]", "t5[axes=euclidean]"])
def test_at_another_resolution_it_is_the_equation(spec, grid):
    agrees_with_equation(spec, grid, trained_at=WIDE)


@pytest.mark.parametrize("spec", ["t5[max_distance=1000]", "t5[axes=euclidean]"])
def test_in_a_model_of_bfloat16_each_step_has_its_own_bucket_still(spec):
    relation = build(spec, WIDTH, 4, grid=(20, 31)).relation.bfloat16()
    offsets = geometry.offsets((20, 31))
    assert relation.bias(offsets.bfloat16()).equal(relation.bias(offsets))


def test_offsets_of_an_axis_share_the_last_bucket_from_max_distance_on():
    attention = drawn("t5[axes=both,max_distance=12]", SQUARE)
    (down, _) = attention.relation.bias(geometry.offsets((20, 3), dtype=torch.float64))
    assert torch.equal(down[:, -1], down[:, 19 + 12])
    assert not torch.equal(down[:, 19 + 12], down[:, 19 + 8])


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("t5[buckets=7]", "choose 4 buckets or more"),
        ("t5[axes=both,buckets=2]", "choose 4 buckets or more"),
        (
            "t5[max_distance=8]",
            "ends before its first logarithmic bucket; max_distance is auto or a whole number from 9",
        ),
        ("t5[axes=euclidean,buckets=5,max_distance=2]", "a whole number from 3"),
        ("t5[axes=rows]", "axes is flattened or both or euclidean"),
    ],
)
def test_what_it_refuses_is_a_sentence(spec, says):
    with pytest.raises(ValueError, match=says):
        build(spec, WIDTH, 4, grid=WIDE)
