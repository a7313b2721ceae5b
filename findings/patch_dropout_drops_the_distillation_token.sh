#!/usr/bin/env bash
# Patch dropout in timm's distilled DeiT drops the distillation token, and its head reads a patch instead.
#
# Guess before it was run: patch_drop_rate drops patches and keeps every prefix token, class and distillation alike.
# Seen (timm 1.0.31): deit_*_distilled_* has two prefix tokens, and its PatchDropout knows of one: it is made by the
#   constructor of the plain ViT, before the distilled one counts its second token. At a rate of 0.5 the distillation
#   token is left in 96 of 200 images. What is left stands in a random order, so the token is at its place, where the
#   distillation head reads, in 6 of 200 (64 patches); in the others the head is taught by a random patch. The plain
#   ViT and one with four register tokens keep all of theirs. model.patch_drop.num_prefix_tokens = 2 mends it.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 timm==1.0.31
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import sys

import timm
import torch

BATCHES, IMAGES = 10, 20


def survivors(model):
    """How often the last prefix token is left after patch dropout, and how often at its place."""
    at = model.num_prefix_tokens - 1
    left = in_place = 0

    def look(_, given, found):
        nonlocal left, in_place
        same = (found == given[0][:, at : at + 1]).all(-1)  # [images, tokens that are left]
        left += int(same.any(1).sum())
        in_place += int(same[:, at].sum())

    model.patch_drop.register_forward_hook(look)
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(BATCHES):
            model(torch.randn(IMAGES, 3, 32, 32))
    return left, in_place


shape = {"img_size": 32, "patch_size": 4, "depth": 1, "patch_drop_rate": 0.5}
found = {}
for name in ("deit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "deit_tiny_distilled_patch16_224"):
    model = timm.create_model(name, **shape).train()
    found[name] = survivors(model)
    print(f"{name}: {model.num_prefix_tokens} prefix tokens, patch dropout knows of "
          f"{model.patch_drop.num_prefix_tokens}; of {BATCHES * IMAGES} the last one is left in "
          f"{found[name][0]}, at its place in {found[name][1]}")
mended = timm.create_model("deit_tiny_distilled_patch16_224", **shape).train()
mended.patch_drop.num_prefix_tokens = 2
found["mended"] = survivors(mended)
print("told of both:", *found["mended"])
*plain, distilled, told = found.values()
whole = BATCHES * IMAGES
sys.exit(0 if all(one == (whole, whole) for one in (*plain, told)) and distilled[0] < 0.7 * whole and distilled[1] < 0.1 * whole else 1)
PYTHON
