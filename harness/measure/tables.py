"""The learned tables of a model: what its relations are over the offsets, layer by layer.

prior and bias are the relation's own tables on a grid, sums and products of its parts taken; `position` is the bias in
the second softmax of an attention that mixes two (gpsa), whose `gate` says how much of a head it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.results.map_files import Book
from variants import Attention
from variants.geometry import Grid
from variants.relation import total_bias, total_prior

Maps = dict[str, Tensor]  # by kind: [H or 1, 2h-1, 2w-1]; gate [H]


@torch.no_grad()
def tables(attention: Attention, grid: Grid) -> Maps:
    """prior, bias, position and gate, as far as the attention has them; float32 on the CPU."""
    like = attention.qkv.weight
    terms = attention.terms(like, grid)
    found = {"prior": total_prior(terms), "bias": total_bias(terms)}
    if gated(attention):
        mixed: Any = attention
        found["position"] = total_bias(mixed.position.terms(grid, like.device, mixed.position.weight.dtype))
        found["gate"] = mixed.gate.sigmoid()
    whole = {kind: table for kind, table in found.items() if table is not None}
    return {kind: (t if kind == "gate" else spread(t, grid)).detach().float().cpu() for kind, t in whole.items()}


def gated(attention: Attention) -> bool:
    """Whether an attention mixes a second softmax, of `position`, by a `gate`."""
    return hasattr(attention, "position") and hasattr(attention, "gate")


def learned(attention: Attention) -> bool:
    """Whether training changes the tables of an attention."""
    return gated(attention) or any(p.requires_grad for p in attention.relation.parameters())


def spread(table: Tensor, grid: Grid) -> Tensor:
    """[..., 2h-1, 2w-1]: axes of size 1, which hold for every offset, in full."""
    return table.expand(*table.shape[:-2], 2 * grid[0] - 1, 2 * grid[1] - 1)


def attentions(model: nn.Module) -> list[Attention]:
    """The attentions of a model, the first layer first."""
    return [module for module in model.modules() if isinstance(module, Attention)]


def learned_tables(model: nn.Module) -> Book:
    """The learned tables of each layer, the first 1; what training does not change is left out."""
    model.eval()
    grid: Any = model.grid
    return {
        (layer, kind, None): one.numpy()
        for layer, attention in enumerate(attentions(model), start=1)
        if learned(attention)
        for kind, one in tables(attention, grid).items()
    }
