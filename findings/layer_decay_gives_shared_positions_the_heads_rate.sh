#!/usr/bin/env bash
# With layer-wise learning rate decay, timm trains the positions that all layers share at the rate of the head.
#
# Guess before it was run: what all layers share goes with the stem, which has the slowest rate, as a shared position
#   embedding does.
# Seen (timm 1.0.31): the group_matcher of the ViT with one relative position bias for all layers (vit_srelpos_*), and of
#   the ViT with learned rotary frequencies (vit_*_rope_mixed_*), names neither. What no pattern matches is put behind
#   the last layer. With the usual decay of 0.65 and 12 layers the position embedding is trained at 0.0037 of the
#   learning rate, the first layer at 0.0057, and the bias or the frequencies that this layer uses at 1.0: the rate of
#   the new head, 270 times the embedding's. Where each layer has its own bias (vit_relpos_*, beit_*, swin_*), it has the
#   rate of its layer. A fine-tuning with layer decay therefore compares biases at rates that differ by two orders.
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
from timm.optim import param_groups_layer_decay

POSITIONS = ("pos_embed", "rel_pos", "relative_position_bias_table", "rope.freqs")


def rates(name):
    """By parameter of positions: its share of the learning rate, with a decay of 0.65 a layer."""
    model = timm.create_model(name)
    names = {id(parameter): one for one, parameter in model.named_parameters() if parameter.requires_grad}
    groups = param_groups_layer_decay(model, 0.05, model.no_weight_decay(), layer_decay=0.65)
    every = {names[id(parameter)]: group["lr_scale"] for group in groups for parameter in group["params"]}
    return {one: scale for one, scale in every.items() if any(word in one for word in POSITIONS)}


shared = rates("vit_srelpos_small_patch16_224") | rates("vit_small_patch16_rope_mixed_224")
own = rates("vit_relpos_small_patch16_224") | rates("beit_base_patch16_224")
embedding = rates("vit_small_patch16_224")
print("shared by all layers:", {one: round(scale, 4) for one, scale in shared.items()})
print("first layer's own:", {one: round(scale, 4) for one, scale in own.items() if one.startswith("blocks.0.")})
print("last layer's own:", {one: round(scale, 4) for one, scale in own.items() if one.startswith("blocks.11.")})
print("position embedding:", {one: round(scale, 4) for one, scale in embedding.items()})
trained = set(shared.values())
sys.exit(0 if trained == {1.0} and max(own.values()) < 0.66 and embedding["pos_embed"] < 0.004 else 1)
PYTHON
