"""log_cpb and cosine: the equations by loops, timm's Swin V2 attention and block, RelPosMlp; errors; how they start."""

import math

import pytest
import torch
from timm.layers import RelPosMlp
from timm.models.swin_transformer_v2 import SwinTransformerV2Block, WindowAttention
from torch import nn

from variants import Attention, SpatialRelation, Unsupported, build, geometry
from variants.cosine import Cosine
from variants.log_cpb import LogCPB
from variants.relation import Composed, Site

from . import mutants, oracles
from .agreement import (
    EQUATIONS,
    HEAD_DIM,
    SQUARE,
    WIDE,
    WIDTH,
    agree,
    agrees_with_eager,
    at,
    drawn,
    on,
    rejected,
    sized,
    tokens,
)
from .biases import log_spaced
from .initial import is_normal, layer


def published(window, grid=None, **kwargs):
    return drawn(f"swin[window={window}]+log_cpb[extent={window}]+cosine", grid or (window, window), **kwargs)


def take_over(attention, other, sign=-1.0, key_bias=0.0):
    """Our weights in timm's WindowAttention: its offset is query minus key, so W1 has the other sign there.

    It keeps its coordinates in fp32; they are seen to be those of the equation, and put there in float64.
    """
    relation = attention.relation.parts[1]
    exact = _coordinates(other.window_size, relation.sides)[None]
    agree(other.relative_coords_table, exact, 1e-6)
    other.relative_coords_table.copy_(exact)
    query, key, value = attention.qkv.bias.detach().chunk(3)
    other.qkv.weight.data, other.q_bias.data, other.v_bias.data = attention.qkv.weight.detach(), query, value
    other.k_bias.copy_(key_bias * key)
    other.proj.load_state_dict(attention.proj.state_dict())
    other.logit_scale.data = attention.logit_scale.detach()[:, None, None]
    other.cpb_mlp[0].weight.data = sign * relation.mlp[0].weight.detach()
    other.cpb_mlp[0].bias.data = relation.mlp[0].bias.detach()
    other.cpb_mlp[2].weight.data = relation.mlp[2].weight.detach()


def their_map(other, x):
    """[B, H, N, N]: what timm's softmax gives."""
    found = []
    hook = other.softmax.register_forward_hook(lambda module, args, out: found.append(out))
    out = other(x)
    hook.remove()
    return out, found[0]


def agrees_with_timm(window, *, scale=None, pretrained=None, std=0.3, **changed):
    """Map and output of one window; `std` large, so that the clamp of the scale counts."""
    attention = published(window, std=std)
    if pretrained:
        attention.relation.parts[1].sides = (pretrained, pretrained)
    if scale is not None:
        attention.logit_scale.data = torch.tensor(scale, dtype=torch.float64)
    other = WindowAttention(WIDTH, (window, window), 4, pretrained_window_size=(pretrained or 0,) * 2).double()
    take_over(attention, other, **changed)
    x = tokens((window, window))
    out, weights = their_map(other, x)
    q, k, _ = attention.project(x, (window, window))
    agree(attention.weights(q, k, (window, window)), weights)
    agree(attention(x, (window, window)), out)


@pytest.mark.proof("timm's Swin V2 WindowAttention", "log_cpb")
@pytest.mark.parametrize("window", [1, 2, 4, 5], ids=sized)
def test_swin_log_cpb_and_cosine_equal_timms_Swin_V2_attention_in_map_and_output(window):
    if window > 1:
        agrees_with_timm(window)
    agrees_with_timm(4, pretrained=window)


@pytest.mark.proof("timm's Swin V2 WindowAttention", "cosine")
@pytest.mark.parametrize("scale", [(0.0, 2.3, 4.0, 4.6), (4.7, 9.0, -1.0, 100.0)], ids=["free", "clamped"])
def test_cosine_equals_timms_Swin_V2_attention_at_any_scale(scale):
    agrees_with_timm(4, scale=scale)


def test_timms_Swin_V2_rejects_the_other_sign_and_a_key_bias():
    with rejected():
        agrees_with_timm(4, sign=1.0)
    with rejected():
        agrees_with_timm(4, key_bias=1.0)


def test_timms_Swin_V2_rejects_a_scale_without_clamp(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "clamp", lambda self, *args, **kwargs: self)
    with rejected():
        agrees_with_timm(4, scale=(4.7, 5.0, 1.0, 0.0))


def agrees_with_timms_block(grid, window, layer):
    attention = published(window, grid, layer=layer)
    block = SwinTransformerV2Block(
        WIDTH, grid, num_heads=4, window_size=window, shift_size=window // 2 if layer else 0
    ).double()
    take_over(attention, block.attn)
    x = tokens(grid)
    agree(attention(x, grid), block._attn(x.unflatten(1, grid)).flatten(1, 2))


@pytest.mark.proof("timm's SwinTransformerV2Block", "log_cpb")
@pytest.mark.parametrize(("grid", "window"), [((6, 6), 3), ((4, 8), 4), ((8, 4), 2)], ids=sized)
@at("layer", 0, 1)
def test_with_windows_and_shift_they_equal_timms_block(grid, window, layer):
    agrees_with_timms_block(grid, window, layer)


def agrees_with_RelPosMlp(grid, hidden=512, pretrained=(0, 0), sign=-1.0):
    attention = drawn(f"log_cpb[hidden={hidden}]", grid)
    other = RelPosMlp(grid, 4, hidden_dim=hidden, mode="swin", pretrained_window_size=pretrained).double().eval()
    other.rel_coords_log.copy_(_coordinates(grid, pretrained if pretrained[0] else grid))
    other.mlp.fc1.weight.data = sign * attention.relation.mlp[0].weight.detach()
    other.mlp.fc1.bias.data = attention.relation.mlp[0].bias.detach()
    other.mlp.fc2.weight.data = attention.relation.mlp[2].weight.detach()
    terms = attention.terms(tokens(grid), grid)
    agree(geometry.to_pairs(terms.bias[0], grid), other.get_bias()[0])


def _coordinates(grid, sides):
    """timm's coordinates in float64, which it keeps in fp32."""
    return torch.tensor(
        [[[log_spaced(y, sides[0]), log_spaced(x, sides[1])] for x in range(1 - grid[1], grid[1])]
         for y in range(1 - grid[0], grid[0])],
        dtype=torch.float64,
    )  # fmt: skip


@pytest.mark.proof("timm's RelPosMlp", "log_cpb")
@on(SQUARE, WIDE)
def test_log_cpb_equals_timms_RelPosMlp(grid):
    agrees_with_RelPosMlp(grid)
    agrees_with_RelPosMlp(grid, hidden=7)


def test_timms_RelPosMlp_rejects_the_other_sign_and_another_side():
    with rejected():
        agrees_with_RelPosMlp(WIDE, sign=1.0)
    with rejected():
        agrees_with_RelPosMlp(WIDE, pretrained=(8, 8))


def test_the_coordinates_are_timms_and_end_a_little_beyond_1():
    relation = LogCPB(Site(4, 6, WIDE))
    other = RelPosMlp(WIDE, 4, mode="swin").rel_coords_log
    found = relation.coordinates(geometry.offsets(WIDE))
    agree(found, other.movedim(-1, 0), 1e-6)
    agree(found[:, -1, -1], [math.log2(9) / 3] * 2, 1e-6)
    assert abs(float(found.max()) - 1.0566) < 1e-4
    assert not LogCPB(Site(4, 6, (1, 1))).coordinates(geometry.offsets((1, 1))).any()


WRONG_COORDINATES = {
    "raw offsets": lambda self, at: at,
    "linear": lambda self, at: 8 * at / at.new_tensor([s - 1 for s in self.sides])[:, None, None],
    "without the 8": lambda self, at: at.sign() * torch.log2(1 + at.abs() / 3) / 3,
    "the sign forgotten": lambda self, at: torch.log2(1 + 8 * at.abs() / 3) / 3,
    "natural logarithm": lambda self, at: at.sign() * torch.log1p(8 * at.abs() / 3) / 3,
    "by the side and not by the farthest offset": lambda self, at: at.sign() * torch.log2(1 + 8 * at.abs() / 4) / 3,
}


@pytest.mark.parametrize("coordinates", WRONG_COORDINATES.values(), ids=WRONG_COORDINATES)
def test_other_coordinates_are_rejected(coordinates, monkeypatch):
    monkeypatch.setattr(LogCPB, "coordinates", coordinates)
    with rejected():
        agrees_with_timm(4)


@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_another_gain_of_the_sigmoid_is_rejected(scale, monkeypatch):
    true = LogCPB.bias
    monkeypatch.setattr(LogCPB, "bias", lambda self, at: true(self, at) * scale / 16)
    with rejected():
        agrees_with_timm(4)


# cosine by loops.


def by_loops(attention, spec, x, grid, settings):
    """(out, map) of cosine attention: logit = prior tau cos(q, k) + bias where seen, prefix tokens neutral."""
    relation = attention.relation
    relations = list(relation.parts) if isinstance(relation, Composed) else [relation] if settings else []
    found = [EQUATIONS[name](part, grid, **chosen) for part, (name, chosen) in zip(relations, settings, strict=True)]
    heads, out, maps = attention.num_heads, [], []
    tau = [math.exp(min(t, math.log(100))) for t in attention.logit_scale.tolist()]
    weight, bias = attention.qkv.weight.tolist(), attention.qkv.bias.tolist()
    if "key_bias=True" not in spec:
        bias[WIDTH : 2 * WIDTH] = [0.0] * WIDTH
    where, prefix = oracles.places(grid), x.shape[1] - grid[0] * grid[1]
    for image in x.tolist():
        projected = [oracles.linear(token, weight, bias) for token in image]
        merged, of_heads = [[] for _ in image], []
        for h in range(heads):
            q, k, v = (
                [t[part * WIDTH + h * HEAD_DIM :][:HEAD_DIM] for t in projected] for part in range(3)
            )  # fmt: skip
            rows = []
            for i, query in enumerate(q):
                row = []
                for j, key in enumerate(k):
                    lengths = math.sqrt(oracles.dot(query, query) * oracles.dot(key, key))
                    logit = tau[h] * oracles.dot(query, key) / lengths
                    if i >= prefix and j >= prefix:
                        here, there = where[i - prefix], where[j - prefix]
                        dy, dx = there[0] - here[0], there[1] - here[1]
                        for e in found:
                            logit *= e.omega(h, dy, dx) if e.omega else 1.0
                        logit += sum(e.bias(h, dy, dx) for e in found if e.bias)
                        if not all(e.seen(h, here, there) for e in found if e.seen):
                            logit = None
                    row.append(logit)
                rows.append(oracles.softmax(row))
                merged[i] += oracles.weighted(rows[-1], v, h, i, grid, found)
            of_heads.append(rows)
        shared = attention.proj.weight.tolist(), attention.proj.bias.tolist()
        out.append([oracles.linear(token, *shared) for token in merged])
        maps.append(of_heads)
    return out, maps


CASES = {
    "cosine": [],
    "cosine[key_bias=True]": [],
    "log_cpb[hidden=4]+cosine": [("log_cpb", {"hidden": 4})],
    "sp_sa[hidden=4]+cosine": [("sp_sa", {"hidden": 4})],
    "swin[window=2]+rpe_2d[mode=bias,values=True]+cosine": [
        ("swin", {"window": 2}), ("rpe_2d", {"mode": "bias", "values": True}),
    ],
}  # fmt: skip


def cosine_agrees(spec, grid, prefix=0, trained_at=None):
    attention, x = drawn(spec, trained_at or grid), tokens(grid, prefix)
    out, weights = by_loops(attention, spec, x, grid, CASES[spec])
    q, k, _ = attention.project(x, grid)
    agree(attention.weights(q, k, grid), weights)
    agree(attention(x, grid), out)
    attention.eval()
    with torch.no_grad():
        for _ in range(2):  # the second time from what inference keeps
            agree(attention(x, grid), out)


@pytest.mark.proof("the equation by loops", "cosine")
@at("prefix", 0, 1)
@on(SQUARE, WIDE)
@pytest.mark.parametrize("spec", CASES)
def test_cosine_is_the_equation(spec, grid, prefix):
    cosine_agrees(spec, grid, prefix)


def test_at_another_resolution_cosine_is_the_equation_too():
    cosine_agrees("log_cpb[hidden=4]+cosine", (2, 6), 1, trained_at=SQUARE)


def _projected(change):
    def plant(monkeypatch):
        true = Cosine.project
        monkeypatch.setattr(Cosine, "project", lambda self, x, grid: change(self, *true(self, x, grid)))

    return plant


PLANTED = {
    "plain product": lambda monkeypatch: monkeypatch.setattr(Cosine, "project", Attention.project),
    "only the key has length 1": _projected(lambda self, q, k, v: (Attention.project(self, X, SQUARE)[0], k, v)),
    "root of D left in": _projected(lambda self, q, k, v: (q * HEAD_DIM**-0.5, k, v)),
    "scale not exponentiated": _projected(
        lambda self, q, k, v: (q * (self.logit_scale / self.logit_scale.exp())[:, None, None], k, v)
    ),
    "heads of the scale rolled": _projected(
        lambda self, q, k, v: (q * (self.logit_scale.roll(1) - self.logit_scale).exp()[:, None, None], k, v)
    ),
    "value normalised": _projected(lambda self, q, k, v: (q, k, nn.functional.normalize(v, dim=-1))),
    **mutants.IN_THE_SOFTMAX,
}
X = tokens(SQUARE)


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_loops_reject_a_planted_error_in_cosine(plant, monkeypatch):
    plant(monkeypatch)
    with rejected():
        cosine_agrees("cosine", SQUARE)


@at("prefix", 0, 1)
@pytest.mark.parametrize("spec", [*CASES, "swin[window=2]+log_cpb[extent=2,hidden=4]+cosine"])
def test_the_backend_of_auto_gives_eagers_output_and_gradients(spec, prefix):
    agrees_with_eager(spec, WIDE, prefix, "auto")


def test_cosine_does_not_mind_how_long_queries_and_keys_are():
    attention, x = drawn("cosine", WIDE), tokens(WIDE)
    attention.qkv.bias.data.zero_()
    before = attention(x, WIDE)
    attention.qkv.weight.data[: 2 * WIDTH] *= 3.0
    agree(attention(x, WIDE), before)


# What cosine refuses.


@pytest.mark.parametrize("spec", ["cosine+rpe_1d", "rpe_2d+cosine", "sp_sa+rpe_2d[factorized=True]+cosine"])
@at("device", "cpu", "meta")
def test_keys_have_nothing_to_meet_and_are_refused(spec, device):
    with torch.device(device), pytest.raises(Unsupported, match="vectors of length 1 for keys to meet"):
        build(spec, WIDTH, 4, grid=WIDE)


def test_queries_are_refused_too():
    class Queries(SpatialRelation):
        def queries(self, offsets):
            return offsets.new_ones(1, self.site.head_dim, *offsets.shape[1:])

    site = Site(4, HEAD_DIM, WIDE)
    with pytest.raises(Unsupported, match="vectors of length 1 for queries to meet"):
        Cosine(site, Queries(site), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("cosine+gpsa", "each are a whole attention"),
        ("log_cpb[hidden=0]", "has no hidden unit"),
        ("log_cpb[extent=0]", "extent is grid or a whole number from 1"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(spec, says):
    with pytest.raises(ValueError, match=says):
        build(spec, WIDTH, 4, grid=WIDE)


# How they start.


def test_log_cpb_starts_normal_with_no_bias_near_eight_everywhere():
    relation = layer("log_cpb").relation
    is_normal(relation.mlp[0].weight, 0.02)
    is_normal(relation.mlp[2].weight, 0.02)
    assert not relation.mlp[0].bias.any()
    assert relation.mlp[2].bias is None
    bias = relation.bias(geometry.offsets((14, 14)))
    assert (bias - 8).abs().max() < 0.2


def test_cosine_starts_at_a_scale_of_ten_and_nothing_of_swin_v2_decays():
    attention = build("swin[window=2]+log_cpb[extent=2]+cosine", WIDTH, 4, grid=SQUARE)
    agree(attention.logit_scale.exp(), [10.0] * 4, 1e-6)
    names = {"mlp.0.weight", "mlp.0.bias", "mlp.2.weight"}
    assert attention.no_weight_decay() == {"logit_scale", *(f"relation.parts.1.{name}" for name in names)}


def test_log_cpb_has_the_published_number_of_parameters():
    relation = build("log_cpb", WIDTH, 4, grid=SQUARE).relation
    assert sum(p.numel() for p in relation.parameters()) == 1536 + 512 * 4


@at("extent", "grid", 3)
def test_the_side_that_measures_stays_when_the_grid_changes(extent):
    attention = drawn(f"log_cpb[extent={extent},hidden=4]", SQUARE)
    sides = attention.relation.sides
    attention.resample((6, 7))
    assert attention.relation.sides == sides == ((4, 4) if extent == "grid" else (3, 3))
    assert attention.resolution_rule() == "recomputed"
