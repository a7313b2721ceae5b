#!/usr/bin/env bash
# `import timm` loads the whole of torch's compiler, since torchvision's roi_align imports torch._dynamo at its top.
#
# Guess before it was run: importing timm, or torchvision, loads torch's eager part alone. torch does, and roi_align wraps
#   torch.compile in a function whose docstring says that this "avoids eagerly importing dynamo".
# Seen (torch 2.15.0, torchvision 0.29.2, timm 1.0.31, Python 3.11, Linux): `import torch` loads no module of
#   torch._dynamo, torch._inductor or sympy. `import torchvision` then loads more than 500 of them, by the line
#   `from torch._dynamo.utils import is_compile_supported` of torchvision/ops/roi_align.py.
# What it costs: about two fifths of the time of `import timm`, in every process that a data loader or a program spawns.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 timm==1.0.31
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import sys

COMPILER = ("torch._dynamo", "torch._inductor", "sympy")


def loaded():
    return {name: sum(m == name or m.startswith(name + ".") for m in sys.modules) for name in COMPILER}


import torch

alone = loaded()
import torchvision

beside = loaded()
import timm

print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}")
print("after import torch:      ", alone)
print("after import torchvision:", beside)
print("after import timm:       ", loaded())
sys.exit(0 if not any(alone.values()) and all(beside.values()) and sum(beside.values()) > 500 else 1)
PYTHON
