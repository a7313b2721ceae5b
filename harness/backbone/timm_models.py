"""The model families under names that timm does not own: import this module, then ask timm.

    import timm, harness.backbone.timm_models
    model = timm.create_model("sp_vit_small_patch16_224")
    model = timm.create_model("spatial_vit_small_patch16_224", variant="swin+rpe_2d[mode=bias]", num_classes=100)

The models have timm's methods (`harness.backbone.contract`). No weights are hosted; `harness.backbone.weights.load`
reads the authors', and so does timm from a file: `pretrained=True, pretrained_cfg_overlay={"file": "SP_ViT_S.pth"}`.
`convit_*` is timm's own, with the same numbers.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model, resolve_pretrained_cfg
from torch import nn

from harness.backbone.contract import build, fitted
from harness.backbone.sizes import size_of

# name -> (size, the paper's attention); SP-ViT's code has C/H = 64 hidden units a head
FAMILIES = {
    "sp_vit_small": ("sp_vit_s", "sp_sa[hidden=64]"),
    "sp_vit_medium": ("sp_vit_m", "sp_sa[hidden=64]"),
    "sp_vit_large": ("sp_vit_l", "sp_sa[hidden=64]"),
    "lv_vit_small": ("lv_vit_s", "sa"),
    "lv_vit_medium": ("lv_vit_m", "sa"),
    "spatial_vit_tiny": ("tiny", "sp_sa"),
    "spatial_vit_small": ("small", "sp_sa"),
    "spatial_vit_base": ("base", "sp_sa"),
}
SIZES_PX = (224, 384)


def described(size: str, px: int) -> dict[str, Any]:
    """timm's pretrained_cfg of a model, with weights nowhere. fixed_input_size: the model takes an img_size."""
    own = size_of(size)
    return {
        "url": "", "num_classes": 1000, "input_size": (3, px, px), "pool_size": None, "fixed_input_size": True,
        "crop_pct": 0.9, "interpolation": "bicubic", "mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD,
        "first_conv": "patch_embed.conv1" if own.stem_width else "patch_embed.proj",
        "classifier": ("head", "aux_head") if own.aux_head else "head",
    }  # fmt: skip


default_cfgs = generate_default_cfgs(
    {f"{family}_patch16_{px}": described(size, px) for family, (size, _) in FAMILIES.items() for px in SIZES_PX}
)


def entry(name: str, size: str, spec: str) -> None:
    """Registers one model with timm; its arguments are timm's, those of `create`, and `variant` any spec."""

    def made(
        pretrained: bool = False,
        *,
        variant: str = spec,
        patch_size: int = 16,
        out_indices: Any = 3,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Any = None,
        **given: Any,
    ) -> nn.Module:
        found = resolve_pretrained_cfg(name, pretrained_cfg, pretrained_cfg_overlay)
        if pretrained and not (found.has_weights or found.state_dict):
            raise ValueError(f"{name} has no hosted weights; create it with pretrained=False and load a file with "
                             f"harness.backbone.weights.load")  # fmt: skip
        model: nn.Module = build_model_with_cfg(
            partial(build, variant, size=size, patch_size=patch_size), name, pretrained, pretrained_cfg=pretrained_cfg,
            pretrained_cfg_overlay=pretrained_cfg_overlay, pretrained_filter_fn=fitted,
            feature_cfg={"out_indices": out_indices, "feature_cls": "getter"}, **given,
        )  # fmt: skip
        return model

    made.__name__ = name
    made.__module__ = __name__
    register_model(made)


for _family, (_size, _spec) in FAMILIES.items():
    for _px in SIZES_PX:
        entry(f"{_family}_patch16_{_px}", _size, _spec)
