"""The papers' equations as loops over pairs of tokens: plain Python floats, no tensors, nothing of `variants`.

A pair is query i and key j; its offset is (dy, dx) = place of j - place of i, rows first. A pair with a prefix token in
it is neutral.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, sqrt
from operator import mul

OfOffset = Callable[[int, int, int], float]  # (head, dy, dx)
VectorOfOffset = Callable[[int, int, int], list[float]]
Seen = Callable[[int, tuple[int, int], tuple[int, int]], bool]  # (head, query (y, x), key (y, x))


@dataclass(frozen=True)
class Equation:
    """What a paper does to the pair: logit = omega <q, k>/sqrt(D) + bias + <q, key>/sqrt(D) where seen; v + value.

    With `gate`, the weights are (1 - s(gate)) softmax(logit) + s(gate) softmax(position).
    """

    omega: OfOffset | None = None
    bias: OfOffset | None = None
    key: VectorOfOffset | None = None
    value: VectorOfOffset | None = None
    seen: Seen | None = None
    position: OfOffset | None = None
    gate: list[float] | None = None


def dot(a, b):
    return sum(map(mul, a, b))


def softmax(row):
    """Of a list of logits in which None is not seen."""
    top = max(s for s in row if s is not None)
    powers = [0.0 if s is None else exp(s - top) for s in row]
    total = sum(powers)
    return [p / total for p in powers]


def sigmoid(x):
    return 1 / (1 + exp(-x))


def linear(x, weight, bias):
    return [dot(row, x) + (b if bias else 0.0) for row, b in zip(weight, bias or [0.0] * len(weight), strict=True)]


def places(grid):
    """(row, column) of each patch, row by row."""
    h, w = grid
    return [(y, x) for y in range(h) for x in range(w)]


def every_pair(grid, function):
    """[N][N]: function(dy, dx) of each pair, query first."""
    return [[function(ky - qy, kx - qx) for ky, kx in places(grid)] for qy, qx in places(grid)]


def layer(x, weights, heads, grid, equations):
    """x [B][P+N][C] -> (out [B][P+N][C], attention [B][H][P+N][P+N]); weights: qkv and proj, weight and bias each."""
    (qkv_weight, qkv_bias), (proj_weight, proj_bias) = weights
    outs, maps = [], []
    for image in x:
        projected = [linear(token, qkv_weight, qkv_bias) for token in image]
        width = len(image[0])
        d = width // heads
        merged, of_heads = [[] for _ in image], []
        for h in range(heads):
            q, k, v = ([t[part * width + h * d : part * width + (h + 1) * d] for t in projected] for part in range(3))
            rows = [attention_row(h, i, q, k, grid, equations) for i in range(len(image))]
            of_heads.append(rows)
            for i, row in enumerate(rows):
                merged[i] += weighted(row, v, h, i, grid, equations)
        outs.append([linear(token, proj_weight, proj_bias) for token in merged])
        maps.append(of_heads)
    return outs, maps


def attention_row(h, i, q, k, grid, equations):
    """[P+N]: the weights of query i in head h."""
    at = places(grid)
    prefix, scale = len(q) - len(at), 1 / sqrt(len(q[0]))
    content, position = [], []
    gates = [e for e in equations if e.gate]
    for j in range(len(k)):
        logit, by_place = dot(q[i], k[j]) * scale, 0.0
        if i >= prefix and j >= prefix:
            here, there = at[i - prefix], at[j - prefix]
            dy, dx = there[0] - here[0], there[1] - here[1]
            for e in equations:
                if e.omega:
                    logit *= e.omega(h, dy, dx)
            for e in equations:
                if e.bias:
                    logit += e.bias(h, dy, dx)
                if e.key:
                    logit += dot(q[i], e.key(h, dy, dx)) * scale
            by_place = sum(e.position(h, dy, dx) for e in gates)
            if not all(e.seen(h, here, there) for e in equations if e.seen):
                logit = by_place = None
        content.append(logit)
        position.append(by_place)
    row = softmax(content)
    for e in gates:
        s = sigmoid(e.gate[h])
        row = [(1 - s) * a + s * b for a, b in zip(row, softmax(position), strict=True)]
    return row


def weighted(row, v, h, i, grid, equations):
    """[D]: sum_j row_j (v_j + value(offset))."""
    at = places(grid)
    prefix = len(v) - len(at)
    out = [0.0] * len(v[0])
    for j, a in enumerate(row):
        terms = [v[j]]
        if i >= prefix and j >= prefix:
            dy, dx = (there - here for there, here in zip(at[j - prefix], at[i - prefix], strict=True))
            terms += [e.value(h, dy, dx) for e in equations if e.value]
        for term in terms:
            out = [o + a * t for o, t in zip(out, term, strict=True)]
    return out


# SP-SA, in the layout of the authors' code: W1 [H*m][2] meets (x_j - x_i, y_j - y_i), head h owns m units in a row.


def omega(w1, b1, w2, b2):
    def of(h, dy, dx):
        m = len(b1) // len(w2)
        units = [max(0.0, w1[u][0] * dx + w1[u][1] * dy + b1[u]) for u in range(h * m, (h + 1) * m)]
        return sum(w2[h][n] * unit for n, unit in enumerate(units)) + b2[h]

    return of


def linear_form(w, b):
    """w_h . (dy, dx) + b_h."""
    return lambda h, dy, dx: w[h][0] * dy + w[h][1] * dx + b[h]


# PSA: v_h . (|delta|^2, delta_1, delta_2).


def quadratic(v):
    return lambda h, dy, dx: v[h][0] * (dy * dy + dx * dx) + v[h][1] * dy + v[h][2] * dx


# Tables of the relative position, key minus query.


def clip(k, most):
    return max(-most, min(most, k))


def table_2d(table, reach):
    """T_h[dy + a, dx + b] with |dy| <= a and |dx| <= b, clipped beyond: table [H][2a+1][2b+1]."""
    a, b = reach
    return lambda h, dy, dx: table[h][clip(dy, a) + a][clip(dx, b) + b]


def vectors_2d(table, reach):
    """[d] -> R_d[dy + a, dx + b]: table [D][2a+1][2b+1]; the same for all heads."""
    a, b = reach
    return lambda h, dy, dx: [plane[clip(dy, a) + a][clip(dx, b) + b] for plane in table]


def decomposed(rows, columns, reach):
    """R_y[dy] + R_x[dx]: rows [D][2a+1], columns [D][2b+1]."""
    a, b = reach
    return lambda h, dy, dx: [
        r[clip(dy, a) + a] + c[clip(dx, b) + b] for r, c in zip(rows, columns, strict=True)
    ]  # fmt: skip


def step(grid, dy, dx):
    """j - i of the flattened sequence, and N - 1, where the table has the step 0."""
    h, w = grid
    return dy * w + dx, h * w - 1


def table_1d(table, grid):
    def of(h, dy, dx):
        k, zero = step(grid, dy, dx)
        return table[h][zero + k]

    return of


def vectors_1d(table, grid):
    def of(h, dy, dx):
        k, zero = step(grid, dy, dx)
        return [line[zero + k] for line in table]

    return of


def stretched(line, size):
    """A line of entries at another size, linear between neighbours, both ends and the centre kept."""
    old, out = len(line), []
    if size == old:
        return line
    for n in range(size):
        place = n * (old - 1) / (size - 1)
        left = min(int(place), old - 2)
        out.append(line[left] + (place - left) * (line[left + 1] - line[left]))
    return out


# Windows.


def swin_seen(window, shift, grid):
    """Swin literally: pad to whole windows, roll by -shift, split, forbid pairs from different of the 9 regions."""

    def axis(p, side):
        m = min(window, side)
        s = 0 if side <= m else shift
        padded = -(-side // m) * m
        rolled = (p - s) % padded
        region = 0 if s == 0 or rolled < padded - m else 1 if rolled < padded - s else 2
        return rolled // m, region

    def seen(h, query, key):
        return all(axis(a, side) == axis(b, side) for a, b, side in zip(query, key, grid, strict=True))

    return seen


def cswin_seen(stripe, heads):
    """The first floor(H/2) heads see columns of their stripe, the others rows of theirs."""

    def seen(h, query, key):
        axis = 1 if h < heads // 2 else 0
        return query[axis] // stripe == key[axis] // stripe

    return seen


def window_seen(width, height, sy, sx):
    """|dx - s_x| <= width and |dy - s_y| <= height, and every patch sees itself."""

    def seen(h, query, key):
        dy, dx = key[0] - query[0], key[1] - query[1]
        return (dy, dx) == (0, 0) or (abs(dx - sx) <= width and abs(dy - sy) <= height)

    return seen
