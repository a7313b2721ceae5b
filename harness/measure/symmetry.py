"""Symmetry: which permutations of the cells a model cannot notice, and how many answers of a probe that leaves open.

A model whose logits stay the same when cells are permuted gives one answer to all pictures that are permutations of
each other. On a probe these are the pictures whose marks lie on pairs of cells of one orbit, and the best single answer
is the label that is most likely there:

    symmetry_top1 = sum over orbits of max over labels of P(label, orbit)

It is the expected accuracy of the best weights, so no training has more but for the chance of a finite test split.
Which permutations a model notices is tried, not proved: those of two cells, of two blocks of rows or of columns, and
the mirrorings of the grid, on models of several random weights, with pictures resized as in training. Whatever one of
these models notices is not used, and what is not tried is not used, so the bound errs upwards. It does not say that
training gets there.

For `texture` the one argument is the left-right mirroring: it turns each label into the other, so a model that cannot
notice it stays at 1/2.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from harness.data import Dataset, resize
from harness.data.sets.probes import CELL, CELLS, PROBES, odds
from harness.measure.subject import Subject
from variants import Attention

FROM_PROBABILITIES = True  # no weights are needed: it is of all weights that the model can have
# (share of its initial value, standard deviation of what is added) of every weight, one model after another: no term is
# at a neutral start, and none that starts far out stays there
DRAWS = ((1.0, 0.3), (1.0, 1.0), (0.0, 0.5))
SAME = 1e-12  # of the logits' spread, in float64: permutations that are not noticed move them by some 1e-15


def images(n: int) -> float:
    """How many image forwards it takes."""
    return float(len(DRAWS) * len(permutations()))


def obstacle(data: Dataset) -> str | None:
    """Why the symmetry says nothing about a dataset, None where it does."""
    if not data.name.startswith("probes:"):
        return (f"--measure symmetry is about probes, not {data.name}; leave symmetry out of --measure, or choose "
                "probes:same_row, say")  # fmt: skip
    return None


def measure(subject: Subject) -> Iterator[dict[str, Any]]:
    """symmetry_top1 in %: what the model can have at most; beside it chance, and how many images an epoch has."""
    data = subject.data
    if (why := obstacle(data)) is not None:
        raise ValueError(why)
    kept = unnoticed(subject.build(), subject.image, subject.seed)
    about = {"chance": 100 / len(data.classes), "epoch_images": len(data.train_y)}
    yield {"metric": "symmetry_top1", "value": 100 * highest(data.name.partition(":")[2], kept), "unit": "%",
           "params": about}  # fmt: skip


def permutations() -> Tensor:
    """int64 [k, 36]: the permutations that are tried; cell i of the new picture is cell p[i] of the old one."""
    grid = torch.arange(CELLS**2).view(CELLS, CELLS)
    found = [grid.flip(0), grid.flip(1), grid.T]
    for first, second in combinations(range(CELLS**2), 2):
        one = grid.flatten().clone()
        one[first], one[second] = second, first
        found.append(one)
    for size in (size for size in range(1, CELLS) if CELLS % size == 0):
        for first, second in combinations(range(0, CELLS, size), 2):
            order = torch.arange(CELLS)
            order[first : first + size], order[second : second + size] = (
                torch.arange(at, at + size) for at in (second, first)
            )
            found += [grid[order], grid[:, order]]
    return torch.stack([one.flatten() for one in found])


@torch.no_grad()
def unnoticed(model: nn.Module, size: tuple[int, int], seed: int = 0) -> Tensor:
    """int64 [k, 36]: those of `permutations` that leave all logits as they are, whatever the weights.

    size: (height, width) of the pictures that the model takes. The model is changed: float64, other weights, eager.
    """
    generator = torch.Generator().manual_seed(seed)
    model = model.double().cpu().eval()
    for module in model.modules():
        if isinstance(module, Attention):
            module.backend = "eager"
    start = [weight.clone() for weight in model.parameters()]
    kept = permutations()
    for share, spread in DRAWS:
        for weight, first in zip(model.parameters(), start, strict=True):
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.copy_(share * first + spread * noise)
        picture = torch.randn(CELLS**2, CELL, CELL, generator=generator, dtype=torch.float64)
        shown = torch.cat([picture[None], picture[kept]]).view(-1, CELLS, CELLS, CELL, CELL)
        pixels = shown.transpose(2, 3).reshape(-1, 1, CELLS * CELL, CELLS * CELL)
        logits = model(resize(pixels, size))
        moved = (logits[1:] - logits[0]).abs().amax(1)
        kept = kept[moved < SAME * logits[0].std()]
    return kept


def highest(task: str, kept: Tensor) -> float:
    """The largest share of right answers, 0..1, of a model that does not notice these permutations [k, 36]."""
    labels = range(len(PROBES[task]))
    if task == "texture":
        mirrored = torch.arange(CELLS**2).view(CELLS, CELLS).flip(1).flatten()
        return 1 / 2 if bool((kept == mirrored).all(1).any()) else 1.0
    pairs = np.arange(CELLS**4).reshape(CELLS**2, CELLS**2)
    moved = np.stack([pairs[np.ix_(one, one)].ravel() for one in kept.numpy()] or [pairs.ravel()])
    ends = np.broadcast_to(pairs.ravel(), moved.shape).ravel(), moved.ravel()
    orbits, orbit = connected_components(coo_array((np.ones(moved.size, bool), ends), shape=(pairs.size, pairs.size)))
    shares = [np.bincount(orbit, odds(task, label).numpy().ravel(), orbits) for label in labels]
    return float(np.max(shares, axis=0).sum() / len(labels))
