#!/usr/bin/env bash
# torch.exp takes 20 to 100 times as long on a CPU where its results are next to nothing; flushing does not help.
#
# Guess before it was run: exp of a vector is a polynomial, so that its time does not depend on the numbers; what is slow
#   are denormal results, and torch.set_flush_denormal(True) is there for these.
# Seen (torch 2.15.0, Intel Xeon, float32, one thread): 0.3 ns an element near 0, 20 ns at -200 (the result is 0), 45 ns
#   at -95 (the result is denormal), 5 ns at -inf. One element of 64 at -95 makes the whole ten times as slow. All of it is
#   the same with set_flush_denormal(True). torch.exp is MKL's, which leaves the vector code for such numbers. torch.exp2
#   and torch.softmax are torch's own: they take the same time for all of them, once denormals are flushed.
# What it costs: attention that is written by hand (exp of scores with a mask of -inf or with a bias that falls with the
#   distance) spends most of its time in pairs that do not matter.
# What helps: torch.softmax, or exp2 of the scores over log 2.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0
cd "$place"
cat > crawl.py <<'PYTHON'
import math
import sys
import time

import torch

torch.set_flush_denormal(True)
torch.set_num_threads(1)
SIZE = 2**18


def nanoseconds(work):
    best = math.inf
    for _ in range(30):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best * 1e9 / SIZE


slower = {}
print(f"torch {torch.__version__}, {torch.backends.mkl.is_available() and 'with MKL'}; ns an element")
for name, one in (("0", 0.0), ("-50", -50.0), ("-95", -95.0), ("-200", -200.0), ("-inf", -math.inf)):
    x = torch.full((512, 512), one)
    rows = x.clone()
    rows[:, 0] = 0
    out, halves = torch.empty_like(x), x / math.log(2)
    took = [nanoseconds(lambda: torch.exp(x, out=out)), nanoseconds(lambda: torch.exp2(halves, out=out)),
            nanoseconds(lambda: torch.softmax(rows, -1, out=out))]
    slower.setdefault("0", took)
    slower[name] = took
    print(f"at {name:>5}: exp {took[0]:5.2f}, exp2 {took[1]:5.2f}, softmax {took[2]:5.2f}")
crawls = all(slower[at][0] > 5 * slower["0"][0] for at in ("-95", "-200", "-inf"))
even = all(slower[at][k] < 3 * slower["0"][k] for at in ("-95", "-200", "-inf") for k in (1, 2))
sys.exit(0 if crawls and even else 1)
PYTHON
"$place/env/bin/python" crawl.py
