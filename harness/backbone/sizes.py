"""The named sizes of the one ViT: which choices DeiT, ConViT, LV-ViT and SP-ViT made. No attention is chosen here.

Sources: DeiT, arXiv 2012.12877; ConViT, arXiv 2103.10697, table 1; LV-ViT, arXiv 2104.10858; SP-ViT, arXiv 2206.07662,
and their code. Where paper and code of SP-ViT disagree the paper is followed: all but the last two layers are spatial
(the released script for M gives 10: `spatial_layers=10`; the released L builds no SP-SA block: variant `sa`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Precision = Literal["float32", "bfloat16"]
ClassToken = Literal["late", "input", "none"]
PosEmbed = Literal["learned", "sincos", "none"]


@dataclass(frozen=True)
class Size:
    """What a named size stands for.

    mlp_hidden: the hidden width of the MLPs, None for mlp_ratio times the width. pos_std: the standard deviation that a
    learned position embedding starts with. stem_width: channels of a convolutional stem, None for a plain patch
    embedding. skip_scale: each branch is divided by it. aux_head: a second head on the patch tokens, whose largest
    logits count half. distilled: a second token beside the class token with a head of its own, as DeiT's. peg: CPVT's
    depthwise convolution after each block.
    """

    width: int
    num_heads: int
    depth: int = 12
    mlp_ratio: float = 4.0
    mlp_hidden: int | None = None
    class_token: ClassToken = "late"
    pos_embed: PosEmbed = "learned"
    pos_std: float = 0.02
    qkv_bias: bool = True
    norm_eps: float = 1e-6
    stem_width: int | None = None
    skip_scale: float = 1.0
    aux_head: bool = False
    distilled: bool = False
    peg: bool = False

    @property
    def prefix(self) -> int:
        """How many tokens stand before the patches in the end: class token and distillation token."""
        return 0 if self.class_token == "none" else 1 + self.distilled

    @property
    def hidden(self) -> int:
        return int(self.width * self.mlp_ratio) if self.mlp_hidden is None else self.mlp_hidden

    def spatial_layers(self, class_token: str) -> int:
        """How many leading layers carry the variant where nothing is said: all, with a late class token all but two."""
        return self.depth - 2 * (class_token == "late")


_LV_VIT_S = Size(
    width=384, num_heads=6, depth=16, mlp_ratio=3.0, class_token="input", qkv_bias=False, norm_eps=1e-5, stem_width=64,
    skip_scale=2.0, aux_head=True,
)  # fmt: skip
_LV_VIT_M = replace(_LV_VIT_S, width=512, num_heads=8, depth=20)
_LV_VIT_L = replace(_LV_VIT_S, width=768, num_heads=12, depth=24, stem_width=128, skip_scale=3.0)

SIZES = {
    "nano": Size(width=64, num_heads=4, depth=2, class_token="none"),  # no layer is plain
    "micro": Size(width=64, num_heads=4, depth=4),
    "tiny": Size(width=192, num_heads=3),
    "small": Size(width=384, num_heads=6),
    "base": Size(width=768, num_heads=12),
    "convit_tiny": Size(width=192, num_heads=4, qkv_bias=False),
    "convit_small": Size(width=432, num_heads=9, qkv_bias=False),
    "convit_base": Size(width=768, num_heads=16, qkv_bias=False),
    "lv_vit_s": _LV_VIT_S,
    "lv_vit_m": _LV_VIT_M,
    "sp_vit_s": replace(_LV_VIT_S, class_token="late", peg=True),
    "sp_vit_m": replace(_LV_VIT_M, class_token="late", peg=True),
    "sp_vit_l": replace(_LV_VIT_L, class_token="late", peg=True),
}


# What a study may set in place of the size's own choice.
FACTORS = ("num_heads", "class_token", "pos_embed", "pos_std", "peg")
EXTRAS = ("aux_head", "distilled")  # named where a study has them and its size has not, or the other way round


def size_of(name: str) -> Size:
    """The size of that name. Raises ValueError for one that does not exist."""
    if name not in SIZES:
        raise ValueError(f"there is no size {name!r}; choose {', '.join(SIZES)}")
    return SIZES[name]


def in_full(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a study, with the size's own choice of the model's factors where they name none.

    So studies are equal that name a factor as the size has it, or leave it to the size.
    """
    size = SIZES.get(str(entries.get("size")))
    if size is None:
        return dict(entries)
    named = {name: value for name, value in entries.items() if value is not None}
    own = {name: getattr(size, name) for name in FACTORS}
    own["spatial_layers"] = size.spatial_layers(named.get("class_token", size.class_token))
    whole = {**entries, **own, **named}
    plain = [name for name in EXTRAS if whole.get(name) in (None, getattr(size, name))]
    return {name: value for name, value in whole.items() if name not in plain}
