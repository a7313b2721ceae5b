#!/usr/bin/env bash
# Triton's wheel has two assemblers, and the one that is called ptxas refuses what Triton writes for Hopper.
#
# Guess before it was run: ptxas assembles for A100 and H100, ptxas-blackwell for newer cards, as their names say. So
#   `ptxas -v` on a kernel's PTX says its registers and spills.
# Seen (triton 3.9.0): for sm_90 Triton itself takes ptxas-blackwell, and writes PTX 9.4. The ptxas beside it is of
#   PTX 8.8: it assembles Triton's PTX for sm_80, and ends with "Unsupported .version" on that for sm_90.
# What it costs: TRITON_PTXAS_PATH, by which people choose an assembler, does nothing on an H100 (the variable is
#   TRITON_PTXAS_BLACKWELL_PATH there), and scripts that read registers by `ptxas -v` fail on Hopper alone.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q triton==3.9.0
cd "$place"
cat > assembled.py <<'PYTHON'
import subprocess
import sys
from pathlib import Path

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource


@triton.jit
def double(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, 2 * tl.load(x + at, mask=at < n, other=0.0), mask=at < n)


tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
refused = {}
for capability in (80, 90):
    source = ASTSource(double, {"x": "*fp32", "y": "*fp32", "n": "i32", "BLOCK": "constexpr"}, {"BLOCK": 128})
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    Path("double.ptx").write_text(made.asm["ptx"])
    card = f"sm_{capability}{'a' if capability == 90 else ''}"
    told = subprocess.run([tool, f"--gpu-name={card}", "double.ptx", "-o", "double.cubin"], capture_output=True, text=True)
    refused[capability] = "Unsupported .version" in told.stderr + told.stdout
    version = made.asm["ptx"].split(".version ")[1].split()[0]
    print(f"{card}: Triton wrote PTX {version} and takes {Path(get_ptxas(capability).path).name};",
          f"ptxas says: {(told.stderr + told.stdout).strip().splitlines()[:1] or 'nothing, all is well'}")
sys.exit(0 if refused == {80: False, 90: True} else 1)
PYTHON
"$place/env/bin/python" assembled.py
