"""Names, spec strings, and the way from a spec to a module.

A spec is CLI word, row key and plot label at once: `sp_sa`, `sp_sa[hidden=16,scope=layer]`, `swin+rpe_2d[mode=bias]`.
A sum composes any number of relations and at most one Attention. Settings are the keyword arguments of a class, and
their annotations say which values there are (`Literal["mul", "add"]`, `int | Literal["auto"]`).
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import hashlib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from torch import nn

from variants.attention import Attention
from variants.geometry import Grid
from variants.relation import Composed, Site, SpatialRelation

Variant = TypeVar("Variant", bound=type[SpatialRelation] | type[Attention])

_classes: dict[str, type[SpatialRelation] | type[Attention]] = {}
_families: dict[str, list[str]] = {}  # family -> members
_home: dict[str, str] = {}  # variant -> its first family

NAME = re.compile(r"[a-z][a-z0-9_]*")


def register(name: str, *, family: str | tuple[str, ...] = "custom") -> Callable[[Variant], Variant]:
    """Class decorator: makes a SpatialRelation or an Attention known by `name`, as a member of one family or more.

    Raises ValueError for a name that is taken, by a variant or by a family, or that is no lower-case word.
    """
    of = (family,) if isinstance(family, str) else tuple(family)

    def decorate(cls: Variant) -> Variant:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a variant; use lower-case letters, digits and underscores")
        if not (isinstance(cls, type) and issubclass(cls, SpatialRelation | Attention)):
            raise ValueError(f"{name!r} is given to {cls!r}, which is no subclass of SpatialRelation or Attention")
        if name in _classes:
            raise ValueError(f"the name {name!r} is taken by {_where(_classes[name])}; choose another")
        settings_of(cls)  # annotations that cannot be read are an error here, where they are written
        if name in families() or any(word in _classes or word == name for word in of):
            raise ValueError(f"{name!r} in {of}: one word cannot name both a family and a variant; choose another")
        _classes[name], _home[name] = cls, of[0]
        for word in of:
            _families.setdefault(word, []).append(name)
        return cls

    return decorate


def names() -> list[str]:
    """The registered variants, in the order of registration."""
    return list(_classes)


def families() -> dict[str, list[str]]:
    """Family -> its members; `all` is everything."""
    return {**{family: list(members) for family, members in _families.items()}, "all": names()}


def family_of(spec: str) -> str:
    """The first family that a spec's variant was registered with; `hybrid` for a sum."""
    parts = parse(spec)
    return _home[parts[0].name] if len(parts) == 1 else "hybrid"


@dataclass(frozen=True)
class Part:
    """One summand of a spec: a registered name and the settings that differ from its defaults."""

    name: str
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def cls(self) -> type[SpatialRelation] | type[Attention]:
        return _classes[self.name]

    def __str__(self) -> str:
        inside = ",".join(f"{key}={value}" for key, value in self.settings)
        return f"{self.name}[{inside}]" if inside else self.name


def split(text: str, mark: str) -> list[str]:
    """Splits at `mark`, but not inside brackets. Raises ValueError for brackets that do not match."""
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter in "[(") - (letter in "])")
        if depth < 0:
            raise ValueError(f"{text!r} closes a bracket that it did not open; write name[setting=value]")
        if letter == mark and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    if depth:
        raise ValueError(f"{text!r} opens a bracket and does not close it; write name[setting=value]")
    return [part.strip() for part in [*parts, text[start:]]]


def expand(text: str) -> list[tuple[str, bool]]:
    """A comma-separated list of specs and families as (canonical spec, was it asked for by name), each once."""
    asked: dict[str, bool] = {}
    for word in split(text, ","):
        if not word:
            raise ValueError(f"the list of variants {text!r} has an empty place; {_known()[:1].lower()}{_known()[1:]}")
        for spec in families().get(word, [word]):
            asked[canonical(spec)] = asked.get(canonical(spec), False) or word not in families()
    return list(asked.items())


def canonical(spec: str) -> str:
    """The one way to write a spec: settings sorted, defaults dropped."""
    return "+".join(map(str, parse(spec)))


def parse(spec: str) -> tuple[Part, ...]:
    """A spec's summands. Raises ValueError for what does not exist, naming what does."""
    parts = tuple(_parse_part(word, spec) for word in split(spec, "+"))
    tier2 = [part.name for part in parts if issubclass(part.cls, Attention)]
    if len(tier2) > 1:
        raise ValueError(f"{spec!r} sums {' and '.join(tier2)}, which each are a whole attention; keep one of them")
    return parts


def settings_of(cls: type) -> dict[str, tuple[Any, Any]]:
    """The settings of a variant's class: name -> (annotation, default)."""
    init: Any = cls.__init__  # type: ignore[misc]
    hints, found = get_type_hints(init), inspect.signature(init).parameters.values()
    return {
        p.name: (hints.get(p.name, Any), p.default) for p in found if p.kind is p.KEYWORD_ONLY and p.name != "backend"
    }


def build(
    spec: str,
    dim: int,
    num_heads: int,
    *,
    grid: Grid,
    layer: int = 0,
    depth: int = 1,
    qkv_bias: bool = True,
    backend: str = "auto",
    shared: dict[Any, Any] | None = None,
) -> Attention:
    """The attention of a spec for one layer: x [B, P+N, dim] -> [B, P+N, dim].

    The shared weights are drawn first, from torch's own stream, the variant's parameters from a stream of their own:
    with one seed all variants have bit-identical shared weights and leave the same stream behind. `shared` is one
    dictionary a model. Raises ValueError (Unsupported among them) for what cannot be built.
    """
    if num_heads < 1 or dim % num_heads:
        raise ValueError(f"a width of {dim} cannot be shared by {num_heads} heads; choose heads that divide it")
    if min(grid) < 1:
        raise ValueError(f"a grid of {grid[0]}x{grid[1]} patches is empty; use a larger image or a smaller patch")
    parts = parse(spec)
    site = Site(num_heads, dim // num_heads, grid, layer, depth, {} if shared is None else shared)
    qkv, proj = _linear(dim, 3 * dim, qkv_bias), _linear(dim, dim, True)
    with _own_stream(f"{layer} {'+'.join(map(str, parts))}"):
        relations = [p.cls(site, **dict(p.settings)) for p in parts if issubclass(p.cls, SpatialRelation)]
        relation = relations[0] if len(relations) == 1 else Composed(relations) if relations else SpatialRelation(site)
        outer = next((p for p in parts if issubclass(p.cls, Attention)), None)
        cls: Any = outer.cls if outer else Attention
        attention = cls(site, relation, qkv, proj, backend=backend, **dict(outer.settings if outer else ()))
    attention.init_qkv()
    return attention


def _linear(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=bias)
    nn.init.trunc_normal_(linear.weight, std=0.02)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


@contextlib.contextmanager
def _own_stream(words: str) -> Iterator[None]:
    digest = hashlib.sha256(f"{torch.initial_seed()} {words}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int.from_bytes(digest[:7], "big"))
        yield


def _parse_part(word: str, spec: str) -> Part:
    name, bracket, inside = word.partition("[")
    name = name.strip()
    if bracket and not word.endswith("]"):
        raise ValueError(f"{word!r} goes on after its bracket; write name[setting=value]")
    if name not in _classes:
        if name in families():
            where = "takes no settings" if bracket else f"cannot stand inside the sum {spec!r}"
            raise ValueError(f"{name!r} is a family and {where}; name one of {', '.join(families()[name])}")
        raise ValueError(f"there is no variant {name!r}; {_known(name)[:1].lower()}{_known(name)[1:]}")
    allowed = settings_of(_classes[name])
    given: dict[str, Any] = {}
    for setting in split(inside[:-1], ",") if inside[:-1].strip() else []:
        key, equals, text = (piece.strip() for piece in setting.partition("="))
        if not equals:
            raise ValueError(f"{setting!r} in {word!r} is no setting; write name[setting=value]")
        if key not in allowed:
            exists = ", ".join(f"{k} ({_describe(a)})" for k, (a, _) in allowed.items())
            raise ValueError(f"{name} has no setting {key!r}; it has {exists or 'none'}")
        if key in given:
            raise ValueError(f"{word!r} gives {key!r} twice; keep one")
        given[key] = _value(name, key, text, allowed[key][0])
    different = sorted((key, value) for key, value in given.items() if value != allowed[key][1])
    return Part(name, tuple(different))


def _value(name: str, key: str, text: str, annotation: Any) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text  # a bare word
    if not _fits(value, annotation):
        raise ValueError(f"{name}[{key}={text}] is not available; {key} is {_describe(annotation)}")
    return float(value) if annotation is float else value


def _fits(value: Any, annotation: Any) -> bool:
    if get_origin(annotation) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return any(_fits(value, choice) for choice in get_args(annotation))
    if annotation is float:
        return type(value) in (int, float)
    return annotation is Any or type(value) is annotation


def _describe(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_describe(choice) for choice in get_args(annotation))
    if annotation is bool:
        return "True or False"
    return {int: "a whole number", float: "a number"}.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _known(near: str = "") -> str:
    close = difflib.get_close_matches(near, [*names(), *families()], n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}There are {', '.join(names())}, and the families {', '.join(families())}"


def _where(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
