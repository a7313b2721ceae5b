"""Attention distance and entropy of every head, read by hooks in the real forward of test images.

    distance_h = mean over images and patches i of sum_j A_ij |position(j) - position(i)|, over uniform attention's
    entropy_h  = mean over images and patches i of -sum_j A_ij ln A_ij, over ln N

A is the attention among the patches alone: prefix tokens are left out, as queries and as keys, and each row is divided
by what is left, so that a layer with a class token compares with one without. Both are 1 for uniform attention on every
grid, so resolutions compare; a distance can exceed 1.
Sources: attention distance, Dosovitskiy et al., ViT, arXiv 2010.11929, figure 7, and Raghu et al., arXiv 2108.08810; as
non-locality, d'Ascoli et al., ConViT, arXiv 2103.10697. Departures: theirs is in pixels or patches. ConViT's released
code feeds the patch embeddings to every layer; here each layer meets its own input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from math import log
from typing import Any

import torch
from torch import Tensor, nn

from variants import Attention, geometry, keep_terms
from variants.geometry import Grid

ROOM = 2**24  # entries of an attention map at a time: 64 MiB in float32


@dataclass
class Head:
    """Sums over the images of one layer, float64: distance and entropy of each head [H], the attention of pairs.

    prefix: the share of the patches' attention that prefix tokens get [H]; query and key: the mean vectors of the
    patches, [H, D]. All become means in `means`.
    """

    grid: Grid
    images: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, images: int, **totals: Tensor) -> None:
        """Takes in the totals over some images."""
        self.images += images
        for name, total in totals.items():
            total = total.double().cpu()
            self.sums[name] = self.sums[name] + total if name in self.sums else total

    @property
    def means(self) -> dict[str, Tensor]:
        """distance, entropy, prefix [H]; pairs [H, N, N], patches only; query, key [H, D], as `project` gives them."""
        return {name: total / self.images for name, total in self.sums.items()}

    def by_offset(self) -> Tensor:
        """[H, 2h-1, 2w-1]: the mean attention of the pairs at each offset, in units of uniform attention, 1/N."""
        h, w = self.grid
        size = (2 * h - 1, 2 * w - 1)
        pairs = self.means["pairs"].unflatten(2, (h, w)).unflatten(1, (h, w))
        ones = torch.ones(1, h, w, h, w, dtype=pairs.dtype)
        count = geometry.from_pairs(ones, self.grid, size, range(h))
        return geometry.from_pairs(pairs, self.grid, size, range(h)) / count * (h * w)


def uniform_distance(grid: Grid) -> float:
    """The mean distance of two patches of the grid, a patch and itself among them: what uniform attention has."""
    return float(between(grid).mean())


def between(grid: Grid) -> Tensor:
    """float64 [N, N]: the distance of each pair of patches, in patches."""
    y, x = (axis.double() for axis in geometry.coordinates(grid))
    return torch.hypot(y[:, None] - y, x[:, None] - x)


def among_patches(weights: Tensor, prefix: int) -> tuple[Tensor, Tensor]:
    """A map [B, H, P+N, P+N] -> the patches' part [B, H, N, N], its rows summing to 1, and what they had [B, H, N]."""
    patches = weights[:, :, prefix:, prefix:]
    share = patches.sum(dim=-1)
    return patches / share[..., None].clamp_min(torch.finfo(weights.dtype).tiny), share


@torch.inference_mode()
def heads(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> list[Head]:
    """One a layer, from the model's forward of the batches (normalised images [B, c, H, W], labels) in eval mode."""
    model.eval()
    with keep_terms(model), watched(model) as found:
        for images, _ in batches:
            model(images)
    return found


@contextmanager
def watched(model: nn.Module) -> Iterator[list[Head]]:
    """While this lasts, what every attention of the model is given is taken down; a layer an entry once it has run."""
    found: dict[int, Head] = {}
    layers = [module for module in model.modules() if isinstance(module, Attention)]
    listed: list[Head] = []

    def listen(number: int) -> Any:
        def hear(attention: Any, inputs: tuple[Tensor, Grid]) -> None:
            x, grid = inputs
            if number not in found:
                found[number] = Head(grid)
            take_down(attention, x, grid, found[number])

        return hear

    handles = [layer.register_forward_pre_hook(listen(number)) for number, layer in enumerate(layers)]
    try:
        yield listed
    finally:
        for handle in handles:
            handle.remove()
        listed += [found[number] for number in sorted(found)]


def take_down(attention: Attention, x: Tensor, grid: Grid, into: Head) -> None:
    """Adds what the attention does with x [B, P+N, C]: q and k as it makes them, its map by the plain formula."""
    n = grid[0] * grid[1]
    prefix = x.shape[1] - n
    q, k, _ = attention.project(x, grid)
    casts = torch.amp.is_autocast_available(x.device.type)
    far = between(grid).to(x.device, torch.float32) / max(uniform_distance(grid), torch.finfo(torch.float32).tiny)
    few = max(1, ROOM // (attention.num_heads * x.shape[1] ** 2))
    with torch.autocast(x.device.type, enabled=False) if casts else nullcontext():
        for some_q, some_k in zip(q.float().split(few), k.float().split(few), strict=True):
            map_, share = among_patches(attention.weights(some_q, some_k, grid), prefix)
            into.add(
                len(some_q),
                distance=(map_ * far).sum(-1).mean(-1).sum(0),
                entropy=-torch.xlogy(map_, map_).sum(-1).mean(-1).sum(0) / max(log(n), 1e-9),
                prefix=(1 - share).mean(-1).sum(0),
                pairs=map_.sum(0),
                query=some_q[:, :, prefix:].mean(2).sum(0),
                key=some_k[:, :, prefix:].mean(2).sum(0),
            )  # fmt: skip
