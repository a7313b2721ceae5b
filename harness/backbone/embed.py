"""From images to tokens, and a convolution that tells tokens where they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from variants.geometry import Grid


class PatchEmbed(nn.Module):
    """images [B, in_chans, H, W] -> tokens [B, h*w, C], row by row: one linear map a patch (ViT, arXiv 2010.11929)."""

    def __init__(self, patch_size: int, in_chans: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, width, patch_size, patch_size)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class ConvStem(nn.Module):
    """images [B, in_chans, H, W] -> tokens [B, h*w, C]: three convolutions at half size, then half-size patches.

    Source: LV-ViT, arXiv 2104.10858, and SP-ViT's code. Raises ValueError for an odd patch.
    """

    def __init__(self, patch_size: int, in_chans: int, width: int, stem_width: int):
        super().__init__()
        if patch_size % 2:
            raise ValueError(f"the convolutional stem halves the image first, so a patch of {patch_size} px is not "
                             f"available; choose an even one")  # fmt: skip
        self.conv1 = nn.Conv2d(in_chans, stem_width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_width)
        self.conv2 = nn.Conv2d(stem_width, stem_width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(stem_width)
        self.conv3 = nn.Conv2d(stem_width, stem_width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(stem_width)
        self.proj = nn.Conv2d(stem_width, width, patch_size // 2, patch_size // 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.bn1(self.conv1(images)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = self.bn3(self.conv3(x)).relu()
        return self.proj(x).flatten(2).transpose(1, 2)


class PEG(nn.Module):
    """Conditional position encoding (CPVT, arXiv 2102.10882): x + depthwise 3x3 convolution of the patch tokens.

    x [B, P+N, C]; prefix tokens pass by.
    """

    def __init__(self, width: int):
        super().__init__()
        self.proj = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        prefix = x.shape[1] - grid[0] * grid[1]
        patches = x[:, prefix:].transpose(1, 2).unflatten(2, grid)
        return torch.cat([x[:, :prefix], (patches + self.proj(patches)).flatten(2).transpose(1, 2)], dim=1)
