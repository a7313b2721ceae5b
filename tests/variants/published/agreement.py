"""A variant with random parameters beside its equation, and what it means that the two agree."""

from __future__ import annotations

import pytest
import torch

from variants import build, registry
from variants.relation import Composed

from . import biases, oracles
from .oracles import Equation

TOLERANCE = 1e-9  # relative, float64
COMPARED: list[tuple[float, float]] = []  # (difference, tolerance) of each comparison, for the badges
SQUARE, WIDE = (4, 4), (3, 5)
WIDTH, HEAD_DIM = 24, 6  # with four heads, so that D is not H


def on(*grids):
    """Runs a test on each grid."""
    return pytest.mark.parametrize("grid", grids, ids=[f"{h}x{w}" for h, w in grids])


def at(name, *values):
    """Runs a test at each value of a setting, by a readable name: `prefix=1`."""
    return pytest.mark.parametrize(name, values, ids=[f"{name}={value}" for value in values])


def sized(value):
    """The id of a grid or of a window: `4x6`, `window=2`."""
    return f"{value[0]}x{value[1]}" if isinstance(value, tuple) else f"window={value}"


def agree(found, expected, tolerance=TOLERANCE):
    """Asserts max |found - expected| <= tolerance max |expected|, for two arrays of one shape."""
    found, expected = (torch.as_tensor(a, dtype=torch.float64).detach() for a in (found, expected))
    assert found.shape == expected.shape
    difference = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-300))
    assert difference <= tolerance, f"the relative difference is {difference:.1e}, above {tolerance:.0e}"
    COMPARED.append((difference, tolerance))


def rejected():
    """The same comparison, seen to fail, by its numbers and not by an error on the way."""
    return pytest.raises(AssertionError, match="the relative difference is")


def drawn(spec, grid, *, heads=4, width=WIDTH, layer=0, backend="eager", qkv_bias=True, std=0.3):
    """The attention of a spec in float64; every parameter is random, those that start at zero too."""
    attention = build(spec, width, heads, grid=grid, layer=layer, backend=backend, qkv_bias=qkv_bias).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return attention


def tokens(grid, prefix=0, *, batch=2, width=WIDTH):
    """x [B, P+N, C] in float64."""
    return torch.randn(batch, prefix + grid[0] * grid[1], width, dtype=torch.float64)


def agrees_with_equation(spec, grid, prefix=0, *, trained_at=None, heads=4, layer=0, backend="eager"):
    """Asserts that the layer's output and its attention map are those of the loops, in training and in inference."""
    attention = drawn(spec, trained_at or grid, heads=heads, layer=layer, backend=backend)
    x = tokens(grid, prefix)
    out, weights = by_loops(attention, spec, x, grid)
    agree(attention(x, grid), out)
    q, k, _ = attention.project(x, grid)
    agree(attention.weights(q, k, grid), weights)
    attention.eval()
    with torch.no_grad():
        for _ in range(2):  # the second time from what inference keeps
            agree(attention(x, grid), out)


def by_loops(attention, spec, x, grid):
    """The layer's output and attention map by the equations of the spec."""
    shared = [(m.weight.tolist(), None if m.bias is None else m.bias.tolist()) for m in (attention.qkv, attention.proj)]
    found = equations(attention, spec, grid)
    out, weights = oracles.layer(x.tolist(), shared, attention.num_heads, grid, found)
    return torch.tensor(out, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)


def equations(attention, spec, grid):
    """The equations of a spec's summands, with the parameters of the attention."""
    relation = attention.relation
    relations = list(relation.parts) if isinstance(relation, Composed) else [relation]
    found = []
    for part in registry.parse(spec):
        if part.name == "gpsa":
            weight = attention.position.weight.tolist()
            found.append(Equation(position=oracles.quadratic(weight), gate=attention.gate.tolist()))
        elif part.name in ATTENTIONS:
            found.append(ATTENTIONS[part.name](attention, grid, **dict(part.settings)))
        else:
            found.append(EQUATIONS[part.name](relations.pop(0), grid, **dict(part.settings)))
    return found


def _sa(relation, grid):
    return Equation()


def _sp_sa(relation, grid, *, hidden=32, form="mlp", scope="head", combine="mul"):
    heads, f = relation.site.num_heads, relation.function
    each = (lambda t: t) if scope == "head" else (lambda t: t.expand(heads, *t.shape[1:]))
    if form == "mlp":
        w1 = each(f.w1).flip(-1).flatten(0, 1).tolist()  # to the authors' columns (x, y)
        last = [0.0] * heads if combine == "add" else each(f.b2).tolist()
        assert f.w1.shape[1] == hidden
        function = oracles.omega(w1, each(f.b1).flatten().tolist(), each(f.w2).tolist(), last)
    elif form == "linear":
        last = [0.0] * heads if combine == "add" else each(f.b).tolist()
        function = oracles.linear_form(each(f.w).tolist(), last)
    else:
        function = oracles.table_2d(each(f.table).tolist(), (grid[0] - 1, grid[1] - 1))
    return Equation(omega=function) if combine == "mul" else Equation(bias=function)


def _psa(relation, grid, *, init="local"):
    return Equation(bias=oracles.quadratic(relation.weight.tolist()))


def _rpe_1d(relation, grid, *, mode="query", values=False):
    """At a grid that is not the training grid, the line of entries is stretched."""

    def line(parameter):
        return [oracles.stretched(e, 2 * grid[0] * grid[1] - 1) for e in parameter.squeeze(-2).tolist()]

    table = line(relation.table[0] if mode == "query" else relation.table)
    value = oracles.vectors_1d(line(relation.value_table[0]), grid) if values else None
    if mode == "query":
        return Equation(key=oracles.vectors_1d(table, grid), value=value)
    return Equation(bias=oracles.table_1d(table, grid), value=value)


def _rpe_2d(relation, grid, *, mode="query", factorized=False, extent="grid", values=False):
    reach = tuple((side if extent == "grid" else extent) - 1 for side in grid)

    def vectors(tables):
        if factorized:
            rows, columns = (t[0] for t in tables)
            return oracles.decomposed(rows.squeeze(-1).tolist(), columns.squeeze(-2).tolist(), reach)
        return oracles.vectors_2d(tables[0][0].tolist(), reach)

    value = vectors(relation.value_tables) if values else None
    if mode == "query":
        return Equation(key=vectors(relation.tables), value=value)
    if factorized:
        both = oracles.decomposed(
            relation.tables[0].squeeze(-1).tolist(), relation.tables[1].squeeze(-2).tolist(), reach
        )
        return Equation(bias=lambda h, dy, dx: both(h, dy, dx)[h], value=value)
    return Equation(bias=oracles.table_2d(relation.tables[0].tolist(), reach), value=value)


def _swin(relation, grid, *, window):
    return Equation(seen=oracles.swin_seen(window, window // 2 if relation.site.layer % 2 else 0, grid))


def _cswin(relation, grid, *, stripe):
    return Equation(seen=oracles.cswin_seen(stripe, relation.site.num_heads))


def _window(relation, grid, *, width=3, height=3, dy=0, dx=0):
    return Equation(seen=oracles.window_seen(width, height, dy, dx))


def _neighborhood(relation, grid, *, kernel, dilation=1):
    return Equation(seen=oracles.nearest_seen(kernel, dilation, grid))


def _irpe(relation, grid, *, method="product", mode="contextual", on="k", shared=True, version="code"):
    def read(letter):
        tables = [table.tolist() for table in getattr(relation, f"{letter}_tables")]
        assert all(len(table) == (1 if shared else relation.site.num_heads) for table in tables)
        return oracles.bucketed(tables, method, version)

    if mode == "bias":
        of, scale = read("k"), relation.site.head_dim**-0.5 if version == "paper" else 1.0
        return Equation(bias=lambda h, dy, dx: scale * of(h, dy, dx))
    return Equation(**{{"k": "key", "q": "query", "v": "value"}[letter]: read(letter) for letter in on})


def _decomposed(relation, grid, *, extent="grid"):
    """The products are not scaled, so the keys are, up."""
    reach = [side - 1 if extent == "grid" else extent - 1 for side in grid]
    lines = relation.rows[0, :, :, 0].tolist(), relation.columns[0, :, 0].tolist()
    tables = [[oracles.between_centres(line, 2 * r + 1) for line in part] for part, r in zip(lines, reach, strict=True)]
    of = oracles.decomposed(*tables, reach)
    return Equation(key=lambda h, dy, dx: [relation.site.head_dim**0.5 * r for r in of(h, dy, dx)])


def _rope_axial(attention, grid, *, theta=100.0, coordinates="raw"):
    d = attention.site.head_dim
    if coordinates == "raw":
        return Equation(turn=oracles.rotation(oracles.axial(d, theta)))
    return Equation(turn=oracles.rotation(oracles.axial_dinov3(d, theta, coordinates, grid), halves=True))


def _rope_mixed(attention, grid):
    return Equation(turn=oracles.rotation(oracles.mixed(attention.freqs.tolist())))


def _lepe(attention, grid):
    conv = attention.get_v
    return Equation(beside=oracles.convolved(conv.weight.squeeze(1).tolist(), conv.bias.tolist()))


ATTENTIONS = {"rope_axial": _rope_axial, "rope_mixed": _rope_mixed, "lepe": _lepe}

EQUATIONS = {
    "sa": _sa, "sp_sa": _sp_sa, "psa": _psa, "rpe_1d": _rpe_1d, "rpe_2d": _rpe_2d, "swin": _swin, "cswin": _cswin,
    "window": _window, "neighborhood": _neighborhood, "irpe": _irpe, "decomposed": _decomposed,
}  # fmt: skip
EQUATIONS |= biases.EQUATIONS


def agrees_with_eager(spec, grid, prefix=0, other="sdpa", layer=1):
    expected, expected_grads = by_backend(spec, grid, prefix, "eager", layer=layer)
    found, grads = by_backend(spec, grid, prefix, other, layer=layer)
    agree(found, expected)
    assert grads.keys() == expected_grads.keys()
    for name, grad in grads.items():
        if expected_grads[name].abs().max() > 1e-12:  # softmax does not see what all keys have in common
            agree(grad, expected_grads[name])


def by_backend(spec, grid, prefix, backend, *, layer=1):
    """The output, and the gradients of the input and of every parameter."""
    torch.manual_seed(1)
    attention, x = drawn(spec, grid, layer=layer, backend=backend), tokens(grid, prefix).requires_grad_()
    y = attention(x, grid)
    (y * torch.randn_like(y)).sum().backward()
    grads = {name: p.grad for name, p in attention.named_parameters()}
    return y, {"x": x.grad, **{name: g for name, g in grads.items() if g is not None}}
