#!/usr/bin/env bash
# timm's moving average of weights (--model-ema) averages a tensor once for each of its names, so a shared one too fast.
#
# Guess before it was run: each parameter of a model moves towards its weights once a step, shared or not.
# Seen (timm 1.0.31): ModelEmaV3 walks over the state_dict, where a parameter stands under each of its names. In a BEiT
#   where 12 layers were made to share one table of relative position biases, by assignment, a step with decay 0.9998
#   keeps 0.9998 of every other tensor and 0.9998 ** 12 = 0.9976 of the table: an average over 417 steps instead of 5,000.
#   The older ModelEmaV2 does the same. exclude_buffers=True goes over parameters and buffers instead, each once, and
#   copies buffers. torch's AveragedModel goes over parameters, too. BEiT's own use_shared_rel_pos_bias has one module
#   with one name, and is averaged as the rest.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 timm==1.0.31
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import sys

import timm
import torch
from timm.utils import ModelEmaV2, ModelEmaV3
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

DECAY = 0.9998


def kept(average, step):
    """What is left of the old value after one step: of the shared table, and of a table that is one layer's own."""
    model = timm.create_model("beit_base_patch16_224", embed_dim=48, num_heads=2, depth=13)
    *sharing, own = [block.attn for block in model.blocks]
    for attention in sharing:
        attention.relative_position_bias_table = sharing[0].relative_position_bias_table
    for attention in (sharing[0], own):
        torch.nn.init.ones_(attention.relative_position_bias_table)
    following = average(model)
    for attention in (sharing[0], own):
        torch.nn.init.zeros_(attention.relative_position_bias_table)
    step(following, model)
    blocks = following.module.blocks
    return [blocks[at].attn.relative_position_bias_table.double().mean().item() for at in (0, 12)]


ways = {
    "ModelEmaV3": (lambda model: ModelEmaV3(model, decay=DECAY), lambda ema, model: ema.update(model)),
    "ModelEmaV2": (lambda model: ModelEmaV2(model, decay=DECAY), lambda ema, model: ema.update(model)),
    "ModelEmaV3, exclude_buffers": (
        lambda model: ModelEmaV3(model, decay=DECAY, exclude_buffers=True), lambda ema, model: ema.update(model)),
    "AveragedModel": (
        lambda model: AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(DECAY)),
        lambda ema, model: (ema.n_averaged.fill_(1), ema.update_parameters(model))),
}
found = {name: kept(*way) for name, way in ways.items()}
own_way = timm.create_model("beit_base_patch16_224", embed_dim=48, num_heads=2, depth=12, use_shared_rel_pos_bias=True,
                            use_abs_pos_emb=False, use_rel_pos_bias=False)
names = [name for name in own_way.state_dict() if name.endswith("relative_position_bias_table")]
print("with use_shared_rel_pos_bias the table is", names)
assert len(names) == 1
for name, (shared, own) in found.items():
    print(f"{name}: keeps {shared:.6f} of the shared table, {own:.6f} of a layer's own")
first, second, *others = found.values()
often = all(abs(one[0] - DECAY**12) < 1e-5 and abs(one[1] - DECAY) < 1e-5 for one in (first, second))
sys.exit(0 if often and all(abs(one - DECAY) < 1e-5 for pair in others for one in pair) else 1)
PYTHON
