"""The list of variants that `python -m harness.run --list` prints; each entry is read from the variant's class.

Parameters are counted beyond plain attention, in a layer of DeiT-S's width (384) on its grid (14x14) with four heads, a
number that every variant takes.
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
    """What the list says of a variant; settings as "name=default", params beyond those of plain attention."""

    name: str
    families: tuple[str, ...]
    equation: str
    source: str
    settings: tuple[str, ...]
    params: int
    resolution: str
    backends: tuple[str, ...]


def entries() -> list[Entry]:
    """The entries of all registered variants. Raises ValueError, with file and line, for one that cannot be built."""
    found = []
    for name in names():
        try:
            found.append(entry(name))
        except Exception as error:  # a user's code may raise anything
            what = f"{type(error).__name__}: {first_line(error)}{at(error)}"
            raise ValueError(f"{name} cannot be listed: {what}") from error
    return found


def entry(name: str) -> Entry:
    """The entry of a registered name. Raises ValueError for any other name."""
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
    """The layer whose parameters are counted, in inference mode; its weights are always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(spec, WIDTH, HEADS, grid=GRID, depth=12).eval()


def size(layer: Attention) -> int:
    """The number of a layer's parameters."""
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
    for row, variant in zip(rows, [None, *found], strict=True):
        cells = [cell.rjust(span) if place == 2 else cell.ljust(span)
                 for place, (cell, span) in enumerate(zip(row, spans, strict=True))]  # fmt: skip
        yield "  ".join(cells).rstrip()
        if variant is not None:
            words = [variant.equation, ", ".join(variant.settings), variant.source]
            indent = " " * (spans[0] + 2)
            yield from wrap("; ".join(filter(None, words)), width, initial_indent=indent, subsequent_indent=indent)
