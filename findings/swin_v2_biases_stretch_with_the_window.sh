#!/usr/bin/env bash
# timm's set_input_size stretches the position biases of Swin V2: an offset has another bias in a larger window.
#
# Guess before it was run: Swin V2 computes its biases from offsets by a small MLP, so that windows can grow; a patch's
#   right neighbour keeps its bias.
# Seen (torch 2.15.0, torchvision 0.29.2, timm 1.0.31): after set_input_size((384, 384), window_size=(12, 12)) of
#   swinv2_tiny_window8_256 the offset of 11 patches has the bias that 7 patches had, and the neighbour has another one.
#   The MLP sees offsets as a share of the window, and the share is that of the new window, unless the model was built
#   with pretrained_window_sizes. The MLP's weights are the same, and no warning is raised. A model that is built with
#   pretrained_window_sizes=(8, 8, 8, 8), loads the weights, and then takes the same set_input_size has the biases of
#   before in all four stages, at every offset that both windows have. (The MLPs' last layers are drawn anew here, since
#   all biases of a fresh model are nearly 8.)
# What helps: pretrained_window_sizes, the windows that the weights were trained with.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 timm==1.0.31
cd "$place"
"$place/env/bin/python" - <<'PYTHON'
import sys
import warnings

import timm
import torch

NAME, BLOCKS = "swinv2_tiny_window8_256", dict(depths=(1, 1, 1, 1), num_classes=10)


def biases(model, stage):
    """Of the first query of a window, the first head: by offset to the right."""
    attention = model.layers[stage].blocks[0].attn
    table = attention.cpb_mlp(attention.relative_coords_table).view(-1, attention.num_heads)
    side = attention.window_size[0]
    return 16 * torch.sigmoid(table[attention.relative_position_index[0, :side]])[:, 0]


torch.manual_seed(0)
warnings.simplefilter("error")
with torch.no_grad():
    model = timm.create_model(NAME, **BLOCKS).eval()
    for stage in model.layers:
        torch.nn.init.normal_(stage.blocks[0].attn.cpb_mlp[2].weight)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    known = timm.create_model(NAME, pretrained_window_sizes=(8, 8, 8, 8), **BLOCKS).eval()
    known.load_state_dict(weights)
    before = [biases(model, stage) for stage in range(4)]
    for one in (model, known):
        one.set_input_size((384, 384), window_size=(12, 12))
    after, kept = ([biases(one, stage) for stage in range(4)] for one in (model, known))
    unchanged = all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
print("timm", timm.__version__, "torch", torch.__version__)
for words, found in (("window 8", before), ("set_input_size, window 12", after), ("pretrained_window_sizes", kept)):
    print(f"{words:26}", " ".join(f"{value:5.2f}" for value in found[0].tolist()))
stretched = all(
    torch.isclose(new[11], old[7], atol=1e-4) and abs(new[1] - old[1]) > 0.01 for new, old in zip(after, before)
)
same = all(torch.allclose(new[:8], old, atol=1e-4) for new, old in zip(kept, before))
sys.exit(not (stretched and unchanged and same))
PYTHON
