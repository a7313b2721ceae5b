#!/usr/bin/env bash
# Attention with a bias that falls with the squared distance trains several times slower on a CPU, by the bias's size.
#
# Guess before it was run: a bias is one addition; its values do not matter for the time.
# Seen (torch 2.15.0, Intel Xeon, scaled_dot_product_attention, 14x14 patches, bias -|d|^2 as ConViT starts): forward
#   and backward take four times as long as with the same bias over 100; a whole training step of DeiT-Ti with this bias
#   in all layers took six times as long as without a bias. The weights of pairs at distance nine to ten are denormal
#   numbers (1e-38 to 1e-45), with which this CPU multiplies in microcode. With set_flush_denormal(True), called first,
#   both take the same time. On an AMD EPYC the whole step took 1.14 of that without a bias: processors differ.
# What it costs: a benchmark on a CPU says that such a bias is expensive, where it is free on a GPU.
# What helps: torch.set_flush_denormal(True) before anything else.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0
cd "$place"
cat > steep.py <<'PYTHON'
import math
import sys
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

flush = sys.argv[1] == "flush"
if flush:
    torch.set_flush_denormal(True)
torch.set_num_threads(1)
torch.manual_seed(0)
y, x = (t.flatten().float() for t in torch.meshgrid(torch.arange(14), torch.arange(14), indexing="ij"))
squared = (y[:, None] - y).square() + (x[:, None] - x).square()
q, k, v = (torch.randn(16, 4, 196, 16, requires_grad=True) for _ in range(3))


def milliseconds(bias):
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        scaled_dot_product_attention(q, k, v, attn_mask=bias).square().sum().backward()
        best = min(best, time.perf_counter() - start)
    return 1e3 * best


gentle, steep = milliseconds(-squared / 100), milliseconds(-squared)
print(f"{'denormals flushed' if flush else 'as torch starts'}: gentle bias {gentle:.0f} ms, steep bias {steep:.0f} ms")
sys.exit(0 if (steep < 2 * gentle if flush else steep > 3 * gentle) else 1)
PYTHON
"$place/env/bin/python" steep.py plain
"$place/env/bin/python" steep.py flush
