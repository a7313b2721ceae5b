#!/usr/bin/env bash
# Two counters lose the attention of torchvision's ViT where gradients are off: FlopCounterMode and fvcore.
#
# Guess before it was run: a forward has the same products with gradients and without.
# Seen (torch 2.15.0, torchvision 0.29.2, fvcore 0.1.5.post20221221): torchvision's ViT is made of
#   nn.MultiheadAttention.
#   In eval mode under torch.no_grad, that module calls one operator on a CPU, aten::_native_multi_head_attention.
#   Neither counter knows it, and each takes it for 0: projections of q, k and v, both products of the map, and the
#   output's.
#   FlopCounterMode: ViT-B/16 of 224 px is 17.56 G multiply-adds with gradients, which torchvision documents, and 11.27
#     G without. On the meta device it is 17.56 G without gradients too. It gives no warning, and its table has no such
#     row.
#   fvcore: 16.87 G with gradients, as it has no rule for the map's products, and 11.29 G without. It names the operator
#     in a warning. It traces with the gradients' mode of its caller, so the mode chooses the number here, too.
# What it costs: beside a ViT of timm, whose attention is counted, torchvision's seems a third cheaper.
# What helps: torch.backends.mha.set_fastpath_enabled(False), or the meta device.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 fvcore==0.1.5.post20221221
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import logging
import sys

import torch
from fvcore.nn import FlopCountAnalysis
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import ViT_B_16_Weights, vit_b_16

logging.disable(logging.WARNING)


def counted(model, images):
    with FlopCounterMode(display=False) as counter:
        model(images)
    return counter.get_total_flops() / 2e9


def by_fvcore(model, images):
    return FlopCountAnalysis(model, images).unsupported_ops_warnings(False).total() / 1e9


model, images = vit_b_16().eval(), torch.zeros(1, 3, 224, 224)
documented = ViT_B_16_Weights.IMAGENET1K_V1.meta["_ops"]
torch_with, fvcore_with = counted(model, images), by_fvcore(model, images)
with torch.no_grad():
    torch_without, fvcore_without = counted(model, images), by_fvcore(model, images)
    torch.backends.mha.set_fastpath_enabled(False)
    slow = counted(model, images)
    torch.backends.mha.set_fastpath_enabled(True)
    on_meta = counted(model.to("meta"), images.to("meta"))
print(f"torchvision documents {documented:.2f} G multiply-adds")
print(f"FlopCounterMode: {torch_with:.2f} with gradients, {torch_without:.2f} without")
print(f"FlopCounterMode without gradients: {slow:.2f} without the fast path, {on_meta:.2f} on the meta device")
print(f"fvcore: {fvcore_with:.2f} with gradients, {fvcore_without:.2f} without")
right = all(abs(g - documented) < 0.05 for g in (torch_with, slow, on_meta))
sys.exit(0 if right and torch_without < 12 and fvcore_without < 12 < fvcore_with else 1)
PYTHON
