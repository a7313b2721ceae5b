"""Freezes what a trained model has learned about space into plain tables, for deployment.

    deployed = fold(model)  # a copy with the same logits, in which no relation has a parameter

A relation's terms are computed once, for the model's grid, and kept as buffers: an MLP of offsets is no longer there.
What a layer learned beside its relation (a gate, frequencies, a temperature, a convolution of v) is a buffer under its
old name. The projections stay parameters. A table holds for its grid; another is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from math import prod
from typing import TypeVar

import torch
from torch import Tensor, nn

from variants.adapt import Adapted
from variants.attention import Attention
from variants.geometry import Grid
from variants.relation import TERMS, Fixed, SpatialRelation, Terms, Unsupported

Model = TypeVar("Model", bound=nn.Module)


def fold(model: Model, grid: Grid | None = None) -> Model:
    """A copy of a model, or of one layer, for inference on one grid; None means the grid that it was made for.

    Raises ValueError for a model without a variant.
    """
    folded = copy.deepcopy(model)
    homes = [module.place.home for module in folded.modules() if isinstance(module, Adapted)]
    at = grid or (homes[0] if homes else getattr(folded, "grid", None))
    layers = [module for module in folded.modules() if isinstance(module, Attention)]
    if not layers:
        raise ValueError(f"{type(model).__name__} holds no attention of a variant; give a model of "
                         f"harness.backbone.create or of variants.adapt")  # fmt: skip
    for layer in layers:
        _freeze(layer, at or layer.site.grid)
    return folded


class Table(SpatialRelation):
    """The terms of a relation on one grid, as buffers: prior, bias [H or 1, 2h-1, 2w-1] and the others with their D."""

    def __init__(self, relation: SpatialRelation, grid: Grid, like: Tensor):
        super().__init__(relation.site)
        own = next((p for p in relation.parameters()), like)
        with torch.no_grad():
            terms = relation.terms(grid, own.device, own.dtype)
        self.grid, self.names = grid, tuple(name for name in TERMS if name in terms.present)
        for name in self.names:
            tables = getattr(terms, name)
            one = prod(tables[1:], start=tables[0]) if name == "prior" else sum(tables[1:], start=tables[0])
            self.register_buffer(f"{name}_table", one.detach().clone())
        self.register_buffer("weight", own.detach().new_empty(0), persistent=False)  # a device and a precision
        self._fixed_terms = (terms.kept, terms.groups)

    def terms(self, grid: Grid, device: torch.device, dtype: torch.dtype, fixed: Fixed | None = None) -> Terms:
        """The tables, in their own precision. Raises Unsupported for another grid."""
        kept, groups = self.fixed(grid, device) if fixed is None else fixed
        tables = {name: (getattr(self, f"{name}_table"),) for name in self.names}
        return Terms(grid, **tables, kept=kept, groups=groups)

    def fixed(self, grid: Grid, device: torch.device) -> Fixed:
        """Masks and windows, which were never learned."""
        if grid != self.grid:
            raise Unsupported(f"this model was folded for a {self.grid[0]}x{self.grid[1]} grid, not "
                              f"{grid[0]}x{grid[1]}; fold(model, grid={grid}) the model that was trained")  # fmt: skip
        kept, groups = self._fixed_terms
        return None if kept is None else kept.to(device), groups


class Held(nn.Module):
    """The weights of a submodule as buffers that it still gives as its parameters, in their order."""

    def __init__(self, module: nn.Module):
        super().__init__()
        for name, parameter in list(module.named_parameters()):
            self.register_buffer(name.replace(".", "_"), parameter.detach().clone())

    def parameters(self, recurse: bool = True) -> Iterator[Tensor]:  # type: ignore[override]
        return self.buffers(recurse)


def _freeze(layer: Attention, grid: Grid) -> None:
    like = layer.qkv.weight
    for name, child in list(layer.named_children()):
        if isinstance(child, SpatialRelation):
            setattr(layer, name, Table(child, grid, like))
        elif name not in ("qkv", "proj") and any(True for _ in child.parameters()):
            setattr(layer, name, Held(child))
    for name, parameter in list(layer.named_parameters(recurse=False)):
        delattr(layer, name)
        layer.register_buffer(name, parameter.detach().clone())
