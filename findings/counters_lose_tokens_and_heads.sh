#!/usr/bin/env bash
# Two counters of multiply-adds leave out factors of a transformer's products: torchinfo the tokens, torchprofile the heads.
#
# Guess before it was run: both multiply by every axis of the result, since both see the tensors' shapes.
# Seen (torch 2.15.0, torchinfo 1.8.0, torchprofile 0.1.0):
#   torchinfo: a Linear of 64 x 32 on [2, 197, 64] is 4,096 multiply-adds, as on [2, 64]. It is 2 * 197 * 64 * 32 =
#     806,912. So a ViT-S of 197 tokens seems 58 times cheaper than it is.
#   torchprofile: einsum("bhid,hjd->bhij") on [1, 6, 5, 8] and [6, 7, 8] is 1,680. With [1, 7, 8], which broadcasts over
#     the heads to the same result by as many products, it is 280: of a letter with two sizes it takes the 1.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 torchinfo==1.8.0 torchprofile==0.1.0
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import sys

import torch
import torchinfo
from torch import nn
from torchprofile import profile_macs


class Products(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.keys = nn.Parameter(torch.randn(heads, 7, 8))

    def forward(self, q):
        return torch.einsum("bhid,hjd->bhij", q, self.keys)


linear = nn.Linear(64, 32, bias=False)
told = [torchinfo.summary(linear, input_size=shape, verbose=0).total_mult_adds for shape in ((2, 64), (2, 197, 64))]
print("torchinfo, [2, 64] and [2, 197, 64]:", told, "right:", [2 * 64 * 32, 2 * 197 * 64 * 32])
q = torch.randn(1, 6, 5, 8)
assert Products(1)(q).shape == Products(6)(q).shape
counted = [profile_macs(Products(heads), q) for heads in (6, 1)]
print("torchprofile, 6 heads and 1 head of keys:", counted, "right:", [6 * 5 * 7 * 8] * 2)
sys.exit(0 if told == [4096, 4096] and counted == [1680, 280] else 1)
PYTHON
