"""Symmetry: which permutations of the cells a model cannot notice, and how many answers of a probe that leaves open.

A model whose logits stay the same when cells are permuted gives one answer to all pictures that are permutations of
each other. On a probe these are the pictures whose marks lie on pairs of cells of one orbit, and the best single answer
is the label that is most likely there:

    symmetry_top1 = sum over orbits of max over labels of P(label, orbit)

This holds for all weights, so no training passes it. Permutations are tried, not proved: those of two cells, of two
blocks of rows or of columns, and the mirrorings of the grid, on a model whose weights are all shifted at random. What
is not tried is not used, so the bound is never too low. It does not say that training gets there.

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

from harness.data import Dataset
from harness.data.sets.probes import CELL, CELLS, PROBES, odds
from harness.measure.subject import Subject

FROM_PROBABILITIES = True  # no weights are needed: it is of all weights that the model can have
SHIFT = 0.3  # standard deviation of what is added to every weight, so that no term is at a neutral start
SAME = 1e-9  # of the logits' spread, in float64


def images(n: int) -> float:
    """How many image forwards it takes."""
    return float(len(permutations()))


def obstacle(data: Dataset) -> str | None:
    """Why the symmetry says nothing about a dataset, None where it does."""
    if not data.name.startswith("probes:"):
        return f"--measure symmetry is about generated tasks, not {data.name}; choose probes:same_row, say"
    return None


def measure(subject: Subject) -> Iterator[dict[str, Any]]:
    """symmetry_top1 in %: what the model can have at most; beside it chance, and how many images an epoch has."""
    data = subject.data
    if (why := obstacle(data)) is not None:
        raise ValueError(why)
    kept = unnoticed(subject.build(), subject.seed)
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
def unnoticed(model: nn.Module, seed: int = 0) -> Tensor:
    """int64 [k, 36]: those of `permutations` that leave all logits as they are, whatever the weights.

    The model is changed: it is in float64, and its weights are shifted.
    """
    generator = torch.Generator().manual_seed(seed)
    model = model.double().cpu().eval()
    for weight in model.parameters():
        weight.add_(SHIFT * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    picture = torch.randn(1, CELLS, CELLS, CELL, CELL, generator=generator, dtype=torch.float64)
    tried = permutations()
    shown = torch.cat([picture.flatten(1, 2), picture.flatten(1, 2)[0, tried]])  # [1 + k, 36, 4, 4]
    pixels = shown.view(-1, CELLS, CELLS, CELL, CELL).transpose(2, 3).reshape(-1, 1, CELLS * CELL, CELLS * CELL)
    logits = model(pixels)
    moved = (logits[1:] - logits[0]).abs().amax(1)
    return tried[moved < SAME * logits[0].std()]


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
