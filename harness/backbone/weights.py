"""Weights of other code in this backbone: the names and layouts of ConViT (timm's and the authors') and of SP-ViT.

timm's ViT and DeiT need nothing: the names are the same, and a late class token absorbs its position entry.

    model = create("gpsa", size="convit_tiny", img_size=224, patch_size=16, num_classes=1000)
    model.load_state_dict(translate(timm.create_model("convit_tiny").state_dict()))

    model = create("sp_sa[hidden=64]", size="sp_vit_s", img_size=224, patch_size=16, num_classes=1000)
    load(model, "SP_ViT_S.pth.tar")
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import Tensor

from harness.backbone.vit import ViT

PLACE = re.compile(r"(blocks\.\d+\.)(.+)")


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in this backbone's names and layouts; what already has them passes unchanged.

    ConViT: `pos_proj` has the columns (x, y, |Delta|^2), here (|Delta|^2, dy, dx); its bias is dropped, since softmax
    ignores a constant. SP-ViT: hidden units lie head by head in one vector, and the offset is (x, y), here (dy, dx).
    Both keep q, k and v in two layers, here in one.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        place = PLACE.fullmatch(name)
        block, inner = (place[1], place[2]) if place else ("", name)
        attn = f"{block}attn."
        match inner:
            case "attn.v.weight" | "attn.v.bias" | "attn.pos_proj.bias":
                continue  # v joins qk; the constant is lost on softmax
            case "attn.qk.weight" | "attn.qk.bias":
                kind = inner.rpartition(".")[2]
                found[f"{attn}qkv.{kind}"] = torch.cat([tensor, state[f"{attn}v.{kind}"]])
            case "attn.pos_proj.weight":
                found[f"{attn}position.weight"] = tensor[:, [2, 1, 0]]
            case "attn.gating_param":
                found[f"{attn}gate"] = tensor
            case "attn.w1.weight":
                heads = len(state[f"{attn}b2"])
                found[f"{attn}relation.function.w1"] = tensor.view(heads, -1, 2).flip(-1)
            case "attn.w1.bias" | "attn.w2":
                heads = len(state[f"{attn}b2"])
                own = "b1" if inner == "attn.w1.bias" else "w2"
                found[f"{attn}relation.function.{own}"] = tensor.view(heads, -1)
            case "attn.b2":
                found[f"{attn}relation.function.b2"] = tensor
            case "pos_block.proj.0.weight" | "pos_block.proj.0.bias":
                found[f"{block}peg.proj.{inner.rpartition('.')[2]}"] = tensor
            case _:
                found[name] = tensor
    return found


def load(model: ViT, path: str | Path) -> None:
    """Loads a checkpoint file (.safetensors, or a .pth that holds tensors alone) of any of these layouts.

    Raises ValueError for a file that is not there or holds something else, and where the weights are another model's.
    """
    path = Path(path)
    if path.suffix != ".safetensors" and not is_zipfile(path):
        raise ValueError(f"{path} is no checkpoint that can be read: it is missing, cut off, or written by neither "
                         f"safetensors nor torch.save")  # fmt: skip
    try:
        state = load_state_dict(str(path), use_ema=True, weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, SafetensorError) as error:
        raise ValueError(f"{path} is no checkpoint that can be read: {error}") from error
    try:
        model.load_state_dict(translate(state))
    except RuntimeError as error:
        raise ValueError(f"{path} holds the weights of another model than {model.spec}: {error}") from error
