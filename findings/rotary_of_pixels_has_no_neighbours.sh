#!/usr/bin/env bash
# timm's rotary position embedding, as its layer is by default, finds patches ten apart more alike than neighbours.
#
# Guess before it was run: a score of two like patches falls with their distance, as rotary embeddings are known for, or
#   falls and then swings.
# Seen (torch 2.15.0, timm 1.0.31): by default in_pixels is True. Then a side of the grid goes from -1 to 1 and the
#   frequencies up to 112 half turns (max_res=224). On 14x14 patches a step turns the fastest pair more than eight times
#   around, so frequencies alias. All offsets across but 0 have a score between 0.35 and 0.61 of that of a patch with
#   itself. The neighbour has 0.44, which is less than what ten of the twelve further ones have; the largest, 0.61, is
#   that of offset 10. Half of a score is the other axis, which does not move.
#   With in_pixels=False, which timm's EVA-02 has, the neighbour has 0.98, more than any further patch.
#   On the grid that max_res names, 224 a side, the neighbour has 0.80 by default, more than any further patch.
# What it costs: "RoPE" in a comparison, taken from timm's layers by their defaults, knows no nearness of patches.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 timm==1.0.31
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import inspect
import sys
import warnings

warnings.simplefilter("ignore")
import timm
import torch
from timm.layers import RotaryEmbeddingCat, apply_rot_embed_cat

WIDTH = 64


def scores(side, **settings):
    """Of a patch in a corner with a like patch, by the offset across, over its score with itself.

    For a vector of ones this is the mean cosine of all turns, and so the mean over all directions of a vector.
    """
    across = RotaryEmbeddingCat(WIDTH, feat_shape=(side, side), **settings).get_embed((side, side))[:side]
    turned = apply_rot_embed_cat(torch.ones(1, 1, side, WIDTH), across)[0, 0]
    return (turned @ turned[0] / WIDTH).tolist()


default = inspect.signature(RotaryEmbeddingCat.__init__).parameters["in_pixels"].default
patches, models, fine = scores(14), scores(14, in_pixels=False), scores(224)
model = timm.create_model("eva02_tiny_patch14_224", num_classes=0).rope.in_pixels
print(f"in_pixels is {default} by default, {model} in EVA-02")
for name, found in (("default, 14 patches", patches), ("in_pixels=False, 14 patches", models)):
    print(f"{name}: {[round(x, 2) for x in found]}")
print(f"default, 224 a side: {[round(x, 2) for x in fine[:6]]} ..")
same = (
    default is True and model is False
    and patches.index(max(patches[1:])) == 10
    and max(patches[1:]) > patches[1] + 0.1
    and sum(x > patches[1] for x in patches[2:]) == 10
    and 0.3 < min(patches) and max(patches[1:]) < 0.65
    and models[1] > 0.95 and models[1] == max(models[1:])
    and 0.78 < fine[1] < 0.82 and fine[1] == max(fine[1:])
)  # fmt: skip
print("still so" if same else "this has changed")
sys.exit(0 if same else 1)
PYTHON
