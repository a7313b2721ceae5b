"""Weights of other code in this backbone: the names and layouts of ConViT (timm's and the authors') and of SP-ViT.

timm's ViT and DeiT need nothing: the names are the same, and a late class token absorbs its position entry.

    model = create("gpsa", size="convit_tiny", img_size=224, patch_size=16, num_classes=1000)
    model.load_state_dict(translate(timm.create_model("convit_tiny").state_dict()))

    model = create("sp_sa[hidden=64]", size="sp_vit_s", img_size=224, patch_size=16, num_classes=1000)
    load(model, "SP_ViT_S.pth.tar")
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import Tensor

from harness.backbone.mismatch import mismatch
from harness.backbone.vit import ViT

CODE = re.compile(r"Unsupported (?:global|class|operand)|weights_only=True blocked")  # torch's words, and timm's
GLOBAL = re.compile(r"Unsupported globals?: (?:GLOBAL )?([\w.]*\w)")
DAMAGE = (UnpicklingError, struct.error, LookupError, ValueError, AssertionError)  # of a pickle whose bytes are altered
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
    """Loads a checkpoint file (.safetensors, or a .pth that holds tensors alone) of any of these layouts, all or none.

    Raises ValueError for a file that is missing or holds something else, and where the weights are another model's.
    """
    own = translated(Path(path))
    found = mismatch(model, own)
    if found is not None:
        raise ValueError(f"{path} holds the weights of another model than {model.spec}: {found.differs}; "
                         f"{found.remedy}")  # fmt: skip
    model.load_state_dict(own)


def translated(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file in this backbone's names. Raises ValueError as `read`, and for a part of one."""
    state = read(path)
    try:
        return translate(state)
    except KeyError as error:
        raise ValueError(f"{path} is not a whole checkpoint: it lacks {error.args[0]}; download it again") from error


def read(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a checkpoint file by name: its moving average where it has one.

    Raises ValueError for a file that is missing, damaged, or holds something else than tensors, which is never run.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ValueError(f"the checkpoint {path} {what}; name a .safetensors or a .pth file")
    refused = f"{path} is no checkpoint that can be read"
    try:
        state = load_state_dict(str(path), use_ema=True, weights_only=True)
    except (AttributeError, TypeError) as error:  # timm asks whatever it finds for its items
        raise ValueError(f"{refused}: it is damaged or holds no tensors by name; save model.state_dict()") from error
    except (*DAMAGE, OSError, EOFError, RuntimeError, SafetensorError) as error:
        if CODE.search(str(error)):
            named = f" ({found[1]})" if (found := GLOBAL.search(str(error))) else ""
            raise ValueError(
                f"{refused}: it holds Python objects other than tensors{named}, and to read these may run code; save "
                f"the tensors alone: torch.save(model.state_dict(), FILE)"
            ) from error
        raise ValueError(f"{refused}: it is cut off, or was not written by safetensors or torch.save") from error
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{refused}: it holds no tensors by name; save model.state_dict()")
    return state
