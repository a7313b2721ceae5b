"""Token labels: what class each patch shows, from a label map of the picture and from where the picture was cut.

A label map holds, for each cell of a grid over the whole picture, the logits of its k most likely classes; the others
count as 0. The part of it that an image shows is brought onto the patches by RoIAlign and becomes shares by softmax.

Sources: LV-ViT, arXiv 2104.10858, and its code; ReLabel, arXiv 2101.05022. Departures: a patch of which more than half
lies beside the picture, on a canvas or in the padding of a shift, has no label, and the mean over patches leaves it
out; smoothing keeps the sum of a label at 1 (theirs is 1 + smoothing / classes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Grid = tuple[int, int]


class Maps(Protocol):
    """Label maps of all training pictures."""

    def __getitem__(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Logits float16 [B, k, h, w] and their classes int64 [B, k, h, w] of the pictures of these numbers."""


@dataclass(frozen=True)
class Cut:
    """What images show of their pictures: boxes float32 [B, 4], (left, top, right, bottom) in shares of the picture's
    width and height, 0 to 1 where they lie in it; mirrored: bool [B], whether left and right are swapped after that."""

    boxes: Tensor
    mirrored: Tensor


@dataclass(frozen=True)
class Targets:
    """What a batch is to learn: labels int64 [B], or shares float32 [B, classes]; and by patch, where that is known,
    tokens float32 [B, N, classes] with known bool [B, N]."""

    labels: Tensor
    tokens: Tensor | None = None
    known: Tensor | None = None

    def by_step(self, steps: int) -> Iterator[Targets]:
        """The targets of so many equal batches, which these are one after another."""
        parts = (self.labels, self.tokens, self.known)
        each = [[None] * steps if part is None else part.unflatten(0, (steps, -1)).unbind(0) for part in parts]
        for labels, tokens, known in zip(*each, strict=True):
            assert labels is not None
            yield Targets(labels, tokens, known)


@dataclass(frozen=True)
class TokenLabels:
    """The label maps of a training set, for images of so many patches (h, w) and so many classes."""

    maps: Maps
    grid: Grid
    classes: int
    smoothing: float = 0.0

    def targets(self, labels: Tensor, maps: tuple[Tensor, Tensor], cut: Cut) -> Targets:
        """The targets of a batch with the labels int64 [B], the maps of its pictures and what it shows of them."""
        device = labels.device
        tokens = on_patches(maps[0].to(device), maps[1].to(device), self.classes, cut, self.grid)
        return Targets(labels, smoothed(tokens, self.smoothing), on_picture(cut, self.grid))


def on_patches(values: Tensor, indices: Tensor, classes: int, cut: Cut, grid: Grid) -> Tensor:
    """Shares float32 [B, N, classes] of the patches, from logits [B, k, h, w] of the classes `indices`.

    Each patch is the mean of bilinear samples, one or more a cell of the map (torchvision's roi_align).
    """
    from torchvision.ops import roi_align

    b, _, h, w = values.shape
    full = torch.zeros(b, classes + 1, h, w, device=values.device)
    full.scatter_(1, indices.long(), values.float())
    full[:, classes] = 1  # the share of samples that lie in the map: the others read 0
    boxes = cut.boxes * torch.tensor([w, h, w, h], device=values.device)
    rois = torch.cat([torch.arange(b, device=values.device)[:, None].float(), boxes], dim=1)
    found = roi_align(full, rois, grid, aligned=True)
    found = torch.where(cut.mirrored[:, None, None, None], found.flip(-1), found)
    logits = found[:, :classes] / found[:, classes:].clamp(min=torch.finfo(torch.float32).tiny)
    return logits.flatten(2).mT.softmax(dim=-1)


def on_picture(cut: Cut, grid: Grid) -> Tensor:
    """bool [B, N]: the patches of which at least half lies on the picture."""
    sides = []
    for axis, number in ((1, grid[0]), (0, grid[1])):
        low, high = cut.boxes[:, axis, None], cut.boxes[:, axis + 2, None]
        at = torch.arange(number + 1, device=low.device) / number
        edges = low + (high - low) * at
        inside = edges.clamp(0, 1).diff(dim=1) / edges.diff(dim=1)
        sides.append(inside)
    rows, columns = sides
    columns = torch.where(cut.mirrored[:, None], columns.flip(1), columns)
    return (rows[:, :, None] * columns[:, None, :] >= 0.5 - 1e-4).flatten(1)  # half, whatever is rounded


def smoothed(shares: Tensor, smoothing: float) -> Tensor:
    """Shares [..., classes] of which `smoothing` is spread over all classes."""
    return shares * (1 - smoothing) + smoothing / shares.shape[-1] if smoothing else shares


def seen(frame: Tensor, mirrored: Tensor, shift: Tensor) -> Cut:
    """The cut where a picture is shifted, then mirrored, then put into a frame.

    frame: float32 [B, 4], where the whole image (left, top, right, bottom) ends in the picture's own coordinates, as if
    it had been neither shifted nor mirrored. shift: float32 [B, 2], (down, right), by which share of its sides the
    picture was moved before: the image shows what lies so much further.
    """
    left, top, right, bottom = frame.unbind(1)
    first, last = torch.where(mirrored, 1 - right, left), torch.where(mirrored, 1 - left, right)
    down, along = shift.unbind(1)
    return Cut(torch.stack([first + along, top + down, last + along, bottom + down], dim=1), mirrored)


def loss(patches: Tensor, targets: Targets) -> Tensor:
    """The mean over images of the mean over known patches of the cross-entropy (nat); logits [B, N, classes].

    An image without any counts as 0, so that the loss of a batch is the mean of the losses of its parts.
    """
    assert targets.tokens is not None
    assert targets.known is not None
    b, n, _ = patches.shape
    each = F.cross_entropy(patches.flatten(0, 1), targets.tokens.flatten(0, 1), reduction="none").view(b, n)
    known = targets.known.to(each.dtype)
    return ((each * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)).mean()
