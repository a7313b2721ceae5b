"""A spatial relation: what depends on where two patches lie, and not on what they show.

    logit[h,i,j] = prior_h(Delta) <q_i, k_j> / sqrt(D) + bias_h(Delta) + <q_i, keys_h(Delta)> / sqrt(D)
                   (+ <queries_h(Delta), k_j> / sqrt(D)),  kept where mask[h,i,j]
    out[h,i]     = sum_j softmax_j(logit[h,i,j]) (v_j + values_h(Delta))

with Delta = (dy, dx) = position(key) - position(query) in patches. A subclass writes one or more of these methods;
what it leaves out is neutral. Relations compose: `a + b` multiplies priors, adds biases, keys, queries and values, and
intersects masks and groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from variants import geometry
from variants.geometry import Grid

Term = Tensor | tuple[Tensor, ...] | None
Fixed = tuple[Tensor | None, Tensor | None]

TERMS = ("prior", "bias", "keys", "queries", "values")  # the methods that give tables over the offsets
RESOLUTION_RULES = {  # what a relation may say in resolution_rule, and what it means on a grid that it did not train on
    "recomputed": "a function of the offset in patches, computed at the offsets of the new grid",
    "rescaled": "a function of the offset in units of the grid, which stretches with it",
    "resampled": "a table that spans the grid, interpolated to the new one",
    "clipped": "a table of fixed extent; offsets beyond it take its border",
    "fixed": "windows that keep their side in patches",
}


class Unsupported(ValueError):
    """What cannot be done, and what to use instead, in one sentence."""


@dataclass(frozen=True)
class Site:
    """Where a relation sits: which layer of which model.

    `shared` is one dictionary a model: what all its layers have in common (`scope=network`) is kept there.
    """

    num_heads: int
    head_dim: int
    grid: Grid
    layer: int = 0
    depth: int = 1
    shared: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Terms:
    """A relation evaluated on one grid: what a backend consumes. None is neutral.

    prior, bias: tuples of [H or 1, 2h-1, 2w-1] (multiplied, added); keys, queries, values: tuples of
    [H or 1, D, 2h-1, 2w-1] (added); kept: bool [H or 1, N, N]; groups: int [H or 1, N], on the CPU, since they are read
    for the shape of the windows. An offset axis may have size 1. A token sees the tokens of its own group alone, and of
    these only the kept ones.
    """

    grid: Grid
    prior: tuple[Tensor, ...] = ()
    bias: tuple[Tensor, ...] = ()
    keys: tuple[Tensor, ...] = ()
    queries: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()
    kept: Tensor | None = None
    groups: Tensor | None = None

    @property
    def present(self) -> frozenset[str]:
        """The names of the terms that are not neutral."""
        given = ((f.name, getattr(self, f.name)) for f in fields(self) if f.name != "grid")
        return frozenset(name for name, term in given if term is not None and term != ())

    def mask(
        self, device: torch.device | None = None, heads: slice = slice(None), queries: slice = slice(None)
    ) -> Tensor | None:
        """bool [H or 1, N, N]: the pairs that are kept, groups included; None keeps all. Or some heads and queries."""
        kept = None if self.kept is None else geometry.of_heads(self.kept, heads)[:, queries]
        if self.groups is None:
            return kept
        groups = geometry.of_heads(self.groups, heads).to(device)
        same = groups[:, queries, None] == groups[:, None, :]
        return same if kept is None else same & kept


class SpatialRelation(nn.Module):
    """The base of all relations, and the empty one. Settings are the keyword arguments of a subclass' __init__.

    Every method may return None (neutral), a tensor, or a tuple of tensors that is summed (for `prior`: multiplied).
    `offsets` is geometry.offsets(grid), [2, 2h-1, 2w-1], in the precision of the relation's parameters: a new
    resolution is a new argument.
    """

    equation: ClassVar[str] = ""  # the term in the letters above, for tables: "logit += t_h(Delta)"
    source: ClassVar[str] = ""  # the method's name in the field, or its authors, and arXiv number
    starts_as_sa: bool = False  # a claim, which the conformance rules hold it to: at initialisation it is neutral

    def __init__(self, site: Site):
        super().__init__()
        self.site = site

    def prior(self, offsets: Tensor) -> Term:
        """[H or 1, 2h-1, 2w-1], dimensionless: multiplies the content score."""
        return None

    def bias(self, offsets: Tensor) -> Term:
        """[H or 1, 2h-1, 2w-1], in logits: added to the score."""
        return None

    def keys(self, offsets: Tensor) -> Term:
        """[H or 1, D, 2h-1, 2w-1]: meets the query."""
        return None

    def queries(self, offsets: Tensor) -> Term:
        """[H or 1, D, 2h-1, 2w-1]: meets the key."""
        return None

    def values(self, offsets: Tensor) -> Term:
        """[H or 1, D, 2h-1, 2w-1]: added to the value."""
        return None

    def mask(self, qy: Tensor, qx: Tensor, ky: Tensor, kx: Tensor, grid: Grid) -> Tensor | None:
        """bool [H or 1, *broadcast of the coordinates]: True where the pair is kept. Delta = 0 is always kept.

        It depends on the grid and the settings alone, as groups do: both are asked once for a grid.
        """
        return None

    def groups(self, grid: Grid) -> Tensor | None:
        """int [H or 1, N]: the number of each token's group, where windows partition the grid."""
        return None

    def resample(self, grid: Grid) -> None:
        """Makes `grid` the training grid: learned tables that span the grid get its size."""

    def resolution_rule(self) -> str:
        """What happens on a grid that it did not train on: a word of RESOLUTION_RULES; "" where there is no term.

        The conformance rules hold a relation to it. Several words, for parts that differ, are joined by ", ".
        """
        own = (getattr(type(self), name) is not getattr(SpatialRelation, name) for name in (*TERMS, "mask", "groups"))
        return "recomputed" if any(own) else ""

    def no_weight_decay(self) -> set[str]:
        """The names of parameters that the published recipe exempts from weight decay."""
        return set()

    def init_qkv(self, qkv: nn.Linear) -> None:
        """Changes the shared weights where a paper's initialisation asks for it; this gives up paired weights."""

    def __add__(self, other: SpatialRelation) -> Composed:
        return Composed((self, other))

    def terms(self, grid: Grid, device: torch.device, dtype: torch.dtype, fixed: Fixed | None = None) -> Terms:
        """The relation on a grid, computed in `dtype` whatever autocast says; `fixed`, where it is known already."""
        casts = torch.amp.is_autocast_available(device.type)
        kept, groups = self.fixed(grid, device) if fixed is None else fixed
        with torch.autocast(device.type, enabled=False) if casts else nullcontext():
            at = geometry.offsets(grid, device, dtype)
            tables = {name: _tuple(getattr(self, name)(at)) for name in TERMS}
            return Terms(grid, **tables, kept=kept, groups=groups)

    def fixed(self, grid: Grid, device: torch.device) -> Fixed:
        """(kept, groups) of Terms."""
        y, x = geometry.coordinates(grid, device)
        kept, groups = self.mask(y[:, None], x[:, None], y, x, grid), self.groups(grid)
        if kept is not None:
            kept = kept if kept.dim() == 3 else kept[None]
            kept = kept | torch.eye(len(y), dtype=torch.bool, device=device)  # no row is ever empty
        return kept, None if groups is None else groups.cpu()


class Composed(SpatialRelation):
    """The sum of relations: priors multiply, biases, keys, queries and values add, masks and groups intersect."""

    def __init__(self, parts: Sequence[SpatialRelation]):
        super().__init__(parts[0].site)
        flat: list[SpatialRelation] = []
        for part in parts:
            flat.extend(part.parts if isinstance(part, Composed) else [part])
        self.parts: Any = nn.ModuleList(flat)

    def _collect(self, term: str, offsets: Tensor) -> Term:
        return tuple(table for part in self.parts for table in _tuple(getattr(part, term)(offsets)))

    def prior(self, offsets: Tensor) -> Term:
        return self._collect("prior", offsets)

    def bias(self, offsets: Tensor) -> Term:
        return self._collect("bias", offsets)

    def keys(self, offsets: Tensor) -> Term:
        return self._collect("keys", offsets)

    def queries(self, offsets: Tensor) -> Term:
        return self._collect("queries", offsets)

    def values(self, offsets: Tensor) -> Term:
        return self._collect("values", offsets)

    def mask(self, qy: Tensor, qx: Tensor, ky: Tensor, kx: Tensor, grid: Grid) -> Tensor | None:
        masks = [m for part in self.parts if (m := part.mask(qy, qx, ky, kx, grid)) is not None]
        return _all(masks) if masks else None

    def groups(self, grid: Grid) -> Tensor | None:
        paired: Tensor | None = None
        for part in self.parts:
            groups = part.groups(grid)
            if groups is not None:
                paired = groups.long() if paired is None else paired * (int(groups.max()) + 1) + groups.long()
        return paired

    def resample(self, grid: Grid) -> None:
        for part in self.parts:
            part.resample(grid)

    def resolution_rule(self) -> str:
        return resolution_rules(self.parts)

    def no_weight_decay(self) -> set[str]:
        return {f"parts.{i}.{name}" for i, part in enumerate(self.parts) for name in part.no_weight_decay()}

    def init_qkv(self, qkv: nn.Linear) -> None:
        for part in self.parts:
            part.init_qkv(qkv)


def total_prior(terms: Terms) -> Tensor | None:
    """[H or 1, 2h-1 or 1, 2w-1 or 1]: the priors multiplied; None where there is none."""
    return prod(terms.prior[1:], start=terms.prior[0]) if terms.prior else None


def total_bias(terms: Terms) -> Tensor | None:
    """[H or 1, 2h-1 or 1, 2w-1 or 1]: the biases added; None where there is none."""
    return sum(terms.bias[1:], start=terms.bias[0]) if terms.bias else None


def total_keys(terms: Terms) -> Tensor:
    """[H or 1, D, 2h-1 or 1, 2w-1 or 1]: the keys added, of terms that have some."""
    return sum(terms.keys[1:], start=terms.keys[0])


def resolution_rules(relations: Iterable[SpatialRelation]) -> str:
    """The words of several relations, each once, in their order: "fixed, resampled"."""
    words = [word for relation in relations for word in relation.resolution_rule().split(", ") if word]
    return ", ".join(dict.fromkeys(words))


def _tuple(term: Term) -> tuple[Tensor, ...]:
    return () if term is None else term if isinstance(term, tuple) else (term,)


def _all(masks: list[Tensor]) -> Tensor:
    rank = max(mask.dim() for mask in masks)
    ranked = [mask if mask.dim() == rank else mask[None] for mask in masks]
    return torch.stack(torch.broadcast_tensors(*ranked)).all(dim=0)
