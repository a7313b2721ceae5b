"""A share of the training images: each class in proportion, and a smaller share lies inside a larger one."""

from __future__ import annotations

import torch
from torch import Tensor


def subset(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Indices of a share of labels [n], int64, ascending.

    The images of each class are put in an order that the seed draws, and the first `fraction` of them are taken:
    rounded, at least one. So a class is within one image of its share, and for one seed the indices of 0.01 are among
    those of 0.1. Raises ValueError for a fraction that is not in (0, 1] or leaves fewer images than classes.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"a share of {fraction} of the training images is not available; choose more than 0, up to 1")
    counts = torch.bincount(labels)
    classes = int((counts > 0).sum())
    if round(fraction * len(labels)) < classes:
        raise ValueError(
            f"a share of {fraction} of {len(labels)} training images is {round(fraction * len(labels))}, fewer than "
            f"the {classes} classes; choose {classes}/{len(labels)} or more"
        )
    drawn = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    of_class, order = labels[drawn].sort(stable=True)
    rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[of_class]
    taken = (counts.double() * fraction).round().long().clamp(min=1)
    return drawn[order][rank < taken[of_class]].sort().values
