"""Parity: how far a backend's output lies from the plain formula's. No speed is recorded on a red gate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.measure.cost import eager

GATE = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 5e-3}


@torch.no_grad()
def parity(model: nn.Module, images: Tensor) -> float:
    """The largest difference of the logits from eager's, over the largest logit of eager's."""
    model.eval()
    found = model(images)
    with eager(model):
        truth = model(images)
    return float((found - truth).abs().max() / truth.abs().max())
