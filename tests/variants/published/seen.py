"""Who sees whom: the mask of a variant against pairs that brute force lists."""

import pytest
import torch

from variants import build

from . import oracles


def kept(spec, grid, *, layer=0, heads=4):
    """bool [H, N, N]: the pairs that a relation keeps."""
    relation = build(spec, heads * 4, heads, grid=grid, layer=layer).relation
    n = grid[0] * grid[1]
    return relation.terms(grid, torch.device("cpu"), torch.float32).mask().expand(heads, n, n)


def mask_agrees(found, seen, grid):
    """Asserts that exactly the pairs that are seen are kept."""
    pairs = [
        [[seen(h, query, key) for key in oracles.places(grid)] for query in oracles.places(grid)]
        for h in range(len(found))
    ]
    wrong = int((found != torch.tensor(pairs)).sum())
    assert wrong == 0, f"{wrong} pairs are wrong"


def mask_rejected():
    return pytest.raises(AssertionError, match="pairs are wrong")
