#!/usr/bin/env bash
# torchvision resamples a ViT's position embedding for another resolution at other points than timm does.
#
# Guess before it was run: both take bicubic interpolation as PyTorch has it by default, where pixels are areas, so that
#   where the grid grows they agree.
# Seen (torchvision 0.29.2, timm 1.0.31): torchvision's interpolate_embeddings sets align_corners=True, so the embedding of
#   the outermost patches stays that of the outermost patches, and all between is stretched. From 14 x 14 to 24 x 24
#   patches (224 to 384 px) a place is off by up to 0.22 patches of the old grid from where timm takes it. One
#   checkpoint is therefore another model at 384 px in each library, and in torchvision positions do not grow as the
#   picture does.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 timm==1.0.31
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import sys

import torch
from timm.layers import resample_abs_pos_embed
from torchvision.models.vision_transformer import interpolate_embeddings

OLD, NEW = 14, 24
columns = torch.arange(OLD, dtype=torch.float32).repeat(OLD)  # each patch says in which column it lies
embedding = torch.cat([torch.zeros(1), columns])[None, :, None]  # after a class token

theirs = interpolate_embeddings(16 * NEW, 16, {"encoder.pos_embedding": embedding.clone()})["encoder.pos_embedding"]
timms = resample_abs_pos_embed(embedding, [NEW, NEW], num_prefix_tokens=1)
grid = columns.view(1, 1, OLD, OLD)
resized = torch.nn.functional.interpolate
stretched = resized(grid, (NEW, NEW), mode="bicubic", align_corners=True)[0, 0]
by_areas = resized(grid, (NEW, NEW), mode="bicubic", align_corners=False, antialias=True)[0, 0]
theirs, timms = (found[0, 1:, 0].view(NEW, NEW) for found in (theirs, timms))
print("columns of patches 1 to 5, torchvision:", [round(x, 2) for x in theirs[0, :5].tolist()])
print("columns of patches 1 to 5, timm:", [round(x, 2) for x in timms[0, :5].tolist()])
print("furthest apart:", (theirs - timms).abs().max().item())
torch.testing.assert_close(timms, by_areas)
sys.exit(0 if torch.allclose(theirs, stretched) and not torch.allclose(theirs, timms, atol=0.2) else 1)
PYTHON
