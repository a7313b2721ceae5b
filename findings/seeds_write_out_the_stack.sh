#!/usr/bin/env bash
# torch.manual_seed writes out the whole Python stack where there is no GPU, and costs the more the deeper it is called.
#
# Guess before it was run: a seed sets a few words of a generator, so it takes a microsecond or so, everywhere.
# Seen (torch 2.15.0, no GPU): it also queues the seed for devices that may be initialised later, and for each kind of
#   device notes the stack it was called from, by traceback.format_stack, which looks up the text of each line. Thirty
#   frames deep a seed takes about a hundred times as long as the same seed of the generator itself.
# What it costs: reproducible pipelines seed for each image, augmentation or test. Deep in a framework or a test runner
#   that is half a millisecond each. A machine with a GPU does not show it, once CUDA is initialised.
# What helps: a torch.Generator of one's own, or torch.default_generator.manual_seed.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0
cd "$place"
cat > seeds.py <<'PYTHON'
import sys
import time
import traceback

import torch

if torch.cuda.is_available():
    sys.exit("this is of machines without a GPU")


def deep(frames, work):
    return work() if frames == 0 else deep(frames - 1, work)


def microseconds(seed):
    start = time.perf_counter()
    for number in range(300):
        seed(number)
    return (time.perf_counter() - start) / 300 * 1e6


written, true = [], traceback.format_stack
traceback.format_stack = lambda *given: written.append(1) or true(*given)
torch.manual_seed(0)
traceback.format_stack = true
print(f"one torch.manual_seed wrote out the stack {len(written)} times")
for frames in (0, 30):
    whole = deep(frames, lambda: microseconds(torch.manual_seed))
    alone = deep(frames, lambda: microseconds(torch.default_generator.manual_seed))
    print(f"{frames} frames deeper: torch.manual_seed {whole:.0f} us, the generator alone {alone:.1f} us")
sys.exit(0 if written and whole > 10 * alone else 1)
PYTHON
"$place/env/bin/python" seeds.py
