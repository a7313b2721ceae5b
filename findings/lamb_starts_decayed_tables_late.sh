#!/usr/bin/env bash
# LAMB, which DeiT-III's recipe takes, hardly moves tables that start at 0 for hundreds of steps, unless they are spared
# from weight decay.
#
# Guess before it was run: whether a table of relative positions is decayed changes its way by a few per cent, as with
#   AdamW.
# Seen (timm 1.0.31, lr 5e-3, weight decay 0.05, the same gradient at each step): timm's LAMB multiplies the step of what
#   is decayed by the tensor's norm over its update's norm, and leaves the step of what is spared as it is. A tensor of
#   zeros has no such ratio, so its first step is a whole one, to 0.005. From then on each step is 0.5 % of where the
#   tensor is: after 100 steps it is at 0.008, where one that is spared is at 0.5. It grows like an exponential, so after
#   1,000 steps it is at 0.7 against 5, and after 2,000 it is further out than the other. SAM's rel_pos_h and rel_pos_w
#   start at 0 and timm decays them; Swin's, BEiT's and MViTv2's tables are spared. With AdamW they are at 0.49 and 0.50 after 100 steps.
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

STEPS = (100, 1000, 2000)


def ends(opt, spare):
    """The root mean square of SAM's first table of rows after each of STEPS with one gradient."""
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
    found = []
    for step in range(1, STEPS[-1] + 1):
        for name, table in tables.items():
            table.grad = gradients[name].clone()
        optimizer.step()
        if step in STEPS:
            found.append(next(iter(tables.values())).detach().square().mean().sqrt().item())
    return found


found = {(opt, spare): ends(opt, spare) for opt in ("lamb", "adamw") for spare in (False, True)}
for (opt, spare), end in found.items():
    print(f"{opt}, {'spared from' if spare else 'with'} weight decay, after {STEPS}: {[round(one, 4) for one in end]}")
early, later, last = (b / a for a, b in zip(found["lamb", False], found["lamb", True], strict=True))
alike = found["adamw", True][0] < 1.05 * found["adamw", False][0]
sys.exit(0 if early > 50 and 3 < later < 15 and last < 1 and alike else 1)
PYTHON
