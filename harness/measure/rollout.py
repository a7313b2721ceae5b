"""Where a model looks: relevance by gradient-weighted attention rollout, and what it is worth as a number.

    R = I;  layer by layer  R = R + mean_h(relu(dy_c/dA_h * A_h)) R;  relevance = a row of R - I, on the patches

Source: Chefer, Gur and Wolf, Generic attention-model explainability, arXiv 2103.15679, eq. 5 and 6, the attention-only
form of arXiv 2012.09838. y_c is the logit of the class that the model chooses. The row is the class token's, or the
mean over the patches where they are averaged. Departures: a late class token joins R as a row and a column of the
identity; an auxiliary token head acts on the gradients alone, since the row is the class token's.
Scores: deletion and insertion, Petsiuk et al., RISE, arXiv 1806.07421, by patches: the probability of the chosen class
while patches go, or come, in the order of their relevance; a patch that is not there is the training images' mean.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.backbone.vit import ViT
from harness.measure.cost import eager
from variants import Attention, keep_terms
from variants.backends.eager import apply
from variants.geometry import Grid

STEPS = 16  # points of a curve after the first, where there are so many patches


@contextlib.contextmanager
def kept_maps(model: nn.Module) -> Iterator[list[Tensor]]:
    """For a while every attention mixes by its eager map and leaves it in the list, layer by layer, with gradients.

    One contract for all variants: a map is what `Attention.weights` says, [B, H, P+N, P+N], whatever it is made of.
    """
    maps: list[Tensor] = []
    layers = [module for module in model.modules() if isinstance(module, Attention)]

    def keeping(layer: Attention) -> Callable[[Tensor, Tensor, Grid], Tensor]:
        own = layer.weights

        def weights(q: Tensor, k: Tensor, grid: Grid) -> Tensor:
            found = own(q, k, grid)
            if not found.requires_grad:  # a map that nothing learned, such as the mean of all
                found = found.detach().requires_grad_()
            maps.append(found)
            return found

        return weights

    def attend(self: Attention, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        return apply(self.weights(q, k, grid), v, self.terms(q, grid))

    plain = Attention.attend
    for layer in layers:
        layer.weights = keeping(layer)  # type: ignore[method-assign, assignment]
    Attention.attend = attend  # type: ignore[method-assign]  # what a subclass calls by super(), too
    try:
        with eager(model):
            yield maps
    finally:
        Attention.attend = plain  # type: ignore[method-assign]
        for layer in layers:
            del layer.weights


def relevance(model: ViT, images: Tensor) -> tuple[Tensor, Tensor]:
    """Of images [B, c, H, W] the relevance of every patch [B, h, w], and the classes that were chosen [B].

    Raises ValueError for an attention that does not mix by the map of its `weights`.
    """
    model.eval()
    with torch.enable_grad(), kept_maps(model) as maps:
        logits = model(images)
        if len(maps) != len(model.blocks):
            raise ValueError(f"{model.spec} gave {len(maps)} attention maps in {len(model.blocks)} layers; its attend "
                             f"is to mix by self.weights once where the backend is eager")  # fmt: skip
        chosen = logits.argmax(dim=1)
        gradients = torch.autograd.grad(logits.gather(1, chosen[:, None]).sum(), maps, allow_unused=True)
    h, w = model.grid_of(images)
    gained = rollout([m.detach() for m in maps], [None if g is None else g.detach() for g in gradients], h * w)
    prefix = gained.shape[1] - h * w
    rows = gained[:, 0] if model.cls_token is not None else gained.mean(dim=1)
    return rows[:, prefix:].unflatten(1, (h, w)), chosen


def rollout(maps: list[Tensor], gradients: list[Tensor | None], patches: int) -> Tensor:
    """R - I, [B, P+N, P+N], from maps and gradients [B, H, P+N, P+N] of each layer, the first one first.

    The first rows are prefix tokens: where a later layer has more tokens than the one before, they joined in front.
    """
    batch = max(len(m) for m in maps)
    total = torch.eye(maps[0].shape[-1], device=maps[0].device).expand(batch, -1, -1)
    for attention, gradient in zip(maps, gradients, strict=True):
        tokens, more = attention.shape[-1], attention.shape[-1] - total.shape[-1]
        if tokens < patches or more < 0:
            raise ValueError(f"a layer has {tokens} tokens and the one before it more; tokens may only join")
        if more:
            joined = torch.eye(more, tokens, device=total.device).expand(batch, -1, -1)
            total = torch.cat([joined, F.pad(total, (more, 0))], dim=1)
        if gradient is not None:  # what the answer does not depend on
            total = total + (gradient * attention).float().relu().mean(dim=1) @ total
    return total - torch.eye(total.shape[-1], device=total.device)


def order(relevances: Tensor) -> Tensor:
    """int64 [B, N]: the patches of maps [B, h, w], the most relevant one first; equal ones in their order."""
    return relevances.flatten(1).argsort(dim=1, descending=True, stable=True)


@torch.inference_mode()
def curve(model: ViT, images: Tensor, chosen: Tensor, patches: Tensor, insert: bool = False) -> Tensor:
    """[B, steps+1]: the probability of the class `chosen` [B] while patches [B, N] go, or come, in that order.

    Steps are of about equal numbers of patches, from none to all.
    """
    model.eval()
    (h, w), number = model.grid_of(images), patches.shape[1]
    rank = patches.argsort(dim=1)
    found = []
    with keep_terms(model):
        for count in torch.linspace(0, number, min(STEPS, number) + 1).round().tolist():
            first = rank < count
            there = (first if insert else ~first).unflatten(1, (1, h, w)).to(images.dtype)
            shown = images * F.interpolate(there, size=images.shape[-2:], mode="nearest")  # 0 is the normalised mean
            found.append(model(shown).softmax(dim=1).gather(1, chosen[:, None]))
    return torch.cat(found, dim=1)


def area(curves: Tensor) -> Tensor:
    """[B]: the area under curves [B, steps+1] over 0..1."""
    return torch.trapezoid(curves, dx=1 / (curves.shape[1] - 1), dim=1)


def coverage(relevances: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
    """Of maps [B, h, w] the share of relevance on the objects, bool [B, H, W], and the share of the image these take.

    A map without any relevance covers as much as chance does.
    """
    share = F.adaptive_avg_pool2d(objects[:, None].float(), (relevances.shape[-2], relevances.shape[-1]))[:, 0]
    total, size = relevances.sum((1, 2)), share.mean((1, 2))
    found = (relevances * share).sum((1, 2)) / total.clamp(min=torch.finfo(total.dtype).tiny)
    return torch.where(total > 0, found, size), size
