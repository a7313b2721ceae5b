"""A variant's layer on trial: where it is tried, how it is built for that, and the sentence when a rule is broken."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from variants import attention as plain
from variants import backends, geometry, registry, relation
from variants.attention import Attention
from variants.geometry import Grid
from variants.relation import Composed, SpatialRelation

BATCH, HEADS, HEAD_DIM = 3, 4, 8  # a square number of heads, which psa wants
OURS = {Path(module.__file__ or "") for module in (plain, backends, geometry, registry, relation)}


class Broken(AssertionError):
    """A rule is broken: what was found, what was expected, and what to do, in one sentence."""


@dataclass(frozen=True)
class Place:
    """Where a layer is tried: the grid, the number of prefix tokens, the layer's number."""

    grid: Grid
    prefix: int
    layer: int

    def __str__(self) -> str:
        return f"{by(self.grid)} grid, {self.prefix} prefix tokens, layer {self.layer}"


PLACES = (Place((4, 4), 0, 0), Place((4, 4), 1, 1), Place((3, 5), 0, 1), Place((3, 5), 1, 0))

Rule = Callable[[str, Place], None]


def broken(rule: Rule, spec: str) -> str | None:
    """The sentence of the first place where a variant breaks the rule; None where it keeps to it everywhere."""
    for place in PLACES:
        try:
            with torch.random.fork_rng(devices=[]):
                rule(spec, place)
        except Broken as sentence:
            return f"{sentence} ({place})"
        except Exception as error:  # another's code may raise anything: it breaks the rule, its author wants the place
            return f"{type(error).__name__}: {first_line(error)}{at(error)} ({place})"
    return None


def built(spec: str, place: Place, *, seed: int = 0, backend: str = "eager") -> Attention:
    """The layer of a spec, in training mode, all its weights by the seed."""
    torch.manual_seed(seed)
    return registry.build(
        spec, HEADS * HEAD_DIM, HEADS, grid=place.grid, layer=place.layer, depth=len(PLACES), backend=backend
    )


def disturbed(attention: Attention, *, seed: int = 1) -> Attention:
    """The same layer away from its initial values, where terms can be told from neutral ones; noise of 0.1."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in attention.named_parameters():
            if not name.startswith(("qkv.", "proj.")):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=noise))
            elif name == "qkv.weight":
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=noise))
    return attention


def inputs(place: Place, grid: Grid | None = None, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """x [B, P+N, C] for the place's grid or another."""
    h, w = grid or place.grid
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, place.prefix + h * w, HEADS * HEAD_DIM, generator=generator, dtype=dtype)


def relations(attention: Attention) -> list[SpatialRelation]:
    """All relations inside, sums taken apart."""
    return [m for m in attention.modules() if isinstance(m, SpatialRelation) and not isinstance(m, Composed)]


def same(found: Tensor, expected: Tensor, what: str, remedy: str) -> None:
    """Raises Broken unless two outputs agree to rounding, by the largest value expected."""
    if found.shape != expected.shape:
        raise Broken(f"{what} differ in shape, {list(found.shape)} and {list(expected.shape)}; {remedy}")
    scale = max(float(expected.detach().abs().max()), 1e-3)
    gap = float((found - expected).detach().abs().max()) / scale
    limit = 1e-9 if found.dtype == torch.float64 else 1e-5
    if not gap <= limit:
        raise Broken(f"{what} differ by {gap:.1e} of the largest value, expected at most {limit:.0e}; {remedy}")


def finite(tensor: Tensor, what: str, remedy: str = "look for a log or a root of 0, a division by 0") -> None:
    """Raises Broken where a tensor has NaN or an infinity in it."""
    wrong = int((~tensor.isfinite()).sum())
    if wrong:
        kind = "NaN" if tensor.isnan().any() else "infinite"
        raise Broken(f"{what} is {kind} in {wrong} of {tensor.numel()} entries; {remedy}")


def by(grid: Grid) -> str:
    """(3, 5) -> "3x5"."""
    return f"{grid[0]}x{grid[1]}"


def first_line(error: BaseException) -> str:
    """What an error says, without the pages that torch adds."""
    return (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")


def at(error: BaseException) -> str:
    """ " at my_variant.py:12": the last line of a variant's file that ran."""
    torch_itself = Path(torch.__file__).parent
    frames = [
        (path, frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if (path := Path(frame.filename)).is_file()
        and torch_itself not in path.parents
        and path not in OURS
        and path.parent != Path(__file__).parent
    ]
    return f" at {frames[-1][0].name}:{frames[-1][1]}" if frames else ""
