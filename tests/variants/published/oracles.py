"""The papers' equations as loops over pairs of tokens: plain Python floats, no tensors, nothing of `variants`.

A pair is query i and key j; its offset is (dy, dx) = place of j - place of i, rows first. A pair with a prefix token in
it is neutral.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import cos, exp, log, pi, sin, sqrt
from operator import mul

OfOffset = Callable[[int, int, int], float]  # (head, dy, dx)
VectorOfOffset = Callable[[int, int, int], list[float]]
Seen = Callable[[int, tuple[int, int], tuple[int, int]], bool]  # (head, query (y, x), key (y, x))


@dataclass(frozen=True)
class Equation:
    """What a paper does to the pair: logit = omega <q, k>/sqrt(D) + bias + <q, key>/sqrt(D) where seen; v + value.

    With `query`, also <query, k>/sqrt(D). With `gate`, the weights are (1 - s(gate)) softmax(logit) + s(gate)
    softmax(position). `turn` changes the patches' q and k first; `beside` is added to a patch's output.
    """

    omega: OfOffset | None = None
    bias: OfOffset | None = None
    key: VectorOfOffset | None = None
    query: VectorOfOffset | None = None
    value: VectorOfOffset | None = None
    seen: Seen | None = None
    position: OfOffset | None = None
    gate: list[float] | None = None
    turn: Callable[[int, tuple[int, int], list[float]], list[float]] | None = None  # (head, place, vector)
    beside: Callable[..., list[float]] | None = None  # (head, place, values by place, seen) -> what is added to out


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
            q, k = (turned(t, h, grid, equations) for t in (q, k))
            rows = [attention_row(h, i, q, k, grid, equations) for i in range(len(image))]
            of_heads.append(rows)
            for i, row in enumerate(rows):
                merged[i] += added(weighted(row, v, h, i, grid, equations), v, h, i, grid, equations)
        outs.append([linear(token, proj_weight, proj_bias) for token in merged])
        maps.append(of_heads)
    return outs, maps


def turned(vectors, h, grid, equations):
    """q or k [P+N][D] of a head, the patches' turned."""
    at, out = places(grid), list(vectors)
    for e in equations:
        if e.turn:
            out[-len(at) :] = [e.turn(h, place, x) for place, x in zip(at, out[-len(at) :], strict=True)]
    return out


def added(out, v, h, i, grid, equations):
    """[D]: a token's output with what stands beside attention, which patches alone get."""
    at = places(grid)
    prefix = len(v) - len(at)

    def seen(query, key):
        return all(e.seen(h, query, key) for e in equations if e.seen)

    for e in equations:
        if e.beside and i >= prefix:
            more = e.beside(h, at[i - prefix], dict(zip(at, v[prefix:], strict=True)), seen)
            out = [a + b for a, b in zip(out, more, strict=True)]
    return out


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
                if e.query:
                    logit += dot(e.query(h, dy, dx), k[j]) * scale
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


def nearest_seen(kernel, dilation, grid):
    """NATTEN's rule by lists: of the patches with the query's remainder, `kernel` in a row, the query in the middle.

    At the border they move inwards. Of an even kernel one more lies before the query than after it.
    """

    def axis(query, key, side):
        line = list(range(query % dilation, side, dilation))
        size, place = min(kernel, len(line)), line.index(query)
        start = place - size // 2
        while start < 0:
            start += 1
        while start + size > len(line):
            start -= 1
        return key in line[start : start + size]

    return lambda h, query, key: all(axis(a, b, side) for a, b, side in zip(query, key, grid, strict=True))


# iRPE's buckets.


def piecewise(x, a):
    """Its g, with alpha = a, beta = 2a, gamma = 8a."""
    size = abs(x)
    if size <= a:
        found = round(size)
    else:
        found = int(min(2 * a, round(a + log(size / a) / log(8 * a / a) * (2 * a - a))))
    return found if x >= 0 else -found


@cache
def irpe_buckets(method, version, dy, dx):
    """The entry of each table at an offset: of two tables for cross, else of one."""
    square = dy * dy + dx * dx
    if method == "product":
        return (7 * (piecewise(dy, 1.9) + 3) + piecewise(dx, 1.9) + 3,)
    if method == "cross":
        return piecewise(dy, 20) + 40, piecewise(dx, 20) + 40
    if method == "euclidean":
        return (piecewise(round(sqrt(square)) if version == "code" else sqrt(square), 20),)
    squares = {y * y + x * x for y in range(40) for x in range(40)}
    if version == "paper":
        return (piecewise(len([s for s in squares if s < square]), 33),)
    return (len({piecewise(s, 33) for s in squares if piecewise(s, 33) < piecewise(square, 33)}),)


def bucketed(tables, method, version):
    """r_h[I], one vector or number an offset: tables [H or 1][D][buckets] or [H or 1][buckets], summed for cross."""

    def of(h, dy, dx):
        found = 0.0
        for table, at in zip(tables, irpe_buckets(method, version, dy, dx), strict=True):
            mine = table[h if len(table) > 1 else 0]
            if isinstance(mine[0], list):
                vector = [line[at] for line in mine]
                found = vector if found == 0.0 else [a + b for a, b in zip(found, vector, strict=True)]
            else:
                found += mine[at]
        return found

    return of


# Decomposed tables, interpolated.


def between_centres(line, size):
    """A line of entries at another size, linear between the centres of its entries, the outermost kept beyond them."""
    if size == len(line):
        return line
    out = []
    for n in range(size):
        place = min(max((n + 0.5) * len(line) / size - 0.5, 0.0), len(line) - 1.0)
        left = min(int(place), max(0, len(line) - 2))
        right = min(left + 1, len(line) - 1)
        out.append(line[left] + (place - left) * (line[right] - line[left]))
    return out


# Rotations: neighbouring channels are a complex number, or a channel and the one half the width on.


def rotation(angles, halves=False):
    """(head, place, vector) -> vector: pair t of head h turned by angles(h, t, y, x)."""

    def of(h, place, vector):
        out, n = list(vector), len(vector) // 2
        for t in range(n):
            one, other = (t, t + n) if halves else (2 * t, 2 * t + 1)
            z = complex(vector[one], vector[other]) * exp_i(angles(h, t, *place))
            out[one], out[other] = z.real, z.imag
        return out

    return of


def exp_i(angle):
    return complex(cos(angle), sin(angle))


def axial(d, theta):
    """RoPE-ViT's code: the first d/4 pairs by x, the other d/4 by y."""
    return lambda h, t, y, x: (x, y)[t // (d // 4)] * theta ** (-4 * (t % (d // 4)) / d)


def axial_dinov3(d, theta, coordinates, grid):
    """DINOv3: the first d/4 pairs by y, the others by x, centres of patches between -1 and 1, one turn a period."""
    sides = {"separate": grid, "min": (min(grid), min(grid)), "max": (max(grid), max(grid))}[coordinates]

    def of(h, t, *place):
        axis, k = divmod(t, d // 4)
        period = theta ** (2 * k / (d / 2))
        return 2 * pi * (2 * (place[axis] + 0.5) / sides[axis] - 1) / period

    return of


def mixed(freqs):
    """freqs [2][H][D/2], of x and of y."""
    return lambda h, t, y, x: freqs[0][h][t] * x + freqs[1][h][t] * y


# LePE.


def convolved(weight, bias):
    """A depthwise 3x3 convolution of what a patch may see: weight [C][3][3], bias [C], channels head by head."""

    def of(h, place, values, seen):
        d = len(values[place])
        out = []
        for c in range(d):
            total = bias[h * d + c]
            for a in range(3):
                for b in range(3):
                    other = (place[0] + a - 1, place[1] + b - 1)
                    if other in values and seen(place, other):
                        total += weight[h * d + c][a][b] * values[other][c]
            out.append(total)
        return out

    return of
