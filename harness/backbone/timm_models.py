"""The model families under names that timm does not own: import this module, then ask timm.

    import timm, harness.models
    model = timm.create_model("sp_vit_small_patch16_224")
    model = timm.create_model("spatial_vit_small_patch16_224", variant="swin+rpe_2d[mode=bias]", num_classes=100)

No weights are hosted; `harness.backbone.weights.load` reads the authors'. `convit_*` is timm's own, with the same
numbers.
"""

from __future__ import annotations

from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import register_model

from harness.backbone.vit import ViT, create

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


def entry(name: str, size: str, spec: str, px: int) -> None:
    """Registers one model with timm; its arguments are timm's, and `variant` any spec."""

    def build(
        pretrained: bool = False,
        *,
        variant: str = spec,
        img_size: int | tuple[int, int] | None = None,
        patch_size: int = 16,
        in_chans: int = 3,
        num_classes: int = 1000,
        drop_path_rate: float = 0.0,
        pretrained_cfg: Any = None,  # this and the next two are of timm's hub, which has nothing of ours
        pretrained_cfg_overlay: Any = None,
        cache_dir: Any = None,
        **factors: Any,
    ) -> ViT:
        if pretrained:
            raise ValueError(f"{name} has no hosted weights; create it with pretrained=False and load a file with "
                             f"harness.backbone.weights.load")  # fmt: skip
        model = create(
            variant, size=size, img_size=img_size or px, patch_size=patch_size, in_chans=in_chans,
            num_classes=num_classes, drop_path=drop_path_rate, **factors,
        )  # fmt: skip
        side = (img_size, img_size) if isinstance(img_size, int) else img_size or (px, px)
        described: Any = {
            "architecture": name, "num_classes": num_classes, "input_size": (in_chans, *side), "pool_size": None,
            "crop_pct": 0.9, "interpolation": "bicubic", "mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD,
            "first_conv": "patch_embed.conv1" if model.size.stem_width else "patch_embed.proj", "classifier": "head",
        }  # fmt: skip
        model.pretrained_cfg = model.default_cfg = described
        return model

    build.__name__ = name
    build.__module__ = __name__
    register_model(build)


for _family, (_size, _spec) in FAMILIES.items():
    for _px in (224, 384):
        entry(f"{_family}_patch16_{_px}", _size, _spec, _px)
