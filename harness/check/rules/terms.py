"""Rules for what a layer is made of: the shapes of terms and masks, their device, and the parameters behind them."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.check.cases import (
    HEAD_DIM,
    HEADS,
    Broken,
    Case,
    at,
    built,
    by,
    finite,
    kind,
    perturbed,
    relations,
    require,
    tables,
    tables_of,
)
from variants import geometry
from variants.geometry import Grid
from variants.relation import TERMS, SpatialRelation

VAST: tuple[Grid, ...] = ((24, 25), (200, 2), (2, 200))  # their offsets reach all entries of any table
DRAWS = 32  # of the weights, until each entry was seen to count


def can_be_built(spec: str, case: Case) -> None:
    """It can be built for 4 heads of width 8."""
    built(spec, case)


def terms_have_their_shape(spec: str, case: Case) -> None:
    """Every term is a finite tensor of the documented shape, rows first, on a grid that is not square."""
    (h, w), grid = case.grid, by(case.grid)
    for relation in relations(built(spec, case)):
        for term, table in tables(relation, geometry.offsets(case.grid)):
            require(isinstance(table, Tensor) and table.is_floating_point(),
                    f"{term} gives a {kind(table)}; give a tensor of numbers, a tuple of them, or None")  # fmt: skip
            sizes = [[HEADS, 1], *([] if term in ("prior", "bias") else [[HEAD_DIM]]), [2 * h - 1, 1], [2 * w - 1, 1]]
            words = ", ".join(" or ".join(map(str, dict.fromkeys(fit))) for fit in sizes)
            fits = table.dim() == len(sizes) and all(n in fit for n, fit in zip(table.shape, sizes, strict=True))
            require(fits, f"{term} is {list(table.shape)} on a {grid} grid, expected [{words}]: offsets are (dy, dx), "
                          f"rows first")  # fmt: skip
            finite(table, f"{term} on a {grid} grid")


def masks_have_their_shape(spec: str, case: Case) -> None:
    """A mask is bool, groups are whole numbers from 0, both of the documented shape, and every token keeps itself."""
    attention, grid = built(spec, case), case.grid
    n = grid[0] * grid[1]
    y, x = geometry.coordinates(grid)
    for relation in relations(attention):
        kept, groups = relation.mask(y[:, None], x[:, None], y, x, grid), relation.groups(grid)
        if kept is not None:
            require(kept.dtype == torch.bool and kept.shape in ((n, n), (1, n, n), (HEADS, n, n)),
                    f"mask is {kept.dtype} {list(kept.shape)}, expected torch.bool [{n}, {n}] or "
                    f"[{HEADS} or 1, {n}, {n}], the broadcast of its coordinates")  # fmt: skip
            some, rows = relation.mask(y[1:3, None], x[1:3, None], y, x, grid), kept[..., 1:3, :]
            require(some is not None and some.shape == rows.shape and some.equal(rows),
                    "mask of two queries is not two rows of the mask of all; read the queries from qy and qx and not "
                    "from the grid")  # fmt: skip
        if groups is not None:
            whole = not groups.is_floating_point() and groups.dtype != torch.bool
            require(whole and groups.shape in ((1, n), (HEADS, n)), f"groups is {groups.dtype} {list(groups.shape)}, "
                    f"expected whole numbers [{HEADS} or 1, {n}]")  # fmt: skip
            require(groups.min() >= 0, f"groups has {int(groups.min())}; count from 0, sums pair groups up by their "
                                       f"numbers")  # fmt: skip
    together = attention.relation.terms(grid, torch.device("cpu"), torch.float32).mask()
    require(together is None or together.diagonal(dim1=-2, dim2=-1).all(),
            "a token does not keep itself, so its row may be empty and its softmax NaN; keep Delta = 0")  # fmt: skip


def every_parameter_learns(spec: str, case: Case) -> None:
    """Every parameter has a gradient and has moved after two steps, but for entries that no offset reaches."""
    attention = built(spec, case).double()
    x, wanted = case.inputs(), case.inputs(seed=1)
    start = {name: p.detach().clone() for name, p in attention.named_parameters()}
    optimizer = torch.optim.SGD(attention.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (attention(x, case.grid) * wanted).sum().backward()
        optimizer.step()
    for name, parameter in attention.named_parameters():
        require(parameter.grad is not None,
                f"{name} has no gradient: no term reads it; use it, or make it a buffer (register_buffer)")  # fmt: skip
        require((parameter - start[name]).abs().max() > 1e-13, f"{name} has not moved after two steps: no gradient but "
                "rounding reaches it; softmax ignores what is the same for all keys")  # fmt: skip
    if case.prefix == 0:
        _every_entry_counts(spec, case)


def _every_entry_counts(spec: str, case: Case) -> None:
    """An entry is dead if it changes no term at any offset, tried on grids with more offsets than any table has.

    One draw of the weights may shut a ReLU for all offsets, so an entry is dead only if it is so in every draw.
    """
    dead: dict[tuple[int, str], Tensor] = {}
    for seed in range(DRAWS):
        for number, relation in enumerate(relations(perturbed(spec, case, seed=seed, dtype=torch.float32))):
            for name, idle in _idle(relation).items():
                dead[number, name] = idle & dead.get((number, name), idle)
        if not any(idle.any() for idle in dead.values()):
            return
    for (_, name), idle in dead.items():
        require(not idle.any(), f"{int(idle.sum())} of {idle.numel()} entries of {name} {list(idle.shape)} have no "
                                f"part in any term at any offset; make it smaller or read all of it")  # fmt: skip


def _idle(relation: SpatialRelation) -> dict[str, Tensor]:
    """For each parameter that a term reads: bool, true where no term at any offset depends on the entry."""
    own, total = dict(relation.named_parameters()), torch.zeros(())
    for grid in VAST:
        for _, table in tables(relation, geometry.offsets(grid)):
            if table.requires_grad:
                total = total + (table * torch.randn(table.shape, generator=torch.Generator().manual_seed(2))).sum()
    if not total.requires_grad:
        return {}
    found = torch.autograd.grad(total, list(own.values()), allow_unused=True)
    return {name: gradient == 0 for name, gradient in zip(own, found, strict=True) if gradient is not None}


def terms_follow_the_device(spec: str, case: Case) -> None:
    """Terms and masks are where their arguments are: no tensor of theirs is made on the CPU for a GPU."""
    remedy = "make tensors with device=offsets.device, or register them as buffers"
    y, x = geometry.coordinates(case.grid, torch.device("meta"))
    for relation in relations(built(spec, case).to("meta")):
        for term in TERMS:
            try:
                found = tables_of(relation, term, geometry.offsets(case.grid, torch.device("meta")))
            except RuntimeError as error:  # other operations may fail on meta tensors alone; a GPU can do them
                if "is not on the expected device" in str(error):
                    raise Broken(f"{term} mixes devices{at(error)}; {remedy}") from error
                continue
            elsewhere = all(table.device.type == "meta" for table in found)
            require(elsewhere, f"{term} stays on the CPU when its offsets are elsewhere; {remedy}")
        kept = relation.mask(y[:, None], x[:, None], y, x, case.grid)
        require(kept is None or kept.device.type == "meta",
                "mask stays on the CPU when its coordinates are elsewhere; compute it from them")  # fmt: skip


def decay_names_exist(spec: str, case: Case) -> None:
    """no_weight_decay names parameters that exist."""
    attention = built(spec, case)
    there = [name for name, _ in attention.named_parameters()]
    unknown = sorted(attention.no_weight_decay() - {*there})
    own = ", ".join(name for name in there if not name.startswith(("qkv.", "proj."))) or "none"
    require(not unknown, f"no_weight_decay names {', '.join(unknown)}, which is no parameter; there are {own}")
