#!/usr/bin/env bash
# antialias=True changes a bicubic enlargement, so one ViT has another position embedding in each of three libraries.
#
# Guess before it was run: antialias=True is a low-pass filter before an image is made smaller. What is enlarged is the
#   same with it and without, as it is for bilinear. So timm (with it) and transformers (without) enlarge alike.
# Seen (torch 2.15.0, torchvision 0.29.2, timm 1.0.31, transformers 5.24.0): with antialias=True torch takes another
#   cubic kernel, that of Pillow (a = -0.5), than without (a = -0.75, that of OpenCV), at any size. At the border it
#   leaves out what lies outside, where the other repeats the edge. Its documentation speaks of Pillow for downsampling
#   alone.
#   Enlarging a smooth embedding of 14 x 14 to 24 x 24, timm and transformers differ by about 3 % of its norm.
#   torchvision's interpolate_embeddings has align_corners=True, and differs from both by more than 10 %.
# What it costs: accuracy at another resolution without fine-tuning is compared between libraries, and between papers.
#   The same weights and the same images give other logits, though they are the same at the training size.
# What helps: name the resampling beside the number, and resample all models by one function.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 timm==1.0.31 transformers==5.24.0
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import sys

import torch
from timm.layers import resample_abs_pos_embed
from torch.nn.functional import avg_pool2d, interpolate
from torchvision.models.vision_transformer import interpolate_embeddings
from transformers import ViTConfig, ViTModel

torch.manual_seed(0)


def apart(a, b):
    return float((a - b).norm() / b.norm())


step = torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1]).view(1, 1, 1, 8).expand(1, 1, 8, 8)
for mode in ("bilinear", "bicubic"):
    two = [interpolate(step, size=(8, 16), mode=mode, antialias=flag)[0, 0, 0, 5:11] for flag in (False, True)]
    print(f"{mode}, an edge enlarged by 2:", *([round(v, 3) for v in one.tolist()] for one in two))

smooth = avg_pool2d(torch.randn(1, 32, 18, 18), 5, 1).flatten(2).mT
learned = torch.cat([torch.zeros(1, 1, 32), smooth], dim=1)
model = ViTModel(ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64))
model.embeddings.position_embeddings.data = learned
found = {}
for pixels in (224, 256, 384, 448):
    n = pixels // 16
    timms = resample_abs_pos_embed(learned, [n, n], num_prefix_tokens=1)
    theirs = model.embeddings.interpolate_pos_encoding(torch.zeros(1, n * n + 1, 32), pixels, pixels).detach()
    visions = interpolate_embeddings(pixels, 16, {"encoder.pos_embedding": learned.clone()})["encoder.pos_embedding"]
    found[pixels] = apart(theirs, timms), apart(visions, timms), apart(visions, theirs)
    print(f"{pixels} px: transformers to timm {found[pixels][0]:.3f}, torchvision to timm {found[pixels][1]:.3f},",
          f"torchvision to transformers {found[pixels][2]:.3f}")
table = smooth.mT.unflatten(2, (14, 14))
linear, cubic = (
    apart(*(interpolate(table, size=(24, 24), mode=mode, antialias=flag) for flag in (True, False)))
    for mode in ("bilinear", "bicubic")
)
print(f"14 x 14 to 24 x 24 with antialias and without: bilinear {linear:.0e}, bicubic {cubic:.3f}")
sys.exit(0 if max(found[224]) == 0 and linear < 1e-5 and min(cubic, *found[384]) > 0.02 else 1)
PYTHON
