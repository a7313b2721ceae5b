"""Training that starts from weights: those of a file, or of a model that timm has pretrained.

    start(model, weights("timm:deit_tiny_patch16_224.fb_in1k"))

All variants of a study start from the same body. What a variant adds to plain attention keeps its own initial values,
and so does a head for another number of classes. Weights of another grid, another patch or another number of channels
are resampled as timm resamples them. Whatever else differs is refused: no weight is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from math import isqrt
from pathlib import Path

import torch
from timm.layers import resample_patch_embed
from timm.models import adapt_input_conv
from torch import Tensor

from harness.backbone.mismatch import mismatch
from harness.backbone.vit import ViT
from harness.backbone.weights import translate, translated
from variants.geometry import Grid

TIMM = "timm:"
PLAIN = ("qkv.", "proj.")  # the parameters of plain attention, which all variants have
HEADS = ("head.", "head_dist.", "aux_head.")


@dataclass(frozen=True)
class Weights:
    """Tensors in this backbone's names, where they are from, and the heads a layer, which a file does not tell."""

    source: str
    state: Mapping[str, Tensor]
    heads: int | None = None


@cache
def weights(source: str) -> Weights:
    """The weights of FILE or timm:NAME, read once a process.

    Raises ValueError for a file that is missing or holds something else than finite tensors, for a name that timm does
    not have, and where its weights cannot be downloaded.
    """
    if not source.startswith(TIMM):
        state = translated(Path(source))
        lost = next((name for name, tensor in state.items() if not tensor.isfinite().all()), None)
        if lost is not None:
            raise ValueError(f"{source} holds numbers in {lost} that are not finite; name another")
        return Weights(source, state)
    import timm

    name = source.removeprefix(TIMM)
    if not timm.is_model(name.partition(".")[0]):
        raise ValueError(f"timm has no model {name!r}; print its names with timm.list_models(pretrained=True)")
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # of the network, the hub or the file: they share no class
        first = (str(error).splitlines() or [""])[0].rstrip(".")
        raise ValueError(f"the weights of {source} cannot be had: {type(error).__name__}: {first}; download them "
                         f"elsewhere and name the file") from error  # fmt: skip
    heads = getattr(getattr(next(iter(getattr(model, "blocks", [])), None), "attn", None), "num_heads", None)
    return Weights(source, translate(model.state_dict()), heads)


def start(model: ViT, begin: Weights) -> None:
    """Gives a fresh model these weights. Raises ValueError where they do not fit."""
    own, source = model.state_dict(), begin.source
    if begin.heads not in (None, model.size.num_heads):
        raise ValueError(f"{source} has {begin.heads} heads a layer and {model.spec} {model.size.num_heads}; choose "
                         f"--num-heads {begin.heads}")  # fmt: skip
    brought = {n: t for n, t in begin.state.items() if not n.startswith(HEADS) or _shape(t) == _shape(own.get(n))}
    _adapt_patches(model, brought, own)
    brought = resampled(brought, model, _grid_of(model, brought, source))
    lacking = {n: own[n] for n in own.keys() - brought.keys() if n.startswith(HEADS) or _added(n)}
    found = mismatch(model, brought | lacking)
    if found is not None:
        raise ValueError(f"{source} cannot start {model.spec}: {found.differs}; choose --size, --class-token, "
                         f"--pos-embed and the variants as these weights have them")  # fmt: skip
    model.load_state_dict(brought | lacking)


def resampled(state: Mapping[str, Tensor], model: ViT, grid: Grid) -> dict[str, Tensor]:
    """Weights that were trained on a grid as the model takes them: its position embedding and tables resampled."""
    if grid == model.grid:
        return dict(state)
    twin = deepcopy(model)
    twin.set_grid(grid)
    fits = {
        name: state[name]
        for name, tensor in twin.state_dict().items()
        if name in state and (name == "pos_embed" or state[name].shape == tensor.shape)
    }
    twin.load_state_dict(fits, strict=False)
    twin.set_grid(model.grid)
    own = twin.state_dict()
    return dict(state) | {name: own[name] for name in fits}


def _grid_of(model: ViT, state: Mapping[str, Tensor], source: str) -> Grid:
    """The grid of a learned position embedding, a square as all published ones are; the model's where it tells none.

    Raises ValueError for as many patches as the model's, of a grid that may be another: 24x24 are as many as 18x32.
    """
    learned, (h, w) = state.get("pos_embed"), model.grid
    if learned is None or model.pos_embed is None:
        return model.grid
    if learned.shape == model.pos_embed.shape:
        side = isqrt(h * w)
        if h != w and side**2 == h * w:
            raise ValueError(f"{source} has a position embedding of {h * w} patches, which may be {side} x {side} or "
                             f"the model's {h} x {w}; choose an image size with another number")  # fmt: skip
        return model.grid
    own = model.size.prefix
    for prefix in {"none": (0,), "input": (own,), "late": (own, 0)}[model.size.class_token]:
        side = isqrt(max(0, learned.shape[1] - prefix))
        if side and side**2 == learned.shape[1] - prefix:
            return side, side
    return model.grid


def _adapt_patches(model: ViT, state: dict[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Fits the first convolution to the model's channels, and a patch embedding to its patch."""
    first = "patch_embed.proj.weight" if model.size.stem_width is None else "patch_embed.conv1.weight"
    if first not in state or state[first].ndim != 4:
        return
    kernel, wanted = state[first], own[first].shape
    if kernel.shape[1] == 3 != wanted[1]:
        kernel = adapt_input_conv(wanted[1], kernel)
    if model.size.stem_width is None and kernel.shape[-1] != wanted[-1]:
        kernel = resample_patch_embed(kernel, list(wanted[2:]))
    state[first] = kernel


def _added(name: str) -> bool:
    """Whether a parameter is one that a variant adds to plain attention."""
    inner = name.partition(".attn.")[2]
    return bool(inner) and not inner.startswith(PLAIN)


def _shape(tensor: Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape
