#!/usr/bin/env bash
# torch.compile makes fused attention of one spelling of the plain formula, and leaves another; masked rows then differ.
#
# Guess before it was run: a compiled formula computes what the formula says, so softmax of a row that is -inf everywhere is
#   NaN; and two spellings of the same scale are compiled alike.
# Seen (torch 2.15.0, CPU, float32, without gradients): (q @ k.mT).div(sqrt(d)) + mask becomes scaled_dot_product_attention
#   (inductor counts fuse_attention 1), which has 0 where a query may see nothing. (q @ k.mT) * d ** -0.5 + mask stays as it
#   is written, with NaN there. So a benchmark that compares "eager" and "fused" attention under torch.compile may compare
#   fused with fused, by how its author divides; and a mask that is wrong shows as NaN without torch.compile alone.
# What helps: look at torch._dynamo.utils.counters["inductor"]["fuse_attention"].
# Exits 0 while this is so, 1 where it has changed. It wants a C++ compiler.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0
cd "$place"
cat > spellings.py <<'PYTHON'
import math
import sys

import torch
from torch._dynamo.utils import counters


def divided(q, k, v, mask):
    scores = (q @ k.transpose(-2, -1)).div(math.sqrt(q.shape[-1])) + mask
    return scores.softmax(-1) @ v


def multiplied(q, k, v, mask):
    scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5 + mask
    return scores.softmax(-1) @ v


q, k, v = (torch.randn(2, 4, 64, 32) for _ in range(3))
mask = torch.zeros(2, 1, 64, 64)
mask[:, :, 3] = -math.inf  # query 3 sees nothing
found = {}
for formula in (divided, multiplied):
    torch._dynamo.reset()
    counters.clear()
    with torch.no_grad():
        plain, compiled = formula(q, k, v, mask), torch.compile(formula)(q, k, v, mask)
    fused = counters["inductor"]["fuse_attention"]
    nan = [rows[:, :, 3].isnan().all().item() for rows in (plain, compiled)]
    print(f"{formula.__name__}: fused {fused} times; its masked row is NaN plain: {nan[0]}, compiled: {nan[1]}")
    torch.testing.assert_close(plain[:, :, 4:], compiled[:, :, 4:])
    found[formula.__name__] = (fused, *nan)
sys.exit(0 if found == {"divided": (1, True, False), "multiplied": (0, True, True)} else 1)
PYTHON
"$place/env/bin/python" spellings.py
