"""irpe: buckets and tables against loops typed from the paper and the authors' code; counts as published; mutants."""

import pytest
import torch

from variants import Unsupported, build, geometry, irpe

from . import mutants, oracles
from .agreement import (
    HEAD_DIM,
    SQUARE,
    WIDE,
    agree,
    agrees_with_eager,
    agrees_with_equation,
    at,
    drawn,
    on,
    rejected,
    tokens,
)

METHODS, VERSIONS = ("product", "euclidean", "quant", "cross"), ("code", "paper")
SPECS = [
    "irpe", "irpe[method=euclidean]", "irpe[method=quant]", "irpe[method=quant,version=paper]", "irpe[method=cross]",
    "irpe[shared=False]", "irpe[on=q]", "irpe[on=qk,shared=False]", "irpe[on=qkv]", "irpe[mode=bias]",
    "irpe[method=cross,on=qkv,shared=False,version=paper]", "irpe[method=euclidean,mode=bias,shared=False]",
    "irpe[method=product,mode=bias,shared=False,version=paper]", "irpe[method=cross,mode=bias,version=paper]",
]  # fmt: skip


@pytest.mark.proof("the equation by loops", "{spec}")
@pytest.mark.parametrize(("grid", "prefix"), [(SQUARE, 0), (WIDE, 1)], ids=["4x4", "3x5, prefix=1"])
@pytest.mark.parametrize("spec", SPECS)
def test_irpe_is_the_equation(spec, grid, prefix):
    agrees_with_equation(spec, grid, prefix, backend="auto" if prefix else "eager")


@pytest.mark.parametrize("spec", SPECS)
def test_at_another_resolution_buckets_are_computed_anew(spec):
    agrees_with_equation(spec, (2, 6), 1, trained_at=SQUARE)


@pytest.mark.parametrize(
    "spec",
    ["irpe[on=qkv]+swin[window=2]", "irpe+sp_sa[hidden=4]+rpe_2d", "gpsa+irpe[on=qk]", "irpe[mode=bias]+irpe[on=q]"],
)
@at("prefix", 0, 1)
def test_a_sum_is_the_equations_together(spec, prefix):
    agrees_with_equation(spec, WIDE, prefix)


@pytest.mark.parametrize(
    ("spec", "backend"),
    [
        ("irpe", "tiled"), ("irpe", "auto"), ("irpe[method=cross]", "tiled"), ("irpe[on=qkv]", "auto"),
        ("irpe[mode=bias,shared=False]", "sdpa"), ("irpe[mode=bias]", "tiled"), ("irpe+swin[window=2]", "auto"),
        ("irpe[on=qkv]+swin[window=2]", "grouped"),
    ],
)  # fmt: skip
def test_every_backend_gives_eagers_output_and_gradients(spec, backend):
    agrees_with_eager(spec, WIDE, 0 if backend == "grouped" else 1, backend)


# Buckets.


def found(grid, method, version="code"):
    return irpe.buckets(geometry.offsets(grid, dtype=torch.float64), method, version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("method", METHODS)
@on((14, 14), (24, 24), (3, 20), (1, 300), (300, 1))
def test_buckets_are_those_of_the_loops(method, version, grid):
    """Far enough to reach the last bucket."""
    h, w = grid
    for at_, table in enumerate(found(grid, method, version)):
        entries = table.expand(2 * h - 1, 2 * w - 1).tolist()
        for dy in {*range(1 - h, h)} & {0, 1, -2, 3, -6, 13, -17, 299, -250}:
            for dx in {*range(1 - w, w)} & {0, -1, 2, 4, -5, 12, 19, -299, 211}:
                assert entries[dy + h - 1][dx + w - 1] == oracles.irpe_buckets(method, version, dy, dx)[at_]


@pytest.mark.parametrize(
    ("method", "version", "side", "used"),
    [
        ("product", "code", 14, [49]), ("product", "code", 24, [49]),
        ("euclidean", "code", 14, [19]), ("euclidean", "code", 24, [26]),
        ("quant", "code", 14, [50]), ("quant", "code", 24, [50]),
        ("cross", "code", 14, [27, 27]), ("cross", "code", 24, [43, 43]),
        ("quant", "paper", 14, [55]), ("quant", "paper", 24, [67]),
    ],
)  # fmt: skip
def test_as_many_buckets_are_used_as_in_the_authors_code(method, version, side, used):
    """The paper's 50, 20, 51 and 56 are those of 14x14 and one for the class token, of cross one for each table."""
    assert [len(table.unique()) for table in found((side, side), method, version)] == used


def test_ranks_among_the_distances_of_a_grid_of_14x14_would_give_the_papers_50_buckets_and_the_planes_give_55():
    squares = {y * y + x * x for y in range(14) for x in range(14)}
    assert len(squares) == 94
    assert len({oracles.piecewise(rank, 33) for rank in range(94)}) == 50


def test_product_tells_0_and_1_apart_and_takes_2_and_3_together_and_all_from_4_on():
    (table,) = found((2, 14), "product")
    assert table[1, 13:].tolist() == [24, 25, 26, 26, *[27] * 10]
    assert table[1, :13].tolist() == [21] * 10 + [22, 22, 23]
    assert table[:, 13].tolist() == [24 - 7, 24, 24 + 7]


def test_undirected_methods_do_not_tell_left_from_right_and_directed_ones_do():
    for method in METHODS:
        table = found(SQUARE, method)[-1]
        assert table.equal(table.flip(-1)) == (method in ("euclidean", "quant"))


def test_paper_and_code_round_and_rank_differently_far_away():
    ranked, squared = (found(SQUARE, "quant", version)[0][3] for version in ("paper", "code"))
    assert ranked.tolist() == [6, 3, 1, 0, 1, 3, 6]  # 0, 1, 2, 4, 5, 8, 9
    assert squared.equal(ranked)  # the tables are as short, the entry of 9 is the seventh in both
    rounded, exact = (found((24, 24), "euclidean", version)[0] for version in ("code", "paper"))
    assert rounded[9:-9, 9:-9].equal(exact[9:-9, 9:-9])  # up to a distance of 20
    assert not rounded.equal(exact)
    far = [found((1, 20), "quant", version)[0][0, -1].item() for version in ("paper", "code")]
    assert far[0] != far[1]


@pytest.mark.parametrize(
    ("spec", "entries"),
    [
        ("irpe", 49 * HEAD_DIM), ("irpe[shared=False]", 49 * HEAD_DIM * 4), ("irpe[on=qk]", 2 * 49 * HEAD_DIM),
        ("irpe[on=qkv]", 3 * 49 * HEAD_DIM), ("irpe[mode=bias]", 49), ("irpe[mode=bias,shared=False]", 49 * 4),
        ("irpe[method=euclidean]", 41 * HEAD_DIM), ("irpe[method=cross]", 162 * HEAD_DIM),
        ("irpe[method=quant]", 50 * HEAD_DIM), ("irpe[method=quant,version=paper]", 67 * HEAD_DIM),
    ],
)  # fmt: skip
def test_tables_have_an_entry_for_each_bucket_that_some_offset_reaches_whatever_the_grid(spec, entries):
    for grid in (SQUARE, WIDE, (14, 14)):
        assert sum(p.numel() for p in drawn(spec, grid).relation.parameters()) == entries
        assert drawn(spec, grid).relation.resolution_rule() == "recomputed"


def test_deit_s_gets_the_published_number_of_parameters():
    """22.05M, and 50 buckets of 64 in 12 layers, of which one is the class token's: 22.09M; unshared 22.28M."""
    per_layer = sum(p.numel() for p in build("irpe", 384, 6, grid=(14, 14)).relation.parameters())
    assert (per_layer + 64) * 12 == pytest.approx(22.09e6 - 22.05e6, abs=0.01e6)
    per_layer = sum(p.numel() for p in build("irpe[shared=False]", 384, 6, grid=(14, 14)).relation.parameters())
    assert (per_layer + 6 * 64) * 12 == pytest.approx(22.28e6 - 22.05e6, abs=0.01e6)


# How it starts.


@pytest.mark.parametrize("spec", SPECS)
def test_tables_start_at_0_so_the_layer_starts_as_sa(spec):
    outputs, x = [], tokens(WIDE, 1)
    for name in ("sa", spec):
        torch.manual_seed(2)
        attention = build(name, 24, 4, grid=WIDE).double()
        outputs.append(attention(x, WIDE))
    agree(*outputs)
    relation = attention.relation
    assert all(not p.any() for p in relation.parameters())
    assert relation.no_weight_decay() == (set(dict(relation.named_parameters())) if "paper" in spec else set())


def test_a_bias_of_the_paper_is_divided_by_the_root_of_the_width():
    code, paper = (drawn(f"irpe[mode=bias,version={version}]", WIDE).relation for version in VERSIONS)
    paper.load_state_dict(code.state_dict())
    offsets = geometry.offsets(WIDE, dtype=torch.float64)
    agree(paper.bias(offsets)[0] * HEAD_DIM**0.5, code.bias(offsets)[0])


@pytest.mark.parametrize("on_", ["q", "qk", "qkv"])
def test_a_bias_on_queries_or_values_is_refused(on_):
    with pytest.raises(ValueError, match=rf"irpe\[mode=bias,on={on_}\] adds one number to a pair"):
        build(f"irpe[mode=bias,on={on_}]", 24, 4, grid=WIDE)


def test_a_control_without_content_takes_the_bias_and_refuses_the_rest():
    build("no_content+irpe[mode=bias]", 24, 4, grid=WIDE)
    with pytest.raises(Unsupported, match="no content for keys"):
        build("no_content+irpe", 24, 4, grid=WIDE)


# Errors on purpose.


def _buckets(change):
    def plant(monkeypatch):
        true = irpe.buckets
        monkeypatch.setattr(irpe, "buckets", lambda offsets, *how: change(true, offsets, *how))

    return plant


def _piecewise(change):
    def plant(monkeypatch):
        true = irpe.piecewise
        monkeypatch.setattr(irpe, "piecewise", lambda x, ratio: change(true, x, ratio))

    return plant


PLANTED = {
    **mutants.IN_THE_OFFSETS,
    **{name: plant for name, plant in mutants.IN_THE_TABLE.items() if "heads" not in name},
    "no keys": mutants.DROPPED["no keys"],
    "query minus key": _buckets(lambda true, offsets, *how: true(-offsets, *how)),
    "one bucket on": _buckets(lambda true, offsets, *how: tuple((t + 1) % 49 for t in true(offsets, *how))),
    "another ratio": _piecewise(lambda true, x, ratio: true(x, 1.2)),
    "rounded up": _piecewise(lambda true, x, ratio: true(x + x.sign(), ratio)),
    "no sign": _piecewise(lambda true, x, ratio: true(x, ratio).abs()),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_loops_reject_a_planted_error(plant, monkeypatch):
    plant(monkeypatch)
    with rejected():
        agrees_with_equation("irpe", SQUARE)


@pytest.mark.parametrize(
    ("spec", "like"),
    [
        ("irpe[method=quant,version=paper]", "irpe[method=quant]"),
        ("irpe[mode=bias]", "irpe[mode=bias,version=paper]"),
        ("irpe[on=q]", "irpe"),
        ("irpe[method=quant]", "irpe[method=euclidean]"),
    ],
)
def test_one_setting_is_not_another(spec, like):
    """On a line of 30, where distances are beyond what is told apart."""
    grid = (1, 30)
    attention, other = drawn(spec, grid), drawn(like, grid)
    for table, source in zip(attention.relation.parameters(), other.relation.parameters(), strict=True):
        table.data = torch.linspace(0, 9, table.shape[-1], dtype=torch.float64).square().expand_as(table).clone()
        source.data = torch.linspace(0, 9, source.shape[-1], dtype=torch.float64).square().expand_as(source).clone()
    other.qkv.load_state_dict(attention.qkv.state_dict())
    other.proj.load_state_dict(attention.proj.state_dict())
    x = tokens(grid)
    with rejected():
        agree(attention(x, grid), other(x, grid), tolerance=1e-3)


@pytest.mark.parametrize("spec", ["irpe", "irpe[on=q]", "irpe[mode=bias]", "irpe[method=cross]"])
def test_loops_reject_a_class_token_that_is_not_neutral(spec, monkeypatch):
    mutants.class_token_not_neutral(monkeypatch)
    with rejected():
        agrees_with_equation(spec, SQUARE, prefix=1)


def test_loops_reject_queries_that_meet_the_key_the_other_way_round(monkeypatch):
    true = irpe.IRPE.queries
    monkeypatch.setattr(
        irpe.IRPE, "queries", lambda self, offsets: tuple(t.flip(-2, -1) for t in true(self, offsets) or ()) or None
    )
    with rejected():
        agrees_with_equation("irpe[on=q]", WIDE)
