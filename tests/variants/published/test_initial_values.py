"""Initial values as published: distributions, zeros and ones."""

import pytest
import torch

from variants import build

from .agreement import at
from .initial import is_normal, layer

GRID = (14, 14)


NORMAL = {
    "sa: qkv.weight": ("sa", lambda a: a.qkv.weight),
    "sa: proj.weight": ("sa", lambda a: a.proj.weight),
    "sp_sa: W1": ("sp_sa[hidden=128]", lambda a: a.relation.function.w1),
    "sp_sa, added: W1": ("sp_sa[combine=add,hidden=128]", lambda a: a.relation.function.w1),
    "rpe_1d: table": ("rpe_1d", lambda a: a.relation.table),
    "rpe_1d, bias: table": ("rpe_1d[mode=bias]", lambda a: a.relation.table),
    "rpe_1d: value_table": ("rpe_1d[values=True]", lambda a: a.relation.value_table),
    "rpe_2d: table": ("rpe_2d", lambda a: a.relation.tables[0]),
    "rpe_2d, bias: table": ("rpe_2d[mode=bias]", lambda a: a.relation.tables[0]),
    "rpe_2d, bias, extent 7: table": ("rpe_2d[extent=7,mode=bias]", lambda a: a.relation.tables[0]),
    "rpe_2d, factorized: rows": ("rpe_2d[factorized=True]", lambda a: a.relation.tables[0]),
    "rpe_2d, factorized: columns": ("rpe_2d[factorized=True]", lambda a: a.relation.tables[1]),
    "position_only: table": ("position_only", lambda a: a.relation.parts[0].tables[0]),
    "rpe_2d: value_tables": ("rpe_2d[values=True]", lambda a: a.relation.value_tables[0]),
}


@pytest.mark.parametrize(("spec", "parameter"), NORMAL.values(), ids=NORMAL)
def test_weights_and_tables_start_normal_with_standard_deviation_002(spec, parameter):
    """trunc_normal_ cuts at +-2, which is 100 standard deviations."""
    is_normal(parameter(layer(spec)), 0.02)


def test_psa_and_gpsa_without_local_init_start_normal_with_standard_deviation_002():
    is_normal(layer("psa[init=normal]", 512, 256).relation.weight, 0.02)
    is_normal(layer("gpsa[init=normal]", 512, 256).position.weight, 0.02)


@pytest.mark.parametrize("wrong", [0.01, 0.03, 64**-0.5, 1.0])
def test_another_standard_deviation_is_rejected(wrong):
    with pytest.raises(AssertionError, match="not normal"):
        is_normal(torch.nn.init.trunc_normal_(torch.empty(4000), std=wrong), 0.02)


def test_two_tables_of_one_layer_and_two_layers_are_drawn_apart():
    first = build("rpe_2d[factorized=True,values=True]", 64, 4, grid=GRID)
    second = build("rpe_2d[factorized=True,values=True]", 64, 4, grid=GRID, layer=1)
    rows, columns = first.relation.tables
    assert not torch.equal(rows.flatten(), columns.flatten())
    assert not torch.equal(rows, first.relation.value_tables[0])
    assert not torch.equal(rows, second.relation.tables[0])


CONSTANT = {
    "sa: qkv.bias = 0": ("sa", lambda a: a.qkv.bias, 0.0),
    "sa: proj.bias = 0": ("sa", lambda a: a.proj.bias, 0.0),
    "sp_sa: b1 = 0": ("sp_sa", lambda a: a.relation.function.b1, 0.0),
    "sp_sa: w2 = 0": ("sp_sa", lambda a: a.relation.function.w2, 0.0),
    "sp_sa: b2 = 1": ("sp_sa", lambda a: a.relation.function.b2, 1.0),
    "sp_sa, added: w2 = 0": ("sp_sa[combine=add]", lambda a: a.relation.function.w2, 0.0),
    "sp_sa, linear: w = 0": ("sp_sa[form=linear]", lambda a: a.relation.function.w, 0.0),
    "sp_sa, linear: b = 1": ("sp_sa[form=linear]", lambda a: a.relation.function.b, 1.0),
    "sp_sa, table = 1": ("sp_sa[form=table]", lambda a: a.relation.function.table, 1.0),
    "sp_sa, table, added = 0": ("sp_sa[combine=add,form=table]", lambda a: a.relation.function.table, 0.0),
    "gpsa: gate = 1": ("gpsa", lambda a: a.gate, 1.0),
    "psa: locality strength 1": ("psa", lambda a: a.relation.weight[:, 0], -1.0),
}


@pytest.mark.parametrize(("spec", "parameter", "value"), CONSTANT.values(), ids=CONSTANT)
def test_what_starts_constant(spec, parameter, value):
    found = parameter(layer(spec))
    assert torch.equal(found, torch.full_like(found, value))


def test_an_added_prior_has_no_last_bias():
    for form in ("mlp", "linear"):
        function = layer(f"sp_sa[combine=add,form={form}]").relation.function
        assert getattr(function, "b2" if form == "mlp" else "b") is None


@at("heads", 4, 9)
def test_local_init_of_four_and_nine_heads_is_the_published_one(heads):
    """Rows (|Delta|^2, dy, dx); heads run over the y offset first; half-patch offsets for four heads."""
    four = [(-1, -1), (1, -1), (-1, 1), (1, 1)]  # 2 c, c = +-1/2
    nine = [(2 * y, 2 * x) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    expected = torch.tensor([(-1, y, x) for y, x in (four if heads == 4 else nine)], dtype=torch.float32)
    assert torch.equal(layer("psa", 36, heads).relation.weight, expected)
    assert torch.equal(layer("gpsa", 36, heads).position.weight, expected)
    assert not torch.equal(layer("psa", 36, heads).relation.weight, expected[:, [0, 2, 1]])  # x first


@pytest.mark.parametrize("spec", ["swin", "cswin", "window", "sa"])
def test_fixed_relations_have_no_parameters(spec):
    assert not list(layer(spec).relation.parameters())


def test_all_variants_start_from_the_shared_weights_of_sa_and_leave_the_same_random_stream():
    states = {}
    for spec in ("sa", "sp_sa", "psa", "gpsa", "rpe_1d", "rpe_2d", "swin", "cswin", "window", "sp_sa+swin"):
        attention = layer(spec)
        states[spec] = (attention.qkv.weight, attention.proj.weight, torch.rand(3))
    for spec, state in states.items():
        assert all(torch.equal(a, b) for a, b in zip(state, states["sa"], strict=True)), spec
