"""no_content, uniform, position_only: the softmax of bias and mask alone, against loops; what they refuse; mutants."""

import pytest
import torch
from torch import nn

from harness.backbone.vit import create
from harness.measure.cost import count
from variants import Attention, SpatialRelation, Unsupported, build, controls
from variants.relation import Composed, Site

from . import mutants, oracles
from .agreement import HEAD_DIM, SQUARE, WIDE, WIDTH, agree, agrees_with_eager, at, drawn, on, rejected, tokens

HEADS = 4


def map_by_loops(grid, prefix, biases, seen):
    """[H][P+N][P+N]: softmax over the keys that are seen; 0 where a prefix token takes part, else the biases' sum."""
    places = [None] * prefix + oracles.places(grid)

    def logit(h, query, key):
        if query is None or key is None:
            return 0.0
        dy, dx = key[0] - query[0], key[1] - query[1]
        return sum(bias(h, dy, dx) for bias in biases) if all(s(h, query, key) for s in seen) else None

    return [[oracles.softmax([logit(h, query, key) for key in places]) for query in places] for h in range(HEADS)]


def output_by_loops(attention, x, weights):
    """x [B][P+N][C] -> [B][P+N][C]: proj of sum_j A[h][i][j] v_j, head by head; q and k have no part in it."""
    qkv, proj = attention.qkv, attention.proj
    outs = []
    for image in x.tolist():
        v = [oracles.linear(t, qkv.weight[2 * WIDTH :].tolist(), qkv.bias[2 * WIDTH :].tolist()) for t in image]
        columns = list(zip(*v, strict=True))  # [C][P+N]
        mixed = [
            [oracles.dot(weights[c // HEAD_DIM][i], column) for c, column in enumerate(columns)]
            for i in range(len(image))
        ]
        outs.append([oracles.linear(token, proj.weight.tolist(), proj.bias.tolist()) for token in mixed])
    return outs


def parts(attention):
    return list(attention.relation.parts) if isinstance(attention.relation, Composed) else [attention.relation]


def _psa(place):
    return lambda attention, grid: oracles.quadratic(parts(attention)[place].weight.tolist())


def _table(place, extent=None):
    def bias(attention, grid):
        reach = tuple((extent or side) - 1 for side in grid)
        return oracles.table_2d(parts(attention)[place].tables[0].tolist(), reach)

    return bias


def _swin(grid):
    return oracles.swin_seen(2, 0, grid)


def _cswin(grid):
    return oracles.cswin_seen(1, HEADS)


def _box(grid):
    return oracles.window_seen(1, 1, 0, 1)


# spec -> the biases that it adds up and who sees whom, in the words of the oracles
CASES = {
    "no_content": ([], []),
    "no_content+psa": ([_psa(0)], []),
    "no_content+rpe_2d[mode=bias]+psa+swin[window=2]": ([_table(0), _psa(1)], [_swin]),
    "uniform": ([], []),
    "uniform+swin[window=2]": ([], [_swin]),
    "uniform+cswin[stripe=1]+swin[window=2]": ([], [_cswin, _swin]),
    "uniform+window[dx=1,height=1,width=1]": ([], [_box]),
    "position_only": ([_table(0)], []),
    "position_only[extent=2]": ([_table(0, 2)], []),
    "position_only+swin[window=2]": ([_table(0)], [_swin]),
    "position_only+psa+window[dx=1,height=1,width=1]": ([_table(0), _psa(1)], [_box]),
    "swin[window=2]+position_only[extent=2]": ([_table(0, 2)], [_swin]),
}


def is_the_equation(spec, grid, prefix=0, *, trained_at=None, backend="eager"):
    """Asserts output and map, in training and in inference."""
    attention, x = drawn(spec, trained_at or grid, backend=backend), tokens(grid, prefix)
    biases, seen = CASES[spec]
    weights = map_by_loops(grid, prefix, [b(attention, grid) for b in biases], [s(grid) for s in seen])
    out = output_by_loops(attention, x, weights)
    agree(attention(x, grid), out)
    q, k, _ = attention.project(x, grid)
    agree(attention.weights(q, k, grid).expand(len(x), -1, -1, -1), [weights] * len(x))
    attention.eval()
    with torch.no_grad():
        for _ in range(2):  # the second time from what inference keeps
            agree(attention(x, grid), out)


@pytest.mark.proof("the equation by loops", "{spec}")
@at("backend", "eager", "auto")
@at("prefix", 0, 1)
@on(SQUARE, WIDE)
@pytest.mark.parametrize("spec", [spec for spec in CASES if not spec.startswith("swin")])
def test_controls_are_the_equation(spec, grid, prefix, backend):
    is_the_equation(spec, grid, prefix, backend=backend)


def test_a_control_may_come_second_in_a_sum():
    is_the_equation("swin[window=2]+position_only[extent=2]", WIDE, 1)


@pytest.mark.parametrize("spec", ["uniform", "uniform+swin[window=2]", "no_content+psa", "position_only[extent=2]"])
def test_at_another_resolution_they_are_the_equation_too(spec):
    is_the_equation(spec, (2, 6), 1, trained_at=SQUARE)


# uniform is a mean.


@pytest.mark.proof("the mean of the values", "{spec}")
@pytest.mark.parametrize("spec", ["uniform", "no_content"])
@at("backend", "eager", "sdpa", "tiled", "auto")
@at("prefix", 0, 1)
def test_uniform_is_the_mean_of_v(spec, prefix, backend):
    attention, x = drawn(spec, WIDE, backend=backend), tokens(WIDE, prefix)
    q, k, v = attention.project(x, WIDE)
    out = attention.attend(q, k, v, WIDE)
    agree(out, v.mean(2, keepdim=True).expand_as(v))
    agree(attention(x, WIDE), attention.proj(v.mean(2).flatten(1))[:, None].expand_as(x))
    with rejected():
        agree(out, v[:, :, 1:].mean(2, keepdim=True).expand_as(v))  # without the first token
    with rejected():
        agree(out, v.sum(2, keepdim=True).expand_as(v))


def test_position_only_is_no_content_with_a_table_of_biases():
    control, sum_ = drawn("position_only", WIDE), drawn("no_content+rpe_2d[mode=bias]", WIDE)
    sum_.qkv.load_state_dict(control.qkv.state_dict())
    sum_.proj.load_state_dict(control.proj.state_dict())
    x = tokens(WIDE, 1)
    with rejected():
        agree(sum_(x, WIDE), control(x, WIDE))
    sum_.relation.load_state_dict(parts(control)[0].state_dict())
    agree(sum_(x, WIDE), control(x, WIDE))


@pytest.mark.parametrize("spec", CASES)
def test_no_map_depends_on_the_content_and_no_query_or_key_learns(spec):
    attention, x = drawn(spec, WIDE), tokens(WIDE, 1)
    (q, k, _), (other_q, other_k, _) = (attention.project(t, WIDE) for t in (x, tokens(WIDE, 1)))
    agree(attention.weights(q, k, WIDE), attention.weights(other_q, other_k, WIDE))
    attention(x, WIDE).square().sum().backward()
    assert not attention.qkv.weight.grad[: 2 * WIDTH].any()
    assert attention.qkv.weight.grad[2 * WIDTH :].all()


@pytest.mark.parametrize(
    ("spec", "backends"),
    [
        ("uniform", ["sdpa", "tiled", "auto"]),
        ("uniform+swin[window=2]", ["sdpa", "tiled", "grouped", "auto"]),
        ("uniform+window[height=1,width=1]", ["sdpa", "tiled", "auto"]),
        ("position_only", ["sdpa", "tiled", "auto"]),
        ("position_only+swin[window=2]", ["sdpa", "tiled", "grouped", "auto"]),
        ("no_content+rpe_2d[mode=bias,values=True]", ["auto"]),
    ],
)
@at("prefix", 0, 1)
def test_every_backend_gives_eagers_output_and_gradients(spec, backends, prefix):
    for backend in backends if prefix == 0 else [b for b in backends if b != "grouped"]:
        agrees_with_eager(spec, SQUARE, prefix, backend)


# What they refuse.


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("no_content+sp_sa", "no content for prior to act on; add biases or windows"),
        ("no_content+rpe_1d", "no content for keys"),
        ("no_content+psa+sp_sa+rpe_2d[values=True]", "no content for keys and prior"),
        ("sp_sa+position_only", "no content for prior"),
        ("position_only+rpe_2d", "no content for keys"),
        ("uniform+psa", "takes no bias; add windows or masks alone, or use no_content"),
        ("swin+uniform+rpe_2d[mode=bias,values=True]", "takes no bias and values"),
        ("uniform+sp_sa", "takes no prior"),
        ("uniform+gpsa", "each are a whole attention"),
        ("position_only[extent=0]", "covers no offset"),
    ],
)
@at("device", "cpu", "meta")
def test_what_has_nothing_to_act_on_is_a_sentence(spec, says, device):
    with torch.device(device), pytest.raises(ValueError, match=says):
        build(spec, WIDTH, HEADS, grid=WIDE)


def test_queries_would_bring_content_back_and_are_refused():
    class Queries(SpatialRelation):
        def queries(self, offsets):
            return offsets.new_ones(1, self.site.head_dim, *offsets.shape[1:]) * offsets[0]

    site = Site(HEADS, HEAD_DIM, WIDE)
    with pytest.raises(Unsupported, match="no content for queries"):
        controls.NoContent(site, Queries(site), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH))
    attention = drawn("no_content", WIDE)
    attention.relation = Queries(site)
    (q, k, _), (other_q, other_k, _) = (attention.project(tokens(WIDE), WIDE) for _ in range(2))
    with rejected():
        agree(attention.weights(q, k, WIDE), attention.weights(other_q, other_k, WIDE))


def test_an_added_prior_is_a_bias_and_is_taken():
    assert build("no_content+sp_sa[combine=add]", WIDTH, HEADS, grid=WIDE).relation.combine == "add"


# Errors on purpose.


def _content(monkeypatch):
    monkeypatch.setattr(controls.NoContent, "project", Attention.project)


def _ones(monkeypatch):
    def project(self, x, grid):
        q, k, v = Attention.project(self, x, grid)
        return torch.ones_like(q), k, v

    monkeypatch.setattr(controls.NoContent, "project", project)


BOXED = "uniform+window[dx=1,height=1,width=1]"
CONTENT = {"content kept": _content, "q of ones": _ones}
OF_THE_VALUE = ("key and value exchanged", "heads exchanged in the value")
PLANTED = {
    "uniform": CONTENT,
    "uniform+swin[window=2]": {"no groups": mutants.DROPPED["no groups"]},
    BOXED: {**mutants.IN_THE_SOFTMAX, "no kept": mutants.DROPPED["no kept"]},
    "no_content+psa": {**CONTENT, **mutants.IN_THE_OFFSETS, "no bias": mutants.DROPPED["no bias"]},
    "position_only": {
        **CONTENT, **mutants.IN_THE_TABLE, **mutants.IN_THE_SOFTMAX, "no bias": mutants.DROPPED["no bias"],
        **{name: mutants.IN_THE_ATTENTION[name] for name in OF_THE_VALUE},
    },
    "position_only[extent=2]": mutants.IN_THE_TABLE,
}  # fmt: skip
FAILING = [
    pytest.param(spec, plant, id=f"{spec}: {name}")
    for spec, errors in PLANTED.items()
    for name, plant in errors.items()
]


@pytest.mark.parametrize(("spec", "plant"), FAILING)
def test_loops_reject_a_planted_error(spec, plant, monkeypatch):
    is_the_equation(spec, SQUARE)
    plant(monkeypatch)
    with rejected():
        is_the_equation(spec, SQUARE)


@pytest.mark.parametrize(
    ("spec", "plant"),
    [
        ("position_only", mutants.class_token_not_neutral),
        ("no_content+psa", mutants.class_token_not_neutral),
        ("uniform+swin[window=2]", mutants.class_token_cut_off),
        (BOXED, mutants.class_token_cut_off),
    ],
)
def test_loops_reject_a_class_token_that_is_not_neutral(spec, plant, monkeypatch):
    plant(monkeypatch)
    with rejected():
        is_the_equation(spec, SQUARE, prefix=1)


# How they start.


def test_they_start_from_the_shared_weights_of_sa_and_only_a_table_is_new():
    built = {}
    for spec in ("sa", "uniform", "no_content+psa", "position_only"):
        torch.manual_seed(3)
        built[spec] = build(spec, WIDTH, HEADS, grid=WIDE), torch.rand(())
    for attention, then in built.values():
        assert torch.equal(attention.qkv.weight, built["sa"][0].qkv.weight)
        assert torch.equal(attention.proj.weight, built["sa"][0].proj.weight)
        assert then == built["sa"][1]
    (table,) = parts(built["position_only"][0])[0].tables
    assert table.shape == (HEADS, 5, 9)
    assert built["position_only"][0].no_weight_decay() == {"relation.parts.0.tables.0"}
    assert not list(built["uniform"][0].relation.parameters())


def test_their_gmacs_are_those_of_the_plain_formula():
    found = {
        spec: count(create(spec, img_size=8, patch_size=2, in_chans=1, num_classes=10), torch.randn(1, 1, 8, 8))
        for spec in ("sa", "uniform", "position_only")
    }
    assert found["uniform"] == found["position_only"] == found["sa"]
