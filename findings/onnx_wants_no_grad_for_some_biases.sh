#!/usr/bin/env bash
# Some ViTs with learned position biases, BEiT among them, do not export to ONNX while gradients are on.
#
# Guess before it was run: the exported graph has no gradients, so it is the same whether gradients are on or not.
# Seen (torch 2.15.0, torchvision 0.29.2, timm 1.0.31, onnx 1.23.0, onnxscript 0.7.2): torch.onnx.export of timm's BEiT and
#   of its ViT with relative position biases, in eval mode, ends with "Cannot view a tensor with shape ...", at the line
#   that merges the heads after fused attention. Under torch.no_grad(), or with the parameters frozen, both export. It
#   depends on how the mask is made: one that is computed from a table and has four dimensions fails; the parameter itself
#   as the mask, and a mask of three dimensions, do not. Swin exports, too.
# What helps: with torch.no_grad(), or model.requires_grad_(False).
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 timm==1.0.31 onnx==1.23.0 onnxscript==0.7.2
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import sys
import warnings

import timm
import torch
import torch.nn.functional as F

warnings.filterwarnings("ignore")
TOKENS, HEADS, WIDTH = 16, 4, 8


class Attention(torch.nn.Module):
    """Fused attention with a bias that is made in one of three ways."""

    def __init__(self, made):
        super().__init__()
        self.made = made
        self.qkv = torch.nn.Linear(HEADS * WIDTH, 3 * HEADS * WIDTH)
        self.whole = torch.nn.Parameter(torch.zeros(1, HEADS, TOKENS, TOKENS))
        self.table = torch.nn.Parameter(torch.zeros(49, HEADS))
        self.register_buffer("index", torch.randint(49, (TOKENS, TOKENS)))

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(2, (3, HEADS, WIDTH)).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.whole if self.made == "a parameter" else self.table[self.index].permute(2, 0, 1)
        if self.made == "a table, 4-D":
            bias = bias[None]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)


def exports(model, x):
    try:
        torch.onnx.export(model, (x,), dynamo=True, verbose=False)
    except Exception as error:
        assert "Cannot view a tensor with shape" in str(error), error
        return False
    return True


image, tokens = torch.randn(1, 3, 224, 224), torch.randn(2, TOKENS, HEADS * WIDTH)
timm.layers.set_fused_attn(True)
models = {made: (Attention(made), tokens) for made in ("a parameter", "a table, 3-D", "a table, 4-D")}
for name in ("beit_base_patch16_224", "vit_relpos_small_patch16_224"):
    models[name] = timm.create_model(name, depth=2), image
models["swin_tiny_patch4_window7_224"] = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1)), image
found = {}
for name, (model, x) in models.items():
    model.eval()
    with_gradients = exports(model, x)
    with torch.no_grad():
        without = exports(model, x)
    frozen = exports(model.requires_grad_(False), x)
    found[name] = with_gradients, without, frozen
    print(f"{name:30} gradients on: {with_gradients}, under no_grad: {without}, frozen: {frozen}")
fails, works = (False, True, True), (True, True, True)
expected = {name: fails if name in ("a table, 4-D", "beit_base_patch16_224", "vit_relpos_small_patch16_224") else works
            for name in models}
print("timm", timm.__version__, "torch", torch.__version__)
sys.exit(found != expected)
PYTHON
