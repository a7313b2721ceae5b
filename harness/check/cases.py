"""What the rules share: the cases on which a variant's layer is tried, how the layer is built, and how a rule fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from variants import attention as plain
from variants import backends, geometry, registry, relation
from variants.attention import Attention
from variants.geometry import Grid
from variants.relation import TERMS, Composed, SpatialRelation

BATCH, HEADS, HEAD_DIM = 3, 4, 8  # psa's start needs a square number of heads
OURS = {Path(module.__file__ or "") for module in (plain, backends, geometry, registry, relation)}


class Broken(AssertionError):
    """A variant breaks a rule. The message says what was found, what was expected, and what to do."""


@dataclass(frozen=True)
class Case:
    """One way to build a layer: the grid, the number of prefix tokens, the number of the layer."""

    grid: Grid
    prefix: int
    layer: int

    def __str__(self) -> str:
        return f"{by(self.grid)} grid, {self.prefix} prefix tokens, layer {self.layer}"

    def inputs(self, grid: Grid | None = None, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
        """x [B, P+N, C] for the case's grid or another one."""
        h, w = grid or self.grid
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(BATCH, self.prefix + h * w, HEADS * HEAD_DIM, generator=generator, dtype=dtype)


CASES = (Case((4, 4), 0, 0), Case((4, 4), 1, 1), Case((3, 5), 0, 1), Case((3, 5), 1, 0))

Rule = Callable[[str, Case], None]


def violation(rule: Rule, spec: str) -> str | None:
    """What is wrong with a variant in the first case where it breaks the rule; None where it keeps the rule."""
    for case in CASES:
        try:
            with torch.random.fork_rng(devices=[]):
                rule(spec, case)
        except Broken as broken:
            return f"{broken} ({case})"
        except Exception as error:  # a user's code may raise anything; any error breaks the rule
            return f"{type(error).__name__}: {first_line(error)}{at(error)} ({case})"
    return None


def built(spec: str, case: Case, *, seed: int = 0, backend: str = "eager") -> Attention:
    """The layer of a spec, in training mode and float32; the seed decides all its weights."""
    torch.default_generator.manual_seed(seed)
    return registry.build(
        spec, HEADS * HEAD_DIM, HEADS, grid=case.grid, layer=case.layer, depth=len(CASES), backend=backend
    )


def perturb(attention: Attention, *, seed: int = 1) -> Attention:
    """Adds noise to the weights in place, by 0.1 to the variant's own: initial values may hide a term."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in attention.named_parameters():
            if not name.startswith(("qkv.", "proj.")):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=noise))
            elif name == "qkv.weight":
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=noise))
    return attention


def perturbed(
    spec: str, case: Case, *, seed: int = 0, backend: str = "eager", dtype: torch.dtype = torch.float64
) -> Attention:
    """The layer of a spec, away from its initial values."""
    return perturb(built(spec, case, seed=seed, backend=backend).to(dtype), seed=seed + 1)


def relations(attention: Attention) -> list[SpatialRelation]:
    """All relations in a layer; of a sum, each part."""
    return [m for m in attention.modules() if isinstance(m, SpatialRelation) and not isinstance(m, Composed)]


def tables_of(relation: SpatialRelation, term: str, offsets: Tensor) -> tuple[Tensor, ...]:
    """The tables [...] that one term of a relation gives for these offsets [2, 2h-1, 2w-1]; none, one or several."""
    given = getattr(relation, term)(offsets)
    return given if isinstance(given, tuple) else () if given is None else (given,)


def tables(relation: SpatialRelation, offsets: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The tables of all terms, each with the name of its term."""
    for term in TERMS:
        for table in tables_of(relation, term, offsets):
            yield term, table


def require(met: object, otherwise: str) -> None:
    """Raises Broken with the sentence `otherwise` unless the condition is met."""
    if not met:
        raise Broken(otherwise)


def same(found: Tensor, expected: Tensor, what: str, remedy: str) -> None:
    """Raises Broken unless two outputs agree to rounding, by the largest value expected."""
    if found.shape != expected.shape:
        raise Broken(f"{what} differ in shape, {list(found.shape)} and {list(expected.shape)}; {remedy}")
    scale = max(float(expected.detach().abs().max()), 1e-3)
    gap = float((found - expected).detach().abs().max()) / scale
    limit = 1e-9 if found.dtype == torch.float64 else 1e-5
    require(gap <= limit, f"{what} differ by {gap:.1e} of the largest value, expected at most {limit:.0e}; {remedy}")


def finite(tensor: Tensor, what: str) -> None:
    """Raises Broken where a tensor holds NaN or an infinity."""
    wrong = int((~tensor.isfinite()).sum())
    kind = "NaN" if tensor.isnan().any() else "infinite"
    require(not wrong, f"{what} is {kind} in {wrong} of {tensor.numel()} entries; look for a log or a root of 0, a "
                       f"division by 0")  # fmt: skip


def by(grid: Grid) -> str:
    """(3, 5) -> "3x5"."""
    return f"{grid[0]}x{grid[1]}"


def kind(thing: object) -> str:
    """The type of what a method returned, in words."""
    return f"tensor of {thing.dtype}" if isinstance(thing, Tensor) else type(thing).__name__


def first_line(error: BaseException) -> str:
    """The first line of an error's message; torch appends many more."""
    return (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")


def at(error: BaseException) -> str:
    """ " at my_variant.py:12": the last line that ran outside torch, the shared modules of variants, and the rules."""
    ours = Path(torch.__file__).parent, Path(__file__).parent
    frames = [
        (path, frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if (path := Path(frame.filename)).is_file() and path not in OURS and not any(f in path.parents for f in ours)
    ]
    return f" at {frames[-1][0].name}:{frames[-1][1]}" if frames else ""
