"""Random draws that depend on a seed and a place alone, not on what was drawn before.

Order, augmentation, mixup and drop path of a training step are drawn from a stream that is seeded for this very step.
So every variant of a seed sees the same, whatever it drew itself, and a run goes on at any step.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def key(*words: object) -> int:
    """A whole number below 2^63 that stands for the words."""
    return int.from_bytes(hashlib.sha256(repr(words).encode()).digest()[:8], "big") >> 1


def generator(*words: object) -> torch.Generator:
    """A stream of its own, on the CPU."""
    return torch.Generator().manual_seed(key(*words))


def reseed(device: torch.device, *words: object) -> None:
    """Seeds the global streams (python's, numpy's, torch's on the CPU and the device): timm's parts draw from these.

    torch.manual_seed would also seed every other device, which costs more than a small step.
    """
    seed = key(*words)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (timm's Mixup draws from numpy's global stream)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
