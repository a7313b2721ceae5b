#!/usr/bin/env bash
# load_state_dict(assign=True) leaves a table that layers share with one storage and many parameters: AdamW steps on each.
#
# Guess before it was run: the layers share the table still, or each has its own afterwards.
# Seen (torch 2.15.0, timm 1.0.31): a BEiT where 12 layers were made to share one table of relative position biases, by
#   assignment, has 12 parameters for it after load_state_dict(assign=True), the way to fill a model that was made on the
#   meta device. All lie in the same storage, since the file keeps shared tensors shared. So the layers agree after each
#   step and nothing looks wrong. But an optimizer has 12 parameters there, and the table moves by up to 12 learning rates
#   a step. Without assign it is one parameter, and moves by one. A table that lies in one module which all layers ask, as
#   with BEiT's own use_shared_rel_pos_bias, has one name, and stays one parameter.
# What helps: share it again after loading, before the optimizer is made.
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

LR = 1e-3


def sharing():
    model = timm.create_model("beit_base_patch16_224", img_size=32, embed_dim=48, num_heads=2, depth=12, num_classes=4)
    for block in model.blocks:
        block.attn.relative_position_bias_table = model.blocks[0].attn.relative_position_bias_table
    return model


torch.save(sharing().state_dict(), "weights.pt")
state = torch.load("weights.pt", weights_only=True)
found = {}
for assign in (False, True):
    model = sharing()
    model.load_state_dict(state, assign=assign)
    tables = [block.attn.relative_position_bias_table for block in model.blocks]
    start = tables[0].detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
    (12 * sum(table.sum() for table in tables)).backward()
    optimizer.step()
    objects, storages = len({id(table) for table in tables}), len({table.data_ptr() for table in tables})
    found[assign] = objects, storages, round((start - tables[0].detach()).mean().item() / LR, 3)
    print(f"assign={assign}: {objects} parameters in {storages} storage, "
          f"moved by {found[assign][2]} learning rates in a step")
sys.exit(0 if found == {False: (1, 1, 1.0), True: (12, 1, 12.0)} else 1)
PYTHON
