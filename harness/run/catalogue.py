"""What there is to choose from, told by the classes themselves: `python -m harness.run --list` prints it.

The parameters are those that a layer has beyond plain attention, at the width of DeiT-S (384) and on its grid (14x14),
with four heads, a number that every variant takes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap

import torch

from harness.check.cases import at, first_line
from variants import backends, build, families, names
from variants.attention import Attention
from variants.registry import parse, settings_of

WIDTH, HEADS, GRID = 384, 4, (14, 14)
LAYER = f"a layer {WIDTH} wide with {HEADS} heads on {GRID[0]}x{GRID[1]} patches"


@dataclass(frozen=True)
class Entry:
    """A variant in words; `settings` with their defaults, `params` beyond plain attention, `backends` by name."""

    name: str
    families: tuple[str, ...]
    equation: str
    source: str
    settings: tuple[str, ...]
    params: int
    resolution: str
    backends: tuple[str, ...]


def entries() -> list[Entry]:
    """All registered variants, in their order. Raises ValueError, with the place, where one cannot be had."""
    return [told(name) for name in names()]


def told(name: str) -> Entry:
    """Its entry. Raises ValueError for one that raises whatever it may, since its author wants name and place."""
    try:
        return entry(name)
    except Exception as error:  # another's code may raise anything
        raise ValueError(f"{name} cannot be listed: {type(error).__name__}: {first_line(error)}{at(error)}") from error


def entry(name: str) -> Entry:
    """The line of a registered name. Raises ValueError for a name that is none."""
    cls, layer = parse(name)[0].cls, typical(name)
    with torch.no_grad():
        terms = layer.terms(layer.qkv.weight, GRID)
    return Entry(
        name,
        tuple(family for family, members in families().items() if name in members and family != "all"),
        cls.equation,
        cls.source,
        tuple(f"{key}={default}" for key, (_, default) in settings_of(cls).items()),
        size(layer) - size(typical("sa")),
        layer.resolution_rule(),
        tuple(backends.serving(terms, GRID[0] * GRID[1])),
    )


def typical(spec: str) -> Attention:
    """The layer that is told of, in inference and always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(spec, WIDTH, HEADS, grid=GRID, depth=12).eval()


def size(layer: Attention) -> int:
    """Its parameters."""
    return sum(parameter.numel() for parameter in layer.parameters())


def listing(width: int | None = None) -> Iterator[str]:
    """The lines of `--list`, as wide as the terminal."""
    width = width or shutil.get_terminal_size((120, 24)).columns
    rows = [("variant", "families", "parameters", "new resolution", "backends")]
    found = entries()
    for one in found:
        rule = one.resolution or "nothing to do"
        rows.append((one.name, ", ".join(one.families), f"{one.params:,}", rule, " ".join(one.backends)))
    spans = [max(map(len, column)) for column in zip(*rows, strict=True)]
    yield f"The parameters are those beyond plain attention of {LAYER}; settings are shown with their defaults."
    yield ""
    for row, told in zip(rows, [None, *found], strict=True):
        cells = [cell.rjust(span) if place == 2 else cell.ljust(span)
                 for place, (cell, span) in enumerate(zip(row, spans, strict=True))]  # fmt: skip
        yield "  ".join(cells).rstrip()
        if told is not None:
            words = [told.equation, ", ".join(told.settings), told.source]
            indent = " " * (spans[0] + 2)
            yield from wrap("; ".join(filter(None, words)), width, initial_indent=indent, subsequent_indent=indent)
