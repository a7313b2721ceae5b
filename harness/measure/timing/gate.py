"""The gate: how far a backend lies from the plain formula, in this very run; beyond the limit no speed is recorded.

Logits are compared, and for training the gradients of all parameters, on the batch that is timed. Many variants start
neutral (a prior of 1, tables near 0), where a backend that leaves a term out would give the same numbers; so the
attentions' weights are moved by noise for the comparison, and put back.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.measure.cost import eager
from harness.measure.timing.oom import halved
from variants import Attention

LOGITS = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 5e-3}
GRADIENTS = {"float32": 1e-3, "bfloat16": 1e-1, "float16": 3e-2}
LEAST = 1e-3  # of the largest gradient: by this a parameter with a smaller one is measured, which is mostly rounding


def gate(
    model: nn.Module, images: Tensor, labels: Tensor, training: bool, precision: str = "float32"
) -> tuple[dict[str, Any], str | None]:
    """The fact of the gap for the batch images [B, c, H, W], labels [B]; a sentence where it is too wide."""
    limit = (GRADIENTS if training else LOGITS)[precision]
    gap = gradients(model, images, labels) if training else logits(model, images)
    fact = {"metric": "train_parity" if training else "parity", "value": gap, "unit": "1"}
    if gap is None:
        red = "there is no room for eager with a single image to compare it with, so its speed is not measured"
    elif not gap <= limit:
        what = "gradients" if training else "logits"
        red = f"its {what} differ from eager's by {gap:.1e}, more than {limit:.0e}, so its speed is not measured"
    else:
        return fact, None
    return fact | {"value": gap if gap is not None and math.isfinite(gap) else None, "note": red}, red


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> float | None:
    """The largest difference of the logits from eager's, over the largest logit of eager's; in eval mode.

    Eager takes the batch in parts where it has no room for it; None where a single image is too much.
    """
    model.eval()
    with disturbed(model):
        found = model(images)
        with eager(model):
            truth, _ = halved(lambda size: torch.cat([model(part) for part in images.split(size)]), len(images))
    return None if truth is None else float((found - truth).abs().max() / truth.abs().max())


def gradients(model: nn.Module, images: Tensor, labels: Tensor) -> float | None:
    """The largest difference of a parameter's gradient from eager's, over its largest entry; as for `logits`.

    The largest entry counts as at least `LEAST` of the largest of all parameters. In eval mode, too: drop path is no
    part of an attention.
    """
    model.eval()
    with disturbed(model):
        found = _gradients(model, images, labels, len(images))
        with eager(model):
            truth, _ = halved(lambda size: _gradients(model, images, labels, size), len(images))
    if truth is None:
        return None
    scales = torch.stack([gradient.abs().max() for gradient in truth])
    gaps = torch.stack([(mine - theirs).abs().max() for mine, theirs in zip(found, truth, strict=True)])
    return float((gaps / scales.clamp(min=LEAST * float(scales.max()))).max())


def _gradients(model: nn.Module, images: Tensor, labels: Tensor, size: int) -> list[Tensor]:
    """Of the mean cross-entropy, one a parameter, gathered from parts of `size` images."""
    parameters = list(model.parameters())
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for part, target in zip(images.split(size), labels.split(size), strict=True):
        loss = F.cross_entropy(model(part), target, reduction="sum") / len(images)
        for sum_, gradient in zip(total, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
            if gradient is not None:
                sum_ += gradient
    return total


@contextlib.contextmanager
def disturbed(model: nn.Module) -> Iterator[None]:
    """The attentions away from their initial weights for a while: logits near 1, terms far from neutral."""
    noise, moved = torch.Generator().manual_seed(1), {}
    with torch.no_grad():
        for attention in (module for module in model.modules() if isinstance(module, Attention)):
            for name, parameter in attention.named_parameters():
                if parameter in moved or name.startswith("proj.") or name == "qkv.bias":
                    continue
                moved[parameter] = parameter.clone()
                scale = parameter.shape[1] ** -0.5 if name == "qkv.weight" else 0.1
                parameter.add_(scale * torch.randn(parameter.shape, generator=noise).to(parameter))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, before in moved.items():
                parameter.copy_(before)
