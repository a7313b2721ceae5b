#!/usr/bin/env bash
# torch.set_flush_denormal(True) holds for one half of a tensor, where torch has two threads.
#
# Guess before it was run: it is a setting of torch, so that all operations that follow on the CPU take numbers below
#   1.2e-38 for 0. The documentation says "disables denormal floating numbers on CPU".
# Seen (torch 2.15.0, two threads): it sets the processor's mode for the thread that calls it, and for threads that are
#   started later. Threads that an operation before has started go on as they were: of one product, the first half of the
#   elements is 0 and the second half is not. torch.set_num_threads starts them, too.
# What it costs: weights of attention with a steep bias (ALiBi, ConViT) get into this range, where a CPU takes a hundred
#   times as long; who sets the flag after a first operation still waits for the other threads. And the result of one
#   operation depends on which thread has made it.
# What helps: set it first of all, before torch.set_num_threads and before any operation.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 numpy==2.3.5
cd "$place"
cat > flush.py <<'PYTHON'
import sys

import torch


def flushed():
    """Whether the first and the second half of a product's elements are 0 in all their bits."""
    bits = (torch.full((2_000_000,), 1e-30) * 1e-10).numpy().view("int32")
    return [bool((half == 0).all()) for half in (bits[:1_000_000], bits[1_000_000:])]


if sys.argv[1] == "first":
    torch.set_flush_denormal(True)
torch.set_num_threads(2)
if sys.argv[1] == "later":
    print(f"before it is set: {flushed()}")
    torch.set_flush_denormal(True)
print(f"set {sys.argv[1]}: {flushed()}")
sys.exit(0 if flushed() == [True, sys.argv[1] == "first"] else 1)
PYTHON
"$place/env/bin/python" flush.py later
"$place/env/bin/python" flush.py first
