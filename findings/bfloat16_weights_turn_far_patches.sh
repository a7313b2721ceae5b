#!/usr/bin/env bash
# With its weights in bfloat16 timm's mixed rotary embedding turns far patches by other angles, the more the larger the
# image. The axial ones stay exact, and autocast changes none.
#
# Guess before it was run: angles are computed in float32 from weights that are rounded to a relative 1/256 or less, as
#   all others are; so the sines and cosines are off by that, at any size.
# Seen (torch 2.15.0, torchvision 0.29.2, timm 1.0.31): model.bfloat16() leaves the fixed frequencies of RoPE axial and
#   the periods of DINOv3, which are buffers, in float32. RoPE-Mixed learns its frequencies, so they are weights and are
#   rounded. An angle is a frequency times a place, so its error grows with the place. In a new ViT-B the sines
#   and cosines are off by up to 0.05 on 14x14 patches, 0.11 on 32x32 and 0.23 on 64x64.
#   Under bfloat16 autocast, with weights in float32, all are exact.
# What it costs: a comparison of rotary embeddings at high resolution with bfloat16 weights punishes the learned one.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 timm==1.0.31
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import copy
import sys
import warnings

warnings.simplefilter("ignore")
import timm
import torch

SIDES = (14, 32, 64)


def off(name):
    """By side of the grid: the largest error of a sine or cosine with bfloat16 weights, and that under autocast."""
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=0, dynamic_img_size=True).rope
    half, found = copy.deepcopy(whole).bfloat16(), []
    for side in SIDES:
        with torch.no_grad():
            exact, rounded = whole.get_embed((side, side)), half.get_embed((side, side))
            with torch.autocast("cpu", torch.bfloat16):
                cast = whole.get_embed((side, side))
        found.append((float((exact - rounded.float()).abs().max()), float((exact - cast.float()).abs().max())))
    return half, found


same = True
for name in ("vit_base_patch16_rope_224", "vit_small_patch16_dinov3", "vit_base_patch16_rope_mixed_224"):
    half, found = off(name)
    kinds = {str(one.dtype).removeprefix("torch.") for one in (*half.parameters(), *half.buffers())}
    print(f"{name}: {', '.join(sorted(kinds))} after .bfloat16(); off by "
          + ", ".join(f"{error:.3f} on {side}x{side}" for side, (error, _) in zip(SIDES, found))
          + f"; under autocast by {max(cast for _, cast in found):.3f}")
    errors = [error for error, _ in found]
    mixed = "mixed" in name
    same &= max(cast for _, cast in found) == 0 and kinds == ({"bfloat16"} if mixed else {"float32"})
    same &= 0.03 < errors[0] < 0.07 and errors[1] > 0.08 and errors[2] > 0.16 if mixed else max(errors) == 0
print("still so" if same else "this has changed")
sys.exit(0 if same else 1)
PYTHON
