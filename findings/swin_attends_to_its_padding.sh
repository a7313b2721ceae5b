#!/usr/bin/env bash
# Swin attends to the padding of its windows, in torchvision and in timm; in shifted layers the two differ in how much.
#
# Guess before it was run: a feature map that windows do not divide is padded, and the padding is masked, as the patches
#   are that a shift brings together.
# Seen (torch 2.15.0, torchvision 0.29.2, timm 1.0.31), at 320 px, where the four stages have 80, 40, 20 and 10 patches a
#   side and windows of 7: with equal scores some patch of each stage gives 82, 49, 27 and 82 % of its attention to
#   padding (in the last corner a window has 9 patches and 40 of padding). In layers whose windows are shifted by 3 it is
#   0, 75, 44 and 0 % in torchvision, and 44, 89, 56 and 44 % in timm: there the libraries differ, with the same weights.
#   At 224 px nothing is padded, so training does not see it.
# What helps: sizes that the windows divide in all stages (multiples of 224 px here), or a window that divides the stages.
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
import torchvision
from timm.models.swin_transformer import SwinTransformerBlock
from torchvision.models.swin_transformer import ShiftedWindowAttention

WIDTH, HEADS, WINDOW, STAGES = 32, 4, 7, (80, 40, 20, 10)


def plain(attention):
    """Equal scores, and values that are the tokens themselves."""
    for parameter in attention.parameters():
        parameter.zero_()
    attention.qkv.weight[2 * WIDTH :].copy_(torch.eye(WIDTH))
    attention.proj.weight.copy_(torch.eye(WIDTH))


def of_torchvision(side, shift):
    attention = ShiftedWindowAttention(WIDTH, [WINDOW, WINDOW], [shift, shift], HEADS).eval()
    plain(attention)
    return attention


def of_timm(side, shift):
    block = SwinTransformerBlock(WIDTH, (side, side), HEADS, window_size=WINDOW, shift_size=shift).eval()
    plain(block.attn)
    return block._attn


def on_padding(attention, side):
    """The share of a patch's attention on padding: real patches are 1, padding is 0, and a mean of values is left."""
    return 100 * (1 - attention(torch.ones(1, side, side, WIDTH))[0, :, :, 0].min().item())


found = {}
with torch.no_grad():
    for make in (of_torchvision, of_timm):
        for shift in (0, WINDOW // 2):
            shares = [on_padding(make(side, shift), side) for side in STAGES]
            found[make.__name__, shift] = [round(share) for share in shares]
            print(f"{make.__name__:15} shift {shift}:", " ".join(f"{share:5.1f} %" for share in shares))
    at_224 = [
        on_padding(make(side, shift), side)
        for make in (of_torchvision, of_timm) for shift in (0, WINDOW // 2) for side in (56, 28, 14, 7)
    ]
print("torchvision", torchvision.__version__, "timm", timm.__version__, "at 224 px", [round(one) for one in at_224])
seen = {
    ("of_torchvision", 0): [82, 49, 27, 82],
    ("of_timm", 0): [82, 49, 27, 82],
    ("of_torchvision", 3): [0, 75, 44, 0],
    ("of_timm", 3): [44, 89, 56, 44],
}
sys.exit(not (found == seen and max(at_224) < 0.01))
PYTHON
