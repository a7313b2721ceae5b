"""Training that starts from weights: those of a file, or of a model that timm has pretrained.

    start(model, weights("timm:deit_tiny_patch16_224.fb_in1k"), "timm:deit_tiny_patch16_224.fb_in1k")

All variants of a study start from the same body. What a variant adds to plain attention keeps its own initial values,
and so does a head for another number of classes. Weights of another grid, another patch or another number of channels
are resampled as timm resamples them. Whatever else differs is refused: no weight is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from math import isqrt
from pathlib import Path

import torch
from timm.layers import resample_patch_embed
from timm.models import adapt_input_conv
from torch import Tensor

from harness.backbone.mismatch import mismatch
from harness.backbone.vit import ViT
from harness.backbone.weights import read, translate
from variants.geometry import Grid

TIMM = "timm:"
PLAIN = ("qkv.", "proj.")  # the parameters of plain attention, which all variants have
HEADS = ("head.", "aux_head.")


@cache
def weights(source: str) -> Mapping[str, Tensor]:
    """The weights of FILE or timm:NAME in this backbone's names, read once a process.

    Raises ValueError for a file that is missing or holds something else than tensors, for a name that timm does not
    have, and where its weights cannot be downloaded.
    """
    if not source.startswith(TIMM):
        state = read(Path(source))
        try:
            return translate(state)
        except KeyError as error:
            raise ValueError(f"{source} is not a whole checkpoint: it lacks {error.args[0]}; name another") from error
    import timm

    name = source.removeprefix(TIMM)
    if not timm.is_model(name.partition(".")[0]):
        raise ValueError(f"timm has no model {name!r}; print its names with timm.list_models(pretrained=True)")
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # of the network, the hub or the file: they share no class
        raise ValueError(f"the weights of {source} cannot be had: {type(error).__name__}: "
                         f"{(str(error).splitlines() or [''])[0]}; download them elsewhere and name the file"
                         ) from error  # fmt: skip
    return translate(model.state_dict())


def start(model: ViT, state: Mapping[str, Tensor], source: str) -> None:
    """Gives a fresh model the weights of a state dict in its names. Raises ValueError where they do not fit."""
    own = model.state_dict()
    brought = {n: t for n, t in state.items() if not n.startswith(HEADS) or _shape(t) == _shape(own.get(n))}
    _adapt_patches(model, brought, own)
    brought = resampled(brought, model, _grid_of(model, brought))
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


def _grid_of(model: ViT, state: Mapping[str, Tensor]) -> Grid:
    """The grid of a learned position embedding, a square as all published ones are; the model's where it tells none."""
    learned = state.get("pos_embed")
    if learned is None or model.pos_embed is None or learned.shape == model.pos_embed.shape:
        return model.grid
    for prefix in {"none": (0,), "input": (1,), "late": (1, 0)}[model.size.class_token]:
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
