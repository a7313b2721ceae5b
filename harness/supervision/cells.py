"""What a convolutional network of timm's says of each cell of its last feature map.

    logits[b, :, y, x] = head(features[b, :, y, x]),   the head on a map of 1 x 1 cells

The head is whatever the network has after its features: pooling, norm, more layers, the classifier. Pooling one cell
changes nothing. Where the head is an average and a linear layer, the mean over the cells is the network's own logits.

Source: re-labelled ImageNet, arXiv 2101.05022, section 3.1, and token labelling, arXiv 2104.10858, section 3.2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

Size = tuple[int, int]


def dense(network: nn.Module, images: Tensor) -> Tensor:
    """Logits [B, classes, h, w] of images [B, c, H, W]."""
    timms: Any = network
    features = timms.forward_features(images)
    b, c, h, w = features.shape
    cells = features.permute(0, 2, 3, 1).reshape(b * h * w, c, 1, 1)
    logits: Tensor = timms.forward_head(cells)
    return logits.view(b, h, w, -1).permute(0, 3, 1, 2)


@torch.no_grad()
def grid(network: nn.Module, name: str, channels: int, classes: int, size: Size) -> Size:
    """(h, w) cells of the last feature map, for images of a size (height, width); the network is left in eval mode.

    Raises ValueError for a network that has no such map, as a transformer.
    """
    network.eval()
    images = next(network.parameters()).new_zeros(1, channels, *size)
    try:
        timms: Any = network
        features = timms.forward_features(images)
        if features.ndim == 4 and features.shape[1] == timms.num_features:
            logits = dense(network, images)
            if logits.shape == (1, classes, *features.shape[2:]):
                return features.shape[2], features.shape[3]
        found = f"its features are {list(features.shape)}"
    except Exception as error:  # each network has its own way to refuse a size, or to lack a head
        found = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no words'}"
    raise ValueError(f"{name} is no convolutional network with a map of features [B, C, h, w] of pictures of "
                     f"{size[0]}x{size[1]} px ({found}); choose another, such as resnet50")  # fmt: skip
