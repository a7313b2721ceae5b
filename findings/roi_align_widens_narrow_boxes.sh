#!/usr/bin/env bash
# torchvision's roi_align with aligned=False is not aligned=True less half a cell: it makes narrow boxes one cell wide.
#
# Guess before it was run: the documentation names a shift by half a cell and nothing else. So code that shifts its boxes
#   itself and calls the older form, as ReLabel's and LV-ViT's readers of label maps do, gets the same numbers.
# Seen (torchvision 0.29.2, torch 2.15.0): it does for boxes of a cell and more. A box of half a cell is read as if it
#   were one cell wide, and one of a quarter too. Nothing says so.
# What it costs: labels of a small crop on a coarse map are those of a larger part of the picture.
# What helps: aligned=True, and boxes as they are.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2
cd "$place"
cat > boxes.py <<'PYTHON'
import sys

import torch
from torchvision.ops import roi_align

ramp = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16).contiguous()  # each column has its own number
same = {}
for width in (4.0, 1.0, 0.5, 0.25):
    box = torch.tensor([[0.0, 6.0, 6.0, 6.0 + width, 6.0 + width]])
    shifted = box - torch.tensor([0.0, 0.5, 0.5, 0.5, 0.5])
    new = roi_align(ramp, box, (1, 2), aligned=True).flatten().tolist()
    old = roi_align(ramp, shifted, (1, 2), aligned=False).flatten().tolist()
    same[width] = new == old
    print(f"a box {width} cells wide: aligned {new}, shifted by hand {old}")
sys.exit(0 if same == {4.0: True, 1.0: True, 0.5: False, 0.25: False} else 1)
PYTHON
"$place/env/bin/python" boxes.py
