#!/usr/bin/env bash
# With timm's Muon, the number of heads of a stage decides which optimizer trains its relative position biases.
#
# Guess before it was run: all tables of a Swin are trained by one optimizer, and it is AdamW, since its no_weight_decay()
#   names them.
# Seen (timm 1.0.31): `--opt muon` trains by Muon whatever has two sides of at least 4 numbers. A table of Swin has 169
#   offsets by heads, so with the 3 heads of the first stage it is trained by AdamW, and with 6, 12 and 24 heads by Muon,
#   which orthogonalises it across heads as if it were a weight matrix. After ten steps with the same gradients the first
#   stage's table has moved by 0.73 of the learning rate a step, the others by 0.16: 4.6 times less. So a ViT of 3 heads
#   with such tables and one of 6 differ in more than their size. no_weight_decay() alone does not matter;
#   fallback_no_weight_decay=True trains all tables by AdamW, at one rate.
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

LR, STEPS = 1e-3, 10


def moved(**how):
    """By heads: how far the entries of Swin's tables move in a step of Muon, in learning rates (root mean square)."""
    model = timm.create_model("swin_tiny_patch4_window7_224")
    optimizer = create_optimizer_v2(model, opt="muon", lr=LR, weight_decay=0.05, **how)
    tables = {name: one for name, one in model.named_parameters() if "relative_position_bias_table" in name}
    assert set(tables) <= model.no_weight_decay()
    start = {name: table.detach().clone() for name, table in tables.items()}
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        for table in tables.values():
            table.grad = 1e-3 * (1 + torch.randn(table.shape, generator=generator))
        optimizer.step()
    found = {}
    for name, table in tables.items():
        distance = (table.detach() - start[name]).square().mean().sqrt().item()
        found.setdefault(table.shape[1], []).append(distance / LR / STEPS)
    return {heads: round(sum(every) / len(every), 2) for heads, every in found.items()}


default, mended = moved(), moved(fallback_no_weight_decay=True)
print("learning rates a step, by heads:", default)
print("with fallback_no_weight_decay:  ", mended)
split = default[3] > 4 * max(default[heads] for heads in (6, 12, 24))
sys.exit(0 if split and max(mended.values()) < 1.1 * min(mended.values()) else 1)
PYTHON
