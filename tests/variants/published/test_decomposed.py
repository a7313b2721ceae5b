"""decomposed: SAM's and MViTv2's tables of rows and columns, against loops and timm's code, interpolation included."""

import pytest
import torch
from timm.models import vision_transformer_sam as sam

from variants import backends, build, decomposed, geometry

from . import mutants, oracles
from .agreement import (
    HEAD_DIM,
    SQUARE,
    WIDE,
    WIDTH,
    agree,
    agrees_with_eager,
    agrees_with_equation,
    at,
    drawn,
    on,
    rejected,
    tokens,
)

SPECS = ["decomposed", "decomposed[extent=2]", "decomposed[extent=4]"]


@pytest.mark.proof("the equation by loops", "{spec}")
@at("prefix", 0, 1)
@on(SQUARE, WIDE)
@pytest.mark.parametrize("spec", SPECS)
def test_decomposed_is_the_equation(spec, grid, prefix):
    agrees_with_equation(spec, grid, prefix, backend="auto" if prefix else "eager")


@pytest.mark.parametrize("spec", SPECS)
@on((2, 6), (6, 7), (1, 3), (5, 1))
def test_at_another_resolution_a_table_is_interpolated_or_clipped(spec, grid):
    agrees_with_equation(spec, grid, 1, trained_at=SQUARE)


@pytest.mark.parametrize("spec", ["swin[window=2]+decomposed[extent=2]", "gpsa+decomposed+sp_sa[hidden=4]"])
@at("layer", 0, 1)
def test_a_sum_is_the_equations_together(spec, layer):
    agrees_with_equation(spec, WIDE, layer=layer)


@pytest.mark.parametrize(
    ("spec", "backend"),
    [("decomposed", "tiled"), ("decomposed", "auto"), ("swin[window=2]+decomposed[extent=2]", "grouped")],
)
def test_every_backend_gives_eagers_output_and_gradients(spec, backend):
    agrees_with_eager(spec, WIDE, 0 if backend == "grouped" else 1, backend)


# timm: query minus key, a table for each axis [2h-1, D], the query not scaled.


def lines(attention):
    """rows [2h-1, D], columns [2w-1, D]."""
    rows, columns = attention.relation.rows, attention.relation.columns
    return rows.detach()[0, :, :, 0].T, columns.detach()[0, :, 0].T


def equals_timms(grid, trained_at, change=lambda line: line.flip(0), factor=1.0):
    """The function on tables of the training grid, which it interpolates; where it is one grid, the whole module."""
    attention, x = drawn("decomposed", trained_at), tokens(grid)
    q, _, _ = attention.project(x, grid)
    rows, columns = (change(line) * factor for line in lines(attention))
    expected = sam.get_decomposed_rel_pos_bias(q.flatten(0, 1), rows, columns, grid, grid)
    scores = backends.eager.logits(q, torch.zeros_like(q), attention.terms(q, grid))
    agree(scores, expected.unflatten(0, q.shape[:2]))
    theirs = sam.Attention(WIDTH, num_heads=4, use_rel_pos=True, input_size=trained_at).double()
    theirs.qkv.load_state_dict(attention.qkv.state_dict())
    theirs.proj.load_state_dict(attention.proj.state_dict())
    theirs.rel_pos_h.data, theirs.rel_pos_w.data = rows, columns
    agree(attention(x, grid), theirs(x.unflatten(1, grid)).flatten(1, 2))


@pytest.mark.proof("SAM's attention in timm", "decomposed")
@on(SQUARE, WIDE, (6, 2), (7, 9))
@pytest.mark.parametrize("trained_at", [SQUARE, WIDE, (8, 5)], ids=["from 4x4", "from 3x5", "from 8x5"])
def test_decomposed_equals_timms_with_flipped_tables_whatever_the_training_grid(grid, trained_at):
    equals_timms(grid, trained_at)


@on(SQUARE, (6, 9))
def test_timms_rejects_unflipped_tables_and_a_scaled_product(grid):
    with rejected():
        equals_timms(grid, SQUARE, change=lambda line: line)
    with rejected():
        equals_timms(grid, SQUARE, factor=HEAD_DIM**-0.5)


def test_timms_rejects_tables_that_keep_their_corners(monkeypatch):
    monkeypatch.setattr(decomposed, "interpolated", corners_kept)
    equals_timms(SQUARE, SQUARE)
    with rejected():
        equals_timms((6, 9), SQUARE)


def corners_kept(table, grid):
    size = (2 * grid[0] - 1, 1) if table.shape[-1] == 1 else (1, 2 * grid[1] - 1)
    return geometry.resample(table, size)


@on(SQUARE, WIDE)
def test_it_is_rpe_2d_factorized_by_the_root_of_the_width(grid):
    ours, other, x = drawn("decomposed", grid), drawn("rpe_2d[factorized=True]", grid), tokens(grid)
    other.load_state_dict(ours.state_dict(), strict=False)
    for table, source in zip(other.relation.tables, (ours.relation.rows, ours.relation.columns), strict=True):
        table.data = HEAD_DIM**0.5 * source.data
    agree(ours(x, grid), other(x, grid))
    other.relation.tables[0].data /= HEAD_DIM**0.5
    with rejected():
        agree(ours(x, grid), other(x, grid))


# How it starts, what it keeps.


def test_tables_start_at_0_have_the_published_size_and_are_not_decayed():
    relation = build("decomposed", 768, 12, grid=(14, 14)).relation
    assert sum(p.numel() for p in relation.parameters()) == (27 + 27) * 64
    assert not any(p.any() for p in relation.parameters())
    assert relation.no_weight_decay() == {"rows", "columns"}
    assert relation.resolution_rule() == "resampled"
    windowed = build("decomposed[extent=7]", 768, 12, grid=(14, 14)).relation
    assert sum(p.numel() for p in windowed.parameters()) == (13 + 13) * 64
    assert windowed.resolution_rule() == "clipped"


def test_the_layer_starts_as_sa():
    outputs, x = [], tokens(WIDE, 1)
    for spec in ("sa", "decomposed"):
        torch.manual_seed(2)
        outputs.append(build(spec, WIDTH, 4, grid=WIDE).double()(x, WIDE))
    agree(*outputs)


def test_a_table_resampled_to_a_grid_is_the_one_that_it_reads_there():
    attention, x = drawn("decomposed", SQUARE), tokens((6, 7))
    before = attention(x, (6, 7))
    attention.resample((6, 7))
    assert attention.relation.rows.shape == (1, HEAD_DIM, 11, 1)
    assert attention.relation.columns.shape == (1, HEAD_DIM, 1, 13)
    agree(attention(x, (6, 7)), before)


def test_an_extent_below_1_is_refused():
    with pytest.raises(ValueError, match=r"decomposed\[extent=0\] covers no offset"):
        build("decomposed[extent=0]", WIDTH, 4, grid=WIDE)


# Errors on purpose.


def _tables(change):
    def plant(monkeypatch):
        true = decomposed.Decomposed.keys
        monkeypatch.setattr(decomposed.Decomposed, "keys", lambda self, offsets: change(true(self, offsets)))

    return plant


PLANTED = {
    **{name: plant for name, plant in mutants.IN_THE_TABLE.items() if "axes" not in name and "heads" not in name},
    "no keys": mutants.DROPPED["no keys"],
    "scaled": _tables(lambda tables: tuple(t / HEAD_DIM**0.5 for t in tables)),
    "rows and columns exchanged": _tables(lambda tables: tuple(t.mT for t in tables[::-1])),
    "rows alone": _tables(lambda tables: tables[:1]),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_loops_reject_a_planted_error(plant, monkeypatch):
    plant(monkeypatch)
    with rejected():
        agrees_with_equation("decomposed", SQUARE)


def test_loops_reject_corners_that_are_kept_and_a_class_token_that_is_not_neutral(monkeypatch):
    with monkeypatch.context() as planted:
        planted.setattr(decomposed, "interpolated", corners_kept)
        with rejected():
            agrees_with_equation("decomposed", (6, 7), trained_at=SQUARE)
    mutants.class_token_not_neutral(monkeypatch)
    with rejected():
        agrees_with_equation("decomposed", SQUARE, prefix=1)


def test_the_loops_interpolation_keeps_the_centre_and_lines():
    assert oracles.between_centres([0.0, 1.0, 2.0], 3) == [0.0, 1.0, 2.0]
    assert oracles.between_centres([0.0, 1.0, 2.0], 5)[2] == pytest.approx(1.0)
    assert oracles.between_centres([0.0, 1.0, 2.0], 9)[:2] == [0.0, 0.0]
