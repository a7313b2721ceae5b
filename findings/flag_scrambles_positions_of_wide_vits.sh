#!/usr/bin/env bash
# transformers' interpolate_pos_encoding scrambles the positions of a ViT that is not square, at its own size too.
#
# Guess before it was run: the flag does nothing at the size that the model was built for, and elsewhere it interpolates
#   the model's own grid.
# Seen (torch 2.15.0, transformers 5.24.0): ViTModel with image_size=(288, 512), which is 16:9, has 18 x 32 patches. Its
#   interpolate_pos_encoding takes the square root of their number, 24, for both sides. So it reads the embedding of 18
#   x 32 as one of 24 x 24 and resizes that to 18 x 32. Patches of a row get positions of other rows. With the flag the
#   output differs from that without, on the model's own size. There is no warning and no wrong shape, as 18 * 32 = 24 *
#   24.
#   Where the number is no square, as for (288, 528), reshape raises an error.
#   image_size may be a pair, and the patch embedding and the check of sizes take the pair.
#   A square model is right: its output at its own size is the same with the flag.
# What it costs: 18 x 32 has the same cost as 24 x 24, so it is what a comparison of aspect ratios at equal cost takes.
#   The accuracy at other resolutions is then that of scrambled positions, while a variant without them loses nothing.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 transformers==5.24.0
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import sys

import torch
from transformers import ViTConfig, ViTModel

torch.manual_seed(0)
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
outputs = {}
for size in ((384, 384), (288, 512)):
    model = ViTModel(ViTConfig(image_size=size, patch_size=16, **SMALL)).eval()
    grid = size[0] // 16, size[1] // 16
    positions = model.embeddings.position_embeddings.data
    torch.nn.init.normal_(positions)
    positions[0, 1:, 0] = torch.arange(grid[0]).repeat_interleave(grid[1])  # the row of each patch
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        plain, flagged = (model(images, interpolate_pos_encoding=flag).last_hidden_state for flag in (False, True))
        given = model.embeddings.interpolate_pos_encoding(torch.zeros(1, 1 + grid[0] * grid[1], 32), *size)
    outputs[size] = float((flagged - plain).norm() / plain.norm())
    print(f"{size}: the flag changes the output by {outputs[size]:.3f} of its norm")
    rows = given[0, 1:, 0].view(grid)
    print("   the second row, which is 1, is given", [round(v, 1) for v in rows[1, ::8].tolist()])
sys.exit(0 if outputs[384, 384] == 0 and outputs[288, 512] > 0.1 else 1)
PYTHON
