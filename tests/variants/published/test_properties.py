"""The equations on random grids, heads, prefix tokens and settings (hypothesis, without randomness of its own)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from variants import backends, build, geometry, names, registry

from . import mutants, oracles
from .agreement import HEAD_DIM, WIDTH, agree, agrees_with_equation, drawn, rejected, tokens
from .seen import kept, mask_agrees

SIDES = st.integers(1, 4)
GRIDS = st.tuples(SIDES, SIDES)
PREFIX = st.integers(0, 2)
LAYERS = st.integers(0, 3)
HEADS = st.sampled_from([1, 2, 4])
SMALL = st.integers(1, 5)

few = settings(max_examples=25, derandomize=True, deadline=None, database=None)


def _spec(name, **choices):
    """A strategy of spec strings: a name and a value for each setting."""
    return st.fixed_dictionaries(choices).map(
        lambda chosen: f"{name}[{','.join(f'{key}={value}' for key, value in chosen.items())}]"
    )


BOOL, EXTENT = st.booleans(), st.one_of(st.just("grid"), st.integers(1, 5))
MODE = st.sampled_from(["query", "bias"])
SCOPE, COMBINE = st.sampled_from(["head", "layer", "network"]), st.sampled_from(["mul", "add"])
OFFSET = st.integers(-3, 3)
ANY = {
    "sa": st.just("sa"),
    "sp_sa": st.one_of(
        _spec("sp_sa", hidden=SMALL, scope=SCOPE, combine=COMBINE),
        _spec("sp_sa", form=st.sampled_from(["linear", "table"]), scope=SCOPE, combine=COMBINE),
    ),
    "psa": _spec("psa", init=st.just("normal")),
    "gpsa": _spec("gpsa", init=st.just("normal"), gate=st.sampled_from([-1, 0.5, 2.0])),
    "rpe_1d": _spec("rpe_1d", mode=MODE, values=BOOL),
    "rpe_2d": _spec("rpe_2d", mode=MODE, values=BOOL, factorized=BOOL, extent=EXTENT),
    "swin": _spec("swin", window=SMALL),
    "cswin": _spec("cswin", stripe=SMALL),
    "window": _spec("window", width=st.integers(0, 3), height=st.integers(0, 3), dy=OFFSET, dx=OFFSET),
}


@pytest.mark.parametrize("name", ANY)
@given(data=st.data(), grid=GRIDS, prefix=PREFIX, heads=HEADS, layer=LAYERS)
@few
def test_any_setting_is_the_equation(name, data, grid, prefix, heads, layer):
    agrees_with_equation(data.draw(ANY[name]), grid, prefix, heads=heads, layer=layer)


@given(
    specs=st.tuples(*(ANY[n] for n in ("sp_sa", "rpe_2d", "swin", "cswin", "psa", "rpe_1d", "window", "gpsa"))),
    chosen=st.lists(st.integers(0, 7), min_size=2, max_size=3, unique=True),
    grid=GRIDS,
    prefix=PREFIX,
    layer=LAYERS,
)
@few
def test_any_sum_is_the_equations_together(specs, chosen, grid, prefix, layer):
    agrees_with_equation("+".join(specs[n] for n in chosen), grid, prefix, heads=2, layer=layer)


@given(side=SIDES, window=st.integers(1, 9), heads=st.integers(1, 5), layer=LAYERS, data=st.data())
@settings(few, max_examples=60)
def test_any_window_keeps_the_pairs_of_brute_force(side, window, heads, layer, data):
    grid = (side + 3, data.draw(st.integers(1, 8)))
    shift = window // 2 if layer % 2 else 0
    found = kept(f"swin[window={window}]", grid, layer=layer, heads=heads)
    mask_agrees(found, oracles.swin_seen(window, shift, grid), grid)
    found = kept(f"cswin[stripe={window}]", grid, layer=layer, heads=heads)
    mask_agrees(found, oracles.cswin_seen(window, heads), grid)
    height, dy, dx = data.draw(st.tuples(st.integers(0, 4), OFFSET, OFFSET))
    found = kept(f"window[dx={dx},dy={dy},height={height},width={window}]", grid, heads=heads)
    mask_agrees(found, oracles.window_seen(window, height, dy, dx), grid)


@given(grid=GRIDS, channels=st.integers(1, 3))
@settings(few, max_examples=50)
def test_a_table_over_the_offsets_is_the_table_of_every_pair(grid, channels):
    h, w = grid
    table = torch.randn(channels, 2 * h - 1, 2 * w - 1, dtype=torch.float64)
    entries = table.tolist()
    pairs = [oracles.every_pair(grid, lambda dy, dx, t=t: t[dy + h - 1][dx + w - 1]) for t in entries]
    agree(geometry.to_pairs(table, grid), pairs)


@given(
    grid=st.tuples(st.integers(2, 4), st.integers(2, 4)),
    prefix=PREFIX,
    name=st.sampled_from(["psa", "rpe_2d", "sp_sa"]),
)
@few
def test_a_flipped_sign_is_rejected_on_any_grid(grid, prefix, name):
    with pytest.MonkeyPatch.context() as monkeypatch:
        mutants.IN_THE_TABLE["table read query minus key"](monkeypatch)
        with rejected():
            agrees_with_equation({"psa": "psa[init=normal]"}.get(name, name), grid, prefix)


@given(data=st.data(), name=st.sampled_from(["sp_sa", "psa", "rpe_1d", "rpe_2d", "window"]), layer=LAYERS)
@few
def test_scores_depend_on_the_offset_alone(data, name, layer):
    """With the same content everywhere, a crop has the logits of the crop one row down and one column right."""
    attention = drawn(data.draw(ANY[name]), (4, 5), layer=layer)
    terms = attention.relation.terms((4, 5), torch.device("cpu"), torch.float64)
    q = torch.randn(1, 4, 1, HEAD_DIM, dtype=torch.float64).expand(-1, -1, 20, -1)
    logits = backends.eager.logits(q, q, terms)[0].unflatten(-1, (4, 5)).unflatten(1, (4, 5))
    logits = logits.masked_fill(logits.isinf(), 0.0)
    agree(logits[:, 1:, 1:, 1:, 1:], logits[:, :-1, :-1, :-1, :-1])


def test_every_variant_of_the_paper_has_an_equation_here():
    assert set(registry.families()["paper"]) <= set(ANY)
    assert set(ANY) <= set(names())
    for name in ANY:
        build(name, WIDTH, 4, grid=(3, 5))(tokens((3, 5)).float(), (3, 5))
