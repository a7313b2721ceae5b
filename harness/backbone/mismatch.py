"""What a file of weights has otherwise than a model: one sentence with the remedy, before anything is loaded."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from torch import Tensor, nn

from harness.backbone.vit import ViT

SIDES = {  # parameter -> what its axes are the number of, and the argument of `create` that sets it; "" for no axis
    "patch_embed.proj.weight": (("units of width", "size"), ("channels", "in_chans"), ("px a patch", "patch_size")),
    "head.weight": (("classes", "num_classes"),),
}


@dataclass(frozen=True)
class Mismatch:
    """In words: what differs, and what to do where the weights are meant for the model after all."""

    differs: str
    remedy: str


def mismatch(model: nn.Module, state: Mapping[str, Tensor]) -> Mismatch | None:
    """How a state dict, in this backbone's names, differs from a model; None where every tensor fits."""
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    brought = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if _absorbs(model) and "cls_token" in brought and "pos_embed" in brought:
        _, tokens, width = own["pos_embed"]
        if brought["pos_embed"] == (1, tokens + model.size.prefix, width):
            brought["pos_embed"] = own["pos_embed"]
    if own == brought:
        return None
    depths = _depth(brought), _depth(own)
    if depths[0] != depths[1] and depths[0]:
        differs = f"it has {depths[0]} blocks and the model {depths[1]}"
        return Mismatch(differs, "build the model with the size of the weights")
    for name, axes in SIDES.items():
        for axis, (what, argument) in enumerate(axes):
            there, here = brought.get(name, ())[axis : axis + 1], own.get(name, ())[axis : axis + 1]
            if there and here and there != here:
                return _side(name, what, argument, there[0], here[0])
    other = [name for name in own if name in brought and brought[name] != own[name]]
    lacking, more = [name for name in own if name not in brought], [name for name in brought if name not in own]
    if other and not lacking and not more and isinstance(model, ViT):
        return _grid(model, other, brought, own)
    parts = [f"it lacks {_some(lacking)}"] if lacking else []
    parts += [f"it has {_some(more)}, which the model has not"] if more else []
    parts += [f"{name} is {_shape(brought[name])} and the model's {_shape(own[name])}" for name in other[:1]]
    return Mismatch("; ".join(parts), "build the model with the spec and the settings of the weights")


def _absorbs(model: nn.Module) -> TypeGuard[ViT]:
    """Whether a model's late class token absorbs its own entry of a position embedding."""
    return isinstance(model, ViT) and model.size.class_token == "late" and model.pos_embed is not None


def _depth(names: Iterable[str]) -> int:
    return len({place[1] for name in names if (place := re.match(r"blocks\.(\d+)\.", name))})


def _side(name: str, what: str, argument: str, there: int, here: int) -> Mismatch:
    differs = f"its {name} has {there} {what} and the model's {here}"
    if name == "head.weight":
        return Mismatch(differs, f"build the model with num_classes={there} and load it, then give it a new head for "
                        f"{here}: model.head = torch.nn.Linear(model.head.in_features, {here})")  # fmt: skip
    return Mismatch(differs, f"build the model with the {argument} of the weights")


def _grid(model: ViT, names: list[str], brought: Mapping[str, tuple[int, ...]], own: Mapping[str, tuple[int, ...]]) \
        -> Mismatch:  # fmt: skip
    """Of shapes alone, which a grid of other patches explains where a position embedding or a table says so."""
    name = names[0]
    differs = f"its {name} is {_shape(brought[name])} and the model's {_shape(own[name])}"
    here = f"({model.grid[0]}, {model.grid[1]})"
    side = _square(model, brought[name]) if name == "pos_embed" else None
    if name == "pos_embed" and side is not None:
        return Mismatch(f"{differs}: {side}x{side} patches and {model.grid[0]}x{model.grid[1]}",
                        f"build the model with img_size={side * model.patch_size} and load it, then resample position "
                        f"embedding and tables: model.set_grid({here})")  # fmt: skip
    return Mismatch(differs, f"build the model with the img_size and the settings of the weights and load it, then "
                    f"resample position embedding and tables: model.set_grid({here})")  # fmt: skip


def _square(model: ViT, shape: tuple[int, ...]) -> int | None:
    """The side of the square grid that a position embedding [1, prefix + N, C] is of; None where it is of none."""
    if len(shape) != 3 or shape[1] < 2:
        return None
    prefix = model.size.prefix
    prefixes = {"none": (0,), "input": (prefix,), "late": (0, prefix)}[model.size.class_token]
    return next(
        (side for prefix in prefixes if (side := math.isqrt(shape[1] - prefix)) ** 2 == shape[1] - prefix), None
    )


def _some(names: list[str]) -> str:
    """ "a", "a and 3 more"."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
