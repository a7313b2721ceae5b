"""What a map over offsets says: how far and which way it reaches, how its heads share the work, whether seeds agree.

A map is [H, 2h-1, 2w-1]: a number for each offset Delta = (dy, dx) = key - query, in patches, its centre (0, 0).
Kinds, and where each is neutral: `prior` multiplies the score (1), `bias`, `keys` and `position` are added to it (0),
`kept` says which offsets the middle patch sees (1), `attention` is the mean attention at an offset in units of uniform
attention (1). NaN is an offset that no pair has; it is left out.

    reach   w(Delta) = |prior - 1|, softmax over the offsets of what is added, kept, or attention itself
            effective radius = sqrt(sum w |Delta|^2 / sum w), the root mean square distance, in patches
            anisotropy = (l1 - l2) / (l1 + l2), l the eigenvalues of sum w Delta Delta^T: 0 round, 1 a line

The second moment about the query, as ConViT's non-locality (d'Ascoli et al., arXiv 2103.10697) is the first; for
convolutions see Luo et al., Understanding the effective receptive field, arXiv 1701.04128. A radius of what is neutral
everywhere is not defined for a prior; softmax of a constant has the radius of the table. No torch here.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from harness.results.map_files import NEUTRAL, Book, Map  # noqa: F401  (readers of maps ask for Book here)

ADDED = ("bias", "keys", "position")
FLAT = 1e-6  # a prior that departs from 1 by no more than rounding has no radius, and a constant no correlation
DRAWS = 199  # of the permutation baseline: with the observed one, 200


def distances(shape: tuple[int, ...]) -> Map:
    """[2h-1, 2w-1]: |Delta| in patches, for a map that ends in this shape."""
    dy, dx = steps(shape)
    return np.hypot(dy, dx)


def steps(shape: tuple[int, ...]) -> tuple[Map, Map]:
    """dy and dx, each [2h-1, 2w-1]."""
    b, a = (np.arange(size) - size // 2 for size in shape[-2:])
    dy, dx = np.meshgrid(b.astype(float), a.astype(float), indexing="ij")
    return dy, dx


def weights(kind: str, maps: Map) -> Map:
    """[H, 2h-1, 2w-1], 0 or more: what counts for the reach of a map of this kind."""
    known = np.nan_to_num(maps.astype(float), nan=-np.inf if kind in ADDED else NEUTRAL[kind] * (kind == "prior"))
    if kind == "prior":
        return np.abs(known - NEUTRAL[kind])
    if kind in ADDED:
        return np.exp(known - known.max(axis=(-2, -1), keepdims=True))
    return known


def shaped(kind: str, maps: Map) -> Map:
    """The maps as attention sees them, to be correlated: softmax of what is added, all others as they are.

    Else the far ends of a bias, where nothing is seen any more, would outweigh the places that heads look at.
    """
    return weights(kind, maps) if kind in ADDED else maps


def radius(kind: str, maps: Map) -> Map:
    """[H]: the effective radius in patches; NaN where a prior is neutral at every offset."""
    w = weights(kind, maps)
    total = w.sum(axis=(-2, -1))
    flat = w.max(axis=(-2, -1)) <= FLAT
    moment = (w * distances(maps.shape) ** 2).sum(axis=(-2, -1))
    return np.where(flat, np.nan, np.sqrt(moment / np.where(flat, 1.0, total)))


def anisotropy(kind: str, maps: Map) -> Map:
    """[H]: 0 for a round reach, 1 for one along a line; NaN where nothing but the query itself is reached."""
    w, (dy, dx) = weights(kind, maps), steps(maps.shape)
    yy, xx, yx = ((w * product).sum(axis=(-2, -1)) for product in (dy * dy, dx * dx, dy * dx))
    total = yy + xx
    away = total > FLAT * w.sum(axis=(-2, -1))
    return np.where(away, np.hypot(yy - xx, 2 * yx) / np.where(away, total, 1.0), np.nan)


def peaks(maps: Map) -> NDArray[np.int64]:
    """int [H, 2]: the offset (dy, dx) at which each map is largest."""
    h, w = maps.shape[-2:]
    places = np.nan_to_num(maps.astype(float), nan=-np.inf).reshape(len(maps), -1).argmax(axis=1)
    return np.stack([places // w - h // 2, places % w - w // 2], axis=1)


def profile(maps: Map) -> tuple[Map, Map]:
    """Radial profile: distances [R], and the mean of each map over the offsets that round to one, [H, R]."""
    rings = np.rint(distances(maps.shape)).astype(int).ravel()
    flat = maps.astype(float).reshape(len(maps), -1)
    seen = ~np.isnan(flat)
    sums = np.stack([np.bincount(rings, np.where(seen_h, m, 0.0)) for m, seen_h in zip(flat, seen, strict=True)])
    counts = np.stack([np.bincount(rings, seen_h) for seen_h in seen])
    there = counts.min(axis=0) > 0
    return np.flatnonzero(there).astype(float), sums[:, there] / counts[:, there]


def correlations(one: Map, other: Map) -> Map:
    """[H1, H2]: Pearson's correlation over the offsets that all know; NaN where a map is constant."""
    a, b = one.astype(float).reshape(len(one), -1), other.astype(float).reshape(len(other), -1)
    seen = ~(np.isnan(a).any(axis=0) | np.isnan(b).any(axis=0))
    a, b = (part[:, seen] - part[:, seen].mean(axis=1, keepdims=True) for part in (a, b))
    scales = [np.where(np.abs(part).max(axis=1) > FLAT, np.linalg.norm(part, axis=1), np.nan) for part in (a, b)]
    return (a @ b.T) / np.outer(*scales)


def pairwise(maps: Map) -> list[float]:
    """The correlation of each pair of heads, (0, 1), (0, 2) ...; pairs with a constant map are left out."""
    table = correlations(maps, maps)
    pairs = [float(table[i, j]) for i, j in combinations(range(len(maps)), 2)]
    return [pair for pair in pairs if pair == pair]


def complementarity(maps: Map) -> float | None:
    """The mean correlation of all pairs of heads: 1 all alike, below 0 they divide the offsets; None without a pair."""
    pairs = pairwise(maps)
    return float(np.mean(pairs)) if pairs else None


def chance(maps: Map, seed: int = 0, draws: int = DRAWS) -> list[float]:
    """The complementarity of heads that know nothing of each other, a number a draw.

    Each draw turns every head's map over, and across where the table is square, each its own way. So values, smoothness
    and reach of each map stay, and only its direction is permuted. Shuffling offset by offset would tear smooth maps
    up, and any two smooth maps would seem to agree; rolling them round the table makes a saw of a ramp, and independent
    ramps would seem to share their work. It cannot judge how far heads reach: round maps are always at their chance.
    """
    random = np.random.default_rng(seed)
    found = [complementarity(moved(maps, random)) for _ in range(draws)]
    return [one for one in found if one is not None]


def moved(maps: Map, random: np.random.Generator) -> Map:
    """Each head's map turned over, and across where that fits, at random."""
    turned = []
    for one in maps:
        flipped = one[:: random.choice((-1, 1)), :: random.choice((-1, 1))]
        turned.append(flipped.T if one.shape[0] == one.shape[1] and random.integers(2) else flipped)
    return np.stack(turned)


def agreement(one: Map, other: Map) -> float | None:
    """How well two seeds agree: the mean correlation of their heads, in the pairing of heads that makes it largest.

    None where no pair of heads has a correlation. Heads have no order that seeds share, hence the pairing.
    """
    table = correlations(one, other)
    known = ~np.isnan(table)
    if not known.any():
        return None
    rows, columns = linear_sum_assignment(np.where(known, table, -2.0), maximize=True)
    matched = table[rows, columns]
    return float(np.nanmean(matched)) if (~np.isnan(matched)).any() else None
