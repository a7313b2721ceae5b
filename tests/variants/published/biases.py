"""The equations of the biases as loops, typed from the papers and their code, for agreement.EQUATIONS."""

from __future__ import annotations

from functools import cache
from math import exp, hypot, log, log2, sqrt

from . import oracles
from .oracles import Equation

SLOPES = {  # ALiBi's, by hand: 2^-8 for one head, and so on
    1: [1 / 256],
    2: [1 / 16, 1 / 256],
    3: [1 / 16, 1 / 256, 1 / 4],
    4: [1 / 4, 1 / 16, 1 / 64, 1 / 256],
    6: [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8],
    8: [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256],
    12: [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256, *(2**-n for n in (0.5, 1.5, 2.5, 3.5))],
}


def rel_bias(relation, grid, *, init="swin", extent="grid", resampling="bicubic"):
    reach = tuple((side if extent == "grid" else extent) - 1 for side in grid)
    return Equation(bias=oracles.table_2d(relation.tables[0].tolist(), reach))


def alibi_2d(relation, grid):
    slopes = SLOPES[relation.site.num_heads]
    return Equation(bias=lambda h, dy, dx: -slopes[h] * hypot(dy, dx))


def log_spaced(offset, side):
    """Swin V2's coordinate of an offset along one axis of a grid of `side`."""
    scaled = 8 * offset / max(side - 1, 1)
    return (1 if scaled > 0 else -1 if scaled < 0 else 0) * log2(1 + abs(scaled)) / 3  # log2(8) = 3


def log_cpb(relation, grid, *, hidden=512, extent="grid"):
    sides = relation.site.grid if extent == "grid" else (extent, extent)
    w1, b1 = relation.mlp[0].weight.tolist(), relation.mlp[0].bias.tolist()
    w2 = relation.mlp[2].weight.tolist()

    @cache
    def bias(h, dy, dx):
        c = [log_spaced(dy, sides[0]), log_spaced(dx, sides[1])]
        return 16 * oracles.sigmoid(oracles.dot(w2[h], [max(0.0, u) for u in oracles.linear(c, w1, b1)]))

    return Equation(bias=bias)


def t5_bucket(step, buckets, most, signed):
    """T5's: half the buckets to the right, then half of each half exact, the rest logarithmic."""
    first = 0
    if signed:
        buckets //= 2
        first = buckets if step > 0 else 0
    step, exact = abs(step), buckets // 2
    if step < exact:
        return first + int(step)
    far = exact + int(log(step / exact) / log(most / exact) * (buckets - exact))
    return first + min(far, buckets - 1)


def t5(relation, grid, *, axes="flattened", buckets=32, max_distance="auto", scope="layer"):
    signed = axes != "euclidean"
    least = 2 * (buckets // 4 if signed else buckets // 2)
    most = max_distance
    if most == "auto":
        most = max(128 if axes == "flattened" else 2 * max(relation.site.grid), least)
    steps = range(-most, most + 1) if signed else {hypot(a, b) for a in range(most + 1) for b in range(most + 1)}
    reached = sorted({t5_bucket(step, buckets, most, signed) for step in steps})
    tables = [table.table.tolist() for table in relation.tables]

    def read(table, h, step):
        return table[h][reached.index(t5_bucket(step, buckets, most, signed))]

    if axes == "both":
        return Equation(bias=lambda h, dy, dx: read(tables[0], h, dy) + read(tables[1], h, dx))
    if axes == "flattened":
        return Equation(bias=lambda h, dy, dx: read(tables[0], h, dy * grid[1] + dx))
    return Equation(bias=lambda h, dy, dx: read(tables[0], h, hypot(dy, dx)))


def levit(relation, grid):
    table = relation.table.tolist()
    return Equation(bias=lambda h, dy, dx: table[h][abs(dy)][abs(dx)])


def normed(x, weight, bias):
    """A LayerNorm, then a ReLU."""
    mean = sum(x) / len(x)
    spread = sqrt(sum((a - mean) ** 2 for a in x) / len(x) + 1e-5)
    return [max(0.0, (a - mean) / spread * w + b) for a, w, b in zip(x, weight, bias, strict=True)]


def crossformer(relation, grid, *, hidden="auto"):
    layers = [{name: p.tolist() for name, p in m.named_parameters()} for m in relation.mlp]

    @cache
    def units(dy, dx):
        x = oracles.linear([dy, dx], layers[0]["weight"], layers[0]["bias"])
        for norm, line in ((1, 3), (4, 6), (7, 9)):
            x = normed(x, layers[norm]["weight"], layers[norm]["bias"])
            x = oracles.linear(x, layers[line]["weight"], layers[line].get("bias"))
        return x

    return Equation(bias=lambda h, dy, dx: units(dy, dx)[h])


def kerple(relation, grid, *, kernel="log"):
    r, s = relation.r.tolist(), relation.s.tolist()
    if kernel == "log":
        return Equation(bias=lambda h, dy, dx: -max(r[h], 0.01) * log(1 + max(s[h], 0.01) * hypot(dy, dx)))
    return Equation(bias=lambda h, dy, dx: -max(s[h], 0.01) * hypot(dy, dx) ** min(max(r[h], 0.01), 2.0))


def fire(relation, grid, *, hidden=32):
    c = abs(relation.c.item())
    w1, b1, w2 = (p.tolist() for p in relation.mlp.parameters())
    farthest = log(c * hypot(grid[0] - 1, grid[1] - 1) + 1) + 1e-6

    def bias(h, dy, dx):
        share = log(c * hypot(dy, dx) + 1) / farthest
        return oracles.dot(w2[h], [max(0.0, u) for u in oracles.linear([share], w1, b1)])

    return Equation(bias=bias)


def gaussian(relation, grid, *, sigma=2.0):
    width = [[exp(s) for s in head] for head in relation.log_sigma.tolist()]
    return Equation(bias=lambda h, dy, dx: -dy * dy / (2 * width[h][0] ** 2) - dx * dx / (2 * width[h][1] ** 2))


def _up(dy, dx):
    return dy <= -abs(dx)


def _down(dy, dx):
    return dy >= abs(dx)


def _left(dy, dx):
    return dx <= -abs(dy)


def _right(dy, dx):
    return dx >= abs(dy)


LOOKS = {  # the fields of view of four heads (eight of eighths), as the code lists them
    "halves": [lambda dy, dx: dy <= 0, lambda dy, dx: dy >= 0, lambda dy, dx: dx <= 0, lambda dy, dx: dx >= 0],
    "corners": [lambda dy, dx: dy <= 0 and dx <= 0, lambda dy, dx: dy <= 0 and dx >= 0,
                lambda dy, dx: dy >= 0 and dx <= 0, lambda dy, dx: dy >= 0 and dx >= 0],
    "triangles": [_up, _down, _left, _right],
    "diagonals": [lambda *at: _up(*at) or _right(*at), lambda *at: _up(*at) or _left(*at),
                  lambda *at: _down(*at) or _right(*at), lambda *at: _down(*at) or _left(*at)],
    "eighths": [lambda dy, dx: _up(dy, dx) and dx <= 0, lambda dy, dx: _down(dy, dx) and dx <= 0,
                lambda dy, dx: _left(dy, dx) and dy <= 0, lambda dy, dx: _right(dy, dx) and dy <= 0,
                lambda dy, dx: _up(dy, dx) and dx >= 0, lambda dy, dx: _down(dy, dx) and dx >= 0,
                lambda dy, dx: _left(dy, dx) and dy >= 0, lambda dy, dx: _right(dy, dx) and dy >= 0],
}  # fmt: skip


def lookhere(relation, grid, *, directions="halves", first=1.5, last=0.5):
    """Of four heads, all with a direction and slope 1/2; one head or two are refused, more are a test of their own."""
    site = relation.site
    layer = first + (last - first) * site.layer / max(site.depth - 1, 1)

    def seen(h, query, key):
        return LOOKS[directions][h](key[0] - query[0], key[1] - query[1])

    return Equation(bias=lambda h, dy, dx: -layer * 0.5 * hypot(dy, dx), seen=seen)


EQUATIONS = {
    "rel_bias": rel_bias, "levit": levit, "crossformer": crossformer, "log_cpb": log_cpb, "t5": t5,
    "alibi_2d": alibi_2d, "kerple": kerple, "fire": fire, "gaussian": gaussian, "lookhere": lookhere,
}  # fmt: skip
