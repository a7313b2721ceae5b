"""What tests of supervision share: a dataset of bright halves, and a network whose word is known by hand."""

import torch
import torch.nn.functional as F
from torch import nn

from harness.data.dataset import Dataset, in_memory

MEAN, STD = (0.5, 0.25, 0.125), (0.25, 0.5, 0.125)  # which the network of known words wants


def halves(n=60, test=20, channels=1, side=8, name="halves", seed=0):
    """Noise; the upper half of the images of class 0 is bright, of class 1 the lower one."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count):
        labels = torch.arange(count) % 2
        images = torch.randint(0, 80, (count, channels, side, side), generator=generator)
        images[labels == 0, :, : side // 2] += 150
        images[labels == 1, :, side // 2 :] += 150
        return images.to(torch.uint8), labels

    return in_memory(name, draw(n), draw(test), ("up", "down"), seed)


def colours(train_x, train_y=None, name="colours"):
    """A dataset of three classes whose training images uint8 [n, 3, H, W] are given."""
    labels = torch.arange(len(train_x)) % 3 if train_y is None else train_y
    return Dataset(
        name, train_x, labels, train_x, labels, train_x, labels, classes=("red", "green", "blue"),
        mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1),
    )  # fmt: skip


class Colours(nn.Module):
    """The means of the channels over 4 x 4 px are the logits of a cell, over all of the picture those of the picture.

    In eval mode the norm does nothing.
    """

    num_features = 3

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3, eps=1e-12)
        self.times = nn.Parameter(torch.ones(3, 1, 1))

    def forward_features(self, images):
        return F.avg_pool2d(self.norm(images), 4) * self.times

    def forward_head(self, features):
        return features.mean((2, 3))

    def forward(self, images):
        return self.forward_head(self.forward_features(images))
