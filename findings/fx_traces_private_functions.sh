#!/usr/bin/env bash
# timm's register_notrace_function does nothing for a function whose name starts with an underscore.
#
# Guess before it was run: a registered function is a leaf of torch.fx's trace, whatever its name.
# Seen (torch 2.15.0, torchvision 0.29.2, timm 1.0.31): of two functions that are the same but for their names, `first` is a
#   leaf and the model is traced; `_first` is registered, and traced all the same: "TraceError: Proxy object cannot be
#   iterated". torch.fx wraps functions that it finds among the globals of the model's forward, and skips names with an
#   underscore; nothing says that a registered function was not found.
# Exits 0 while this is so, 1 where it has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q torch==2.15.0 torchvision==0.29.2 timm==1.0.31
cat > "$place/models.py" <<'PYTHON'
import sys

from timm.models import register_notrace_function
from timm.models._features_fx import create_feature_extractor, get_notrace_functions
from torch import fx, nn


@register_notrace_function
def first(x):
    for row in x:  # a loop over a tensor, which no trace can follow
        return row


@register_notrace_function
def _first(x):
    for row in x:
        return row


class Public(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        return first(self.layer(x))


class Private(Public):
    def forward(self, x):
        return _first(self.layer(x))


registered = {one.__name__ for one in get_notrace_functions()}
print("registered:", sorted(registered & {"first", "_first"}))
create_feature_extractor(Public().eval(), ["layer"])
print("first: traced as a leaf")
try:
    create_feature_extractor(Private().eval(), ["layer"])
    print("_first: traced as a leaf")
    sys.exit(1)
except fx.proxy.TraceError as error:
    print("_first: TraceError:", str(error).split(".")[0])
sys.exit(0 if {"first", "_first"} <= registered else 1)
PYTHON
cd "$place"
"$place/env/bin/python" models.py
