"""rope_axial, rope_mixed: turned queries and keys, against complex numbers in loops and timm's embeddings; mutants."""

from itertools import cycle
from math import pi

import pytest
import torch
from timm.layers import AttentionRope, RotaryEmbeddingCat, RotaryEmbeddingDinoV3, RotaryEmbeddingMixed
from timm.layers.pos_embed_sincos import init_random_2d_freqs

from variants import Unsupported, build, geometry, rope
from variants.attention import Attention
from variants.rope import RopeAxial, RopeMixed, Rotary

from .agreement import (
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

HEADS = 3  # of width 8, which 4 divides
NORMALISED = [f"rope_axial[coordinates={how}]" for how in ("max", "min", "separate")]
SPECS = ["rope_axial", "rope_axial[theta=10.0]", *NORMALISED, "rope_mixed"]
SUMS = [
    "rope_mixed+sp_sa[hidden=4]", "rope_axial+psa[init=normal]", "rope_axial+swin[window=2]+rpe_2d[extent=2,mode=bias]",
    "rope_mixed+window[height=1,width=1]", "rope_axial[coordinates=min]+rpe_2d[mode=bias,values=True]",
    "cswin[stripe=1]+rope_mixed",
]  # fmt: skip


@pytest.mark.proof("the equation by loops", "{spec}")
@at("prefix", 0, 1)
@on(SQUARE, WIDE)
@pytest.mark.parametrize("spec", SPECS)
def test_rope_is_the_equation(spec, grid, prefix):
    agrees_with_equation(spec, grid, prefix, heads=HEADS, backend="auto" if prefix else "eager")


@pytest.mark.parametrize("heads", [1, 2, 4], ids=["D=24", "D=12", "D=6"])
def test_mixed_takes_an_odd_number_of_pairs_and_any_number_of_heads(heads):
    agrees_with_equation("rope_mixed", WIDE, 1, heads=heads)


@pytest.mark.parametrize("spec", SPECS)
@on((2, 6), (5, 5), (1, 3))
def test_at_another_resolution_places_are_computed_anew(spec, grid):
    agrees_with_equation(spec, grid, 1, trained_at=SQUARE, heads=HEADS)


@at("layer", 0, 1)
@at("prefix", 0, 1)
@pytest.mark.parametrize("spec", SUMS)
def test_in_a_sum_the_others_act_on_the_turned_product(spec, prefix, layer):
    agrees_with_equation(spec, WIDE, prefix, heads=HEADS, layer=layer)


@at("prefix", 0, 1)
@pytest.mark.parametrize(
    ("spec", "backends"),
    [
        ("rope_mixed", ["sdpa", "tiled", "auto"]),
        ("rope_mixed+swin[window=2]", ["sdpa", "tiled", "auto"]),
        ("rope_mixed+sp_sa", ["tiled", "auto"]),
    ],
)
def test_every_backend_gives_eagers_output_and_gradients(spec, backends, prefix):
    for backend in backends:
        agrees_with_eager(spec, WIDE, prefix, backend)


# timm's attention with timm's embeddings, whose angles are float32.


def timms_embedding(spec, attention, grid):
    """[N or H, N, 2D]: sines and cosines side by side."""
    d = attention.site.head_dim
    if isinstance(attention, RopeMixed):
        theirs = RotaryEmbeddingMixed(WIDTH, depth=1, num_heads=HEADS, feat_shape=list(grid), grid_indexing="xy")
        theirs.freqs.data = attention.freqs.detach()[:, None].float()
        return theirs.get_embed()[0]
    if "coordinates" in spec:
        how = attention.coordinates
        return RotaryEmbeddingDinoV3(d, feat_shape=list(grid), normalize_coords=how).get_embed()
    return RotaryEmbeddingCat(
        d, temperature=attention.theta, in_pixels=False, feat_shape=list(grid), grid_indexing="xy"
    ).get_embed()


def equals_timms(spec, grid, prefix, change=lambda embedding: embedding):
    """The whole attention, and its map for values that single out one key after another."""
    attention, x = drawn(spec, grid, heads=HEADS), tokens(grid, prefix)
    theirs = AttentionRope(
        WIDTH, HEADS, num_prefix_tokens=prefix, rotate_half=isinstance(attention, RopeAxial) and attention.halves
    ).double()
    theirs.qkv.load_state_dict(attention.qkv.state_dict())
    theirs.proj.load_state_dict(attention.proj.state_dict())
    embedding = change(timms_embedding(spec, attention, grid)).double()
    agree(attention(x, grid), theirs(x, rope=embedding), tolerance=1e-6)
    maps = []
    theirs.attn_drop.register_forward_hook(lambda module, inputs, output: maps.append(output))
    theirs(x, rope=embedding)
    q, k, _ = attention.project(x, grid)
    agree(attention.weights(q, k, grid), maps[0], tolerance=1e-6)


@pytest.mark.proof("timm's RotaryEmbeddingCat, Mixed or DinoV3 in AttentionRope", "{spec}")
@at("prefix", 0, 1)
@on(SQUARE, WIDE, (6, 2))
@pytest.mark.parametrize("spec", SPECS)
def test_the_whole_attention_map_equals_timms(spec, grid, prefix):
    equals_timms(spec, grid, prefix)


@pytest.mark.parametrize("spec", SPECS)
def test_timms_rejects_an_error(spec):
    for change in (lambda e: e.roll(1, -2), lambda e: e * torch.tensor([-1.0, 1.0]).repeat_interleave(e.shape[-1] // 2),
                   lambda e: e.roll(e.shape[-1] // 4, -1)):  # fmt: skip
        with rejected():
            equals_timms(spec, WIDE, 1, change)


def test_timms_ij_is_another_order_of_axes():
    attention = drawn("rope_axial", WIDE, heads=HEADS)
    other = RotaryEmbeddingCat(8, temperature=100.0, in_pixels=False, feat_shape=list(WIDE), grid_indexing="ij")
    with rejected():
        agree(timms_embedding("rope_axial", attention, WIDE), other.get_embed(), tolerance=1e-3)


def test_mixed_starts_as_timms():
    torch.manual_seed(5)
    ours = rope.mixed_init(HEADS, 8)
    torch.manual_seed(5)
    agree(ours, init_random_2d_freqs(8, 1, HEADS, temperature=10.0)[:, 0], tolerance=1e-6)


# What a rotation is.


@pytest.mark.parametrize("spec", SPECS)
def test_scores_depend_on_the_offset_alone(spec):
    """With the same content everywhere, a pair has the score of the pair one row down and one column right."""
    attention = drawn(spec, (4, 5), heads=HEADS)
    x = torch.randn(1, 1, WIDTH, dtype=torch.float64).expand(-1, 20, -1)
    q, k, v = attention.project(x, (4, 5))
    scores = (q @ k.mT).unflatten(-1, (4, 5)).unflatten(2, (4, 5))
    agree(scores[:, :, 1:, 1:, 1:, 1:], scores[:, :, :-1, :-1, :-1, :-1])
    with rejected():
        agree(scores[:, :, 1:, 1:, :-1, :-1], scores[:, :, :-1, :-1, :-1, :-1])
    plain = Attention.project(attention, x, (4, 5))
    agree(v, plain[2])
    for turned, straight in zip((q, k), plain, strict=False):
        agree(turned.norm(dim=-1), straight.norm(dim=-1))
        if spec not in NORMALISED:  # there the first patch lies at (0, 0)
            agree(turned[:, :, 0], straight[:, :, 0])


@pytest.mark.parametrize("spec", SPECS)
def test_prefix_tokens_are_not_turned_and_meet_turned_keys_as_in_timm(spec):
    attention, x = drawn(spec, WIDE, heads=HEADS), tokens(WIDE, 2)
    plain = Attention.project(attention, x, WIDE)
    for found, straight in zip(attention.project(x, WIDE), plain, strict=True):
        agree(found[:, :, :2], straight[:, :, :2])
    alike = torch.cat([x[:, :2], x[:, 2:3].expand(-1, 15, -1)], dim=1)
    q, k, _ = attention.project(alike, WIDE)
    seen = attention.weights(q, k, WIDE)[:, :, 0, 2:]
    with rejected():
        agree(seen, seen[..., :1].expand_as(seen))


def test_raw_places_of_a_larger_grid_continue_those_of_a_smaller_one_and_normalised_ones_stretch():
    x = tokens((3, 3))
    wide = torch.zeros(2, 4, 6, WIDTH, dtype=torch.float64)
    wide[:, :3, :3] = x.unflatten(1, (3, 3))
    for spec in SPECS:
        attention = drawn(spec, (3, 3), heads=HEADS)
        small = attention.project(x, (3, 3))[0]
        large = attention.project(wide.flatten(1, 2), (4, 6))[0].unflatten(2, (4, 6))[:, :, :3, :3].flatten(2, 3)
        if spec in NORMALISED:
            with rejected():
                agree(large, small)
        else:
            agree(large, small)


@pytest.mark.parametrize(("spec", "rule"), [(s, "rescaled" if s in NORMALISED else "recomputed") for s in SPECS])
def test_what_it_says_of_a_new_resolution(spec, rule):
    assert build(spec, WIDTH, HEADS, grid=SQUARE).resolution_rule() == rule
    words = f"{rule}, fixed, recomputed" if rule == "rescaled" else "recomputed, fixed"
    assert build(f"{spec}+swin+psa[init=normal]", WIDTH, HEADS, grid=SQUARE).resolution_rule() == words


# How it starts, what it keeps, in what precision.


def test_frequencies_start_with_the_published_sizes_in_two_directions_at_right_angles():
    layers = [build("rope_mixed", 64, 4, grid=SQUARE, layer=layer) for layer in (0, 1)]
    x, y = layers[0].freqs.detach().double()
    sizes = torch.tensor([10 ** (-4 * t / 16) for t in range(4)])
    agree((x.square() + y.square()).sqrt(), sizes.repeat(4, 2), tolerance=1e-6)
    direction = torch.atan2(y, x)
    assert (direction[:, :4] - direction[:, :1]).abs().max() < 1e-5
    agree((direction[:, 4:] - direction[:, :4]).remainder(2 * pi), torch.full((4, 4), pi / 2), tolerance=1e-5)
    assert len(direction[:, 0].unique()) == 4
    assert not torch.equal(layers[0].freqs, layers[1].freqs)
    assert layers[0].no_weight_decay() == {"freqs"}
    assert layers[0].freqs.numel() == 64
    assert {name.partition(".")[0] for name, _ in build("rope_axial", 64, 4, grid=SQUARE).named_parameters()} == {
        "qkv", "proj",
    }  # fmt: skip


def test_it_starts_from_the_shared_weights_of_sa_and_leaves_the_same_stream():
    states = []
    for spec in ("sa", "rope_axial", "rope_mixed"):
        torch.manual_seed(3)
        attention = build(spec, WIDTH, HEADS, grid=WIDE)
        states.append((attention.qkv.weight, attention.proj.weight, torch.rand(3)))
    assert all(torch.equal(a, b) for state in states for a, b in zip(state, states[0], strict=True))


@pytest.mark.parametrize("spec", SPECS)
def test_where_terms_are_kept_the_angles_are_computed_once_for_a_grid(spec, monkeypatch):
    attention, calls = drawn(spec, WIDE, heads=HEADS).eval(), []
    true = type(attention).angles
    monkeypatch.setattr(type(attention), "angles", lambda self, *args: calls.append(args) or true(self, *args))
    with torch.no_grad():
        with attention.keep_terms():
            for grid in (WIDE, WIDE, SQUARE, WIDE):
                attention(tokens(grid), grid)
        assert len(calls) == 2
        for _ in range(2):
            attention(tokens(WIDE), WIDE)
    assert len(calls) == 4  # outside each time
    with attention.keep_terms():
        for _ in range(2):
            attention(tokens(WIDE), WIDE)
    assert len(calls) == 6  # with gradients each time


@pytest.mark.parametrize("spec", SPECS)
def test_angles_are_float32_under_autocast_and_in_a_model_of_bfloat16(spec, monkeypatch):
    """At place 100 a bfloat16 is half a patch off."""
    precisions, true = [], rope.turned
    monkeypatch.setattr(rope, "turned", lambda x, cos, *rest: precisions.append(cos.dtype) or true(x, cos, *rest))
    attention, x = build(spec, WIDTH, HEADS, grid=(1, 120)), torch.randn(1, 120, WIDTH)
    q, _, _ = attention.project(x, (1, 120))
    straight, _, _ = Attention.project(attention, x, (1, 120))
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _, _ = attention.project(x, (1, 120))
    assert rounded.dtype == torch.bfloat16
    agree(rounded, q, tolerance=0.02)
    with rejected():
        agree(straight, q, tolerance=0.02)
    assert attention.bfloat16()(x.bfloat16(), (1, 120)).dtype == torch.bfloat16
    assert set(precisions) == {torch.float32}


# What is refused.


@pytest.mark.parametrize(
    ("spec", "heads", "says"),
    [
        ("rope_axial", 4, "4 divides the width of a head, not 6; choose other heads, or rope_mixed"),
        ("rope_axial[coordinates=min]", 12, "4 divides the width of a head, not 2"),
        ("rope_mixed", 8, "the width of a head is even, not 3; choose other heads"),
        ("rope_axial+rpe_2d", 3, r"rope turns the vectors that keys would meet; add a prior, a bias or windows"),
        ("rope_mixed+rpe_1d", 3, "the vectors that keys would meet"),
        ("rope_mixed+irpe[on=qk]", 3, "the vectors that keys and queries would meet"),
        ("irpe[on=q]+rope_mixed", 3, "the vectors that queries would meet"),
        ("rope_axial[theta=0]", 3, r"theta=0.0\] is no base of frequencies; theta is more than 0"),
        ("rope_axial[theta=-2.5]", 3, "is no base of frequencies"),
        ("rope_axial+rope_mixed", 3, "each are a whole attention"),
        ("rope_mixed+gpsa", 3, "each are a whole attention"),
    ],
)
@at("device", "cpu", "meta")
def test_what_makes_no_sense_is_a_sentence(spec, heads, says, device):
    with torch.device(device), pytest.raises(ValueError, match=says) as refused:
        build(spec, WIDTH, heads, grid=WIDE)
    assert isinstance(refused.value, Unsupported) == ("theta" not in spec and "whole" not in says)


# Errors on purpose.


def _angles(change):
    def plant(monkeypatch, cls):
        true = cls.angles
        monkeypatch.setattr(cls, "angles", lambda self, y, x, grid: change(true, self, y, x, grid))

    return plant


def _turned(change):
    def plant(monkeypatch, cls):
        true = rope.turned
        monkeypatch.setattr(rope, "turned", lambda *args: change(true, *args))

    return plant


def _query_alone(monkeypatch, cls):
    def project(self, x, grid):
        q, _, _ = Rotary.project(self, x, grid)
        _, k, v = Attention.project(self, x, grid)
        return q, k, v

    monkeypatch.setattr(cls, "project", project)


def _values_too(monkeypatch, cls):
    true = Rotary.project

    def project(self, x, grid):
        q, k, v = true(self, x, grid)
        angles = self.angles(*(place.to(x) for place in geometry.coordinates(grid)), grid)
        return q, k, rope.turned(v, angles.cos(), angles.sin(), self.halves)

    monkeypatch.setattr(cls, "project", project)


SIGNS = cycle((1, -1))
PLANTED = {
    "x and y exchanged": _angles(lambda true, self, y, x, grid: true(self, x, y, grid)),
    "angles doubled": _angles(lambda true, self, y, x, grid: 2 * true(self, y, x, grid)),
    "frequencies in another order": _angles(lambda true, self, y, x, grid: true(self, y, x, grid).flip(-1)),
    "x turned back": _angles(lambda true, self, y, x, grid: true(self, y, -x, grid)),
    "tokens column by column": _angles(
        lambda true, self, y, x, grid: true(self, y, x, grid).unflatten(1, grid[::-1]).transpose(1, 2).flatten(1, 2)
    ),
    "the other pairs": _turned(lambda true, x, cos, sin, halves: true(x, cos, sin, not halves)),
    "no rotation but a reflection": _turned(lambda true, x, cos, sin, halves: true(x, cos, -sin, halves).flip(-1)),
    "one way in the query, the other in the key": _turned(
        lambda true, x, cos, sin, halves: true(x, cos, next(SIGNS) * sin, halves)
    ),
    "a shrinking rotation": _turned(lambda true, x, cos, sin, halves: true(x, 0.9 * cos, 0.9 * sin, halves)),
    "the query alone": _query_alone,
    "values too": _values_too,
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
@pytest.mark.parametrize(("spec", "cls"), [("rope_axial", RopeAxial), ("rope_mixed", RopeMixed)])
def test_loops_reject_a_planted_error(spec, cls, plant, monkeypatch):
    plant(monkeypatch, cls)
    with rejected():
        agrees_with_equation(spec, WIDE, heads=HEADS)


@pytest.mark.parametrize("spec", ["rope_axial", "rope_mixed"])
def test_loops_reject_a_prefix_token_that_is_turned(spec, monkeypatch):
    true = rope.turned

    def turned(x, cos, sin, halves):
        prefix = x.shape[2] - cos.shape[1]
        return true(x, *(torch.cat([part[:, 1 : 1 + prefix], part], dim=1) for part in (cos, sin)), halves)

    monkeypatch.setattr(rope, "turned", turned)
    with rejected():
        agrees_with_equation(spec, WIDE, 1, heads=HEADS)
    agrees_with_equation(spec, WIDE, 0, heads=HEADS)


@pytest.mark.parametrize("wrong", ["min", "max", "separate"])
def test_loops_reject_another_normalisation(wrong, monkeypatch):
    true = RopeAxial.__init__

    def init(self, *args, coordinates="raw", **settings):
        true(self, *args, coordinates=wrong if coordinates != wrong else "raw", **settings)

    monkeypatch.setattr(RopeAxial, "__init__", init)
    for spec in NORMALISED:
        with rejected():
            agrees_with_equation(spec, WIDE, heads=HEADS)
