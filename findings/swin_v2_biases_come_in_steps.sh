#!/usr/bin/env bash
# Under bfloat16 autocast the position bias of Swin V2 comes in steps of 1/16 from 8 up.
#
# Guess before it was run: the bias is computed in float32, since the offsets are a float32 buffer, the scores are float32
#   where they meet it, and the softmax runs in float32.
# Seen (torch 2.15.0, torchvision 0.29.2, timm 1.0.31): the bias is 16 times the sigmoid of a small network of the offset.
#   Autocast takes the network's layers in bfloat16, and the sigmoid and the factor 16 stay in it. Between 8 and 16
#   bfloat16 has steps of 1/16, below 8 finer ones, and a new network gives biases around 8. A window of 8x8 has 225 offsets.
#   In float32 each has a bias of its own. Under autocast the three heads of a new layer have 24 to 98 different ones in
#   timm, 24 to 64 in torchvision. The largest error is 0.04, which is 4 % of a weight.
#   timm adds these rounded numbers to scores in float32, so nothing rounds them again: what softmax gets, where queries
#   are 0, has as few different values.
# What it costs: what a trained bias tells apart depends on the precision of the run. Swin V1, whose bias is a table of
#   parameters, keeps all 225 where it is added to float32.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 timm==1.0.31
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import sys
import warnings

import torch

warnings.simplefilter("ignore")
from timm.models.swin_transformer import WindowAttention as First
from timm.models.swin_transformer_v2 import WindowAttention
from torchvision.models.swin_transformer import ShiftedWindowAttentionV2

HEADS, WINDOW, OFFSETS = 3, 8, 225


def different(pairs):
    """How many values a head has, by head: of biases [heads, N, N] by pair."""
    return [len(head.unique()) for head in pairs.view(HEADS, -1)]


def precise_and_autocast(bias):
    with torch.no_grad():
        exact = bias()
        with torch.autocast("cpu", torch.bfloat16):
            return exact, bias().float()


torch.manual_seed(0)
timms = WindowAttention(96, (WINDOW, WINDOW), HEADS).eval()
torchvisions = ShiftedWindowAttentionV2(96, [WINDOW, WINDOW], [0, 0], HEADS).eval()
first = First(96, HEADS, window_size=(WINDOW, WINDOW)).eval()
with torch.no_grad():
    timms.qkv.weight.zero_()
    timms.q_bias.zero_()
met = []
timms.softmax.register_forward_pre_hook(lambda module, given: met.append(given[0]))


def of_timm():
    """What softmax gets where the scores are 0."""
    timms(torch.randn(1, WINDOW * WINDOW, 96))
    assert met[-1].dtype == torch.float32
    return met[-1][0]


found = {}
for name, bias in (("timm", of_timm), ("torchvision", lambda: torchvisions.get_relative_position_bias()[0]),
                   ("Swin V1 of timm", lambda: first._get_rel_pos_bias()[0])):
    exact, rounded = precise_and_autocast(bias)
    large = 16 * rounded[rounded >= 8]
    found[name] = (different(exact), different(rounded), float((exact - rounded).abs().max()),
                   bool((large == large.round()).all()) and len(large) > 0)
    print(f"{name}: {found[name][0]} biases of {OFFSETS} offsets in float32, {found[name][1]} under autocast, "
          f"largest error {found[name][2]:.3f}; from {float(exact.min()):.1f} to {float(exact.max()):.1f}")
same = all(
    found[name][0] == [OFFSETS] * HEADS and max(found[name][1]) < OFFSETS / 2 and found[name][2] > 0.03 and found[name][3]
    for name in ("timm", "torchvision")
) and found["Swin V1 of timm"][0] == found["Swin V1 of timm"][1] == [OFFSETS] * HEADS  # fmt: skip
print("still so" if same else "this has changed")
sys.exit(0 if same else 1)
PYTHON
