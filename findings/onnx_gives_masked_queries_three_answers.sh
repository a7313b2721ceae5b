#!/usr/bin/env bash
# A query whose keys are all masked: 0 in torch, after ONNX export the mean of all values, NaN, or 0, by opset and mask.
#
# Guess before it was run: torch's fused attention gives 0 for a query without keys (padding of windows or of images), and
#   the exported model does as well.
# Seen (torch 2.15.0, onnx 1.23.0, onnxscript 0.7.2, onnxruntime 1.32.0): with opset 20, the default, and with 22, a
#   boolean mask ends in the mean of all values, masked ones too. The graph replaces NaN by 0, but a masked score is the
#   smallest float32 there and not -inf, so there is no NaN. The same mask as 0 and -inf ends in NaN. With opset 23, where
#   the graph is one operator Attention, both give 0. Another layer makes more of the NaN: padding is masked as a key, and
#   0 * NaN is NaN, so after two layers every token is NaN, where torch has finite numbers throughout.
# What helps: opset_version=23.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 onnx==1.23.0 onnxscript==0.7.2 onnxruntime==1.32.0
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import sys
import warnings

import onnx
import onnxruntime
import torch
import torch.nn.functional as F

warnings.filterwarnings("ignore")
TOKENS, LAST = 8, 6  # tokens from LAST on are padding: no query sees them, and they see nothing
real = torch.arange(TOKENS) < LAST
MASK = (real[:, None] & real[None, :])[None, None]


class Attention(torch.nn.Module):
    def __init__(self, added, layers):
        super().__init__()
        self.added, self.layers = added, layers

    def forward(self, x, mask):
        if self.added:
            mask = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
        for _ in range(self.layers):
            x = F.scaled_dot_product_attention(x, x, x, attn_mask=mask)
        return x


def exported(module, x, opset):
    torch.onnx.export(module, (x, MASK), dynamo=True, verbose=False, opset_version=opset).save("attention.onnx")
    session = onnxruntime.InferenceSession("attention.onnx", providers=["CPUExecutionProvider"])
    given = dict(zip((one.name for one in session.get_inputs()), (x.numpy(), MASK.numpy())))
    return torch.from_numpy(session.run(None, given)[0]), onnx.load("attention.onnx").opset_import[0].version


torch.manual_seed(0)
x = torch.randn(1, 2, TOKENS, 16)
mean = x.mean(2)
found = {}
for added in (False, True):
    for opset in (None, 22, 23):
        module = Attention(added, 1)
        out, version = exported(module, x, opset)
        torch.testing.assert_close(out[:, :, :LAST], module(x, MASK)[:, :, :LAST])
        assert not module(x, MASK)[:, :, LAST:].any()
        assert version == (opset or 20)
        padding = out[:, :, -1]
        found[added, opset] = ("0" if not padding.any() else "NaN" if padding.isnan().all()
                               else "mean" if torch.allclose(padding, mean, atol=1e-5) else "other")
        print(f"{'0 and -inf' if added else 'boolean'} mask, opset {version}: padding is {found[added, opset]}, torch 0")
twice = Attention(True, 2)
lost = exported(twice, x, None)[0].isnan().all().item() and twice(x, MASK).isfinite().all().item()
print("after two layers all tokens are NaN, and finite in torch:", lost)
wanted = {(False, None): "mean", (False, 22): "mean", (False, 23): "0",
          (True, None): "NaN", (True, 22): "NaN", (True, 23): "0"}
sys.exit(0 if found == wanted and lost else 1)
PYTHON
