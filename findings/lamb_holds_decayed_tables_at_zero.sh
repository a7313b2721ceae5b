#!/usr/bin/env bash
# LAMB, which DeiT-III's recipe takes, hardly moves tables that start at 0, unless they are spared from weight decay.
#
# Guess before it was run: whether a table of relative positions is decayed changes its way by a few per cent, as with
#   AdamW.
# Seen (timm 1.0.31, lr 5e-3, weight decay 0.05, the same gradient 100 times): timm's LAMB multiplies the step of what is
#   decayed by the tensor's norm over its update's norm, and leaves the step of what is spared as it is. A tensor of
#   zeros has no such ratio, so its first step is a whole one, to 0.005. From then on each step is 0.5 % of where the
#   tensor is: after 100 steps it is at 0.008. Spared from decay it is at 0.5, sixty times further. SAM's and ViTDet's
#   rel_pos_h and rel_pos_w start at 0 and timm decays them; Swin's, BEiT's and MViTv2's tables are spared. With AdamW
#   both ways end at 0.49 and 0.50. A comparison of position terms under LAMB compares who is spared.
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
from timm.optim import create_optimizer_v2

STEPS = 100


def ends(opt, spare):
    """The root mean square of SAM's first table of rows after STEPS steps with one gradient."""
    model = timm.create_model("samvit_base_patch16", depth=1, img_size=256, embed_dim=128, num_heads=2)
    tables = {name: one for name, one in model.named_parameters() if "rel_pos" in name}
    assert all(not table.any() for table in tables.values())
    assert not set(tables) & set(model.no_weight_decay())
    if spare:
        listed = {*model.no_weight_decay(), *tables}
        model.no_weight_decay = lambda: listed
    optimizer = create_optimizer_v2(model, opt=opt, lr=5e-3, weight_decay=0.05)
    generator = torch.Generator().manual_seed(1)
    gradients = {name: torch.randn(table.shape, generator=generator) for name, table in tables.items()}
    for _ in range(STEPS):
        for name, table in tables.items():
            table.grad = gradients[name].clone()
        optimizer.step()
    return next(iter(tables.values())).detach().square().mean().sqrt().item()


found = {(opt, spare): ends(opt, spare) for opt in ("lamb", "adamw") for spare in (False, True)}
for (opt, spare), end in found.items():
    print(f"{opt}, {'spared from' if spare else 'with'} weight decay: {end:.4f}")
held = found["lamb", True] > 50 * found["lamb", False]
sys.exit(0 if held and found["adamw", True] < 1.05 * found["adamw", False] else 1)
PYTHON
