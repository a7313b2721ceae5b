"""Pictures and the transforms that work on them: timm's, each image's draws seeded by its place alone.

So the augmentation of an image does not depend on how many processes read, or on what they read before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform, rand_augment_transform
from timm.data.auto_augment import auto_augment_transform
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from harness.data import Dataset, Images
from harness.training import rng
from harness.training.recipe import Recipe

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Transformed:
    """Images and labels by number, and what is done to each picture."""

    images: Images
    labels: Tensor
    transform: Callable[[Image.Image], Tensor]

    def read(self, place: int, words: tuple[object, ...]) -> tuple[Tensor, Tensor]:
        """uint8 [c, H, W] and its label; the words seed what is drawn."""
        found = self.images[place]
        picture = to_picture(found) if isinstance(found, Tensor) else found
        rng.reseed(CPU, *words)
        return self.transform(picture), self.labels[place]


class Loaded(TorchDataset):
    """Transformed pictures as torch's DataLoader asks for them: by (number, words that seed)."""

    def __init__(self, shown: Transformed):
        self.shown = shown

    def __getitem__(self, at: tuple[int, tuple[object, ...]]) -> tuple[Tensor, Tensor]:
        return self.shown.read(*at)


def to_picture(image: Tensor) -> Image.Image:
    """uint8 [c, H, W] as a picture."""
    array = image.permute(1, 2, 0).numpy()
    return Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)


def policy(recipe: Recipe, size: tuple[int, int], data: Dataset) -> Callable[[Image.Image], Tensor]:
    """The training transform: picture -> uint8 [c, H, W].

    A picture of a tree is cropped at random and resized (timm's create_transform); an image from memory keeps its size
    and is shifted by up to crop_pad pixels. Then flip, color_jitter, aa. Raises ValueError for a policy that timm does
    not know.
    """
    try:
        kind, *sections = recipe.aa.split("-")
        if kind == "rand" and not all(re.fullmatch(r"[a-z]+[\d.]+", section) for section in sections):
            raise ValueError(recipe.aa)  # timm passes over what it cannot read
        return _policy(recipe, size, data)
    except (AssertionError, KeyError, ValueError) as error:
        raise ValueError(
            f"aa={recipe.aa!r} is no policy of timm's; write rand-m9-mstd0.5-inc1, original or v0"
        ) from error


def _policy(recipe: Recipe, size: tuple[int, int], data: Dataset) -> Callable[[Image.Image], Tensor]:
    if data.streamed:
        return create_transform(
            (data.channels, *size), is_training=True, use_prefetcher=True, interpolation="bicubic",
            scale=recipe.scale, hflip=recipe.hflip, color_jitter=(recipe.color_jitter,) * 3,
            auto_augment=recipe.aa or None,
        )  # fmt: skip
    shape = data.image_size
    steps: list[Any] = [transforms.RandomCrop(shape, padding=recipe.crop_pad)] if recipe.crop_pad else []
    steps += [transforms.RandomHorizontalFlip(recipe.hflip)] if recipe.hflip else []
    steps.append(transforms.Lambda(in_color))  # timm's policies want three channels
    if recipe.aa:
        mean = tuple(round(255 * m) for m in (data.mean * 3)[:3])
        known = {"translate_const": int(0.45 * min(shape)), "img_mean": mean}
        make = rand_augment_transform if recipe.aa.startswith("rand") else auto_augment_transform
        steps.append(make(recipe.aa, known))
    elif recipe.color_jitter:
        steps.append(transforms.ColorJitter(*(recipe.color_jitter,) * 3))
    if data.channels == 1:
        steps.append(transforms.Grayscale())
    if size != shape:
        steps.append(transforms.Resize(size, transforms.InterpolationMode.BICUBIC))
    steps.append(transforms.PILToTensor())
    return transforms.Compose(steps)


def in_color(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB")
