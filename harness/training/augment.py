"""Pictures and the transforms that work on them: timm's, each image's draws seeded by its place alone.

So the augmentation of an image does not depend on how many processes read, or on what they read before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform, rand_augment_transform
from timm.data.auto_augment import auto_augment_transform
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from harness.data import Dataset, Images
from harness.training import rng
from harness.training.dense import Maps
from harness.training.recipe import Recipe

CPU = torch.device("cpu")
Box = tuple[int, int, int, int]  # top, left, height, width


@dataclass(frozen=True)
class Transformed:
    """Images and labels by number, and what is done to each picture."""

    images: Images
    labels: Tensor
    transform: Callable[[Image.Image], Tensor]

    def read(self, place: int, words: tuple[object, ...]) -> tuple[Tensor, ...]:
        """uint8 [c, H, W] and its label; the words seed what is drawn."""
        found = self.images[place]
        picture = to_picture(found) if isinstance(found, Tensor) else found
        rng.reseed(CPU, *words)
        return self.transform(picture), self.labels[place]


@dataclass(frozen=True)
class Located(Transformed):
    """With each picture the part of it that is shown, and its label map."""

    transform: Noting
    maps: Maps

    def read(self, place: int, words: tuple[object, ...]) -> tuple[Tensor, ...]:
        """uint8 [c, H, W], its label, its box [4] and whether it is mirrored, as of `Cut`, and its map's two parts."""
        image, label = super().read(place, words)
        values, indices = self.maps[torch.tensor([place])]
        return image, label, self.transform.box, self.transform.mirrored, values[0], indices[0]


class Noting:
    """A training transform that notes where it cut the last picture, and whether it mirrored it.

    As in LV-ViT's code, what a policy of aa does to a picture's geometry is not noted.
    """

    def __init__(self, transform: transforms.Compose):
        self.box, self.mirrored = torch.tensor([0.0, 0, 1, 1]), torch.tensor(False)
        self._steps = [self._noted(step) for step in transform.transforms]

    def __call__(self, picture: Image.Image) -> Any:
        self.box, self.mirrored = torch.tensor([0.0, 0, 1, 1]), torch.tensor(False)
        found: Any = picture
        for step in self._steps:
            found = step(found)
        return found

    def _noted(self, step: Any) -> Any:
        if isinstance(step, transforms.RandomHorizontalFlip):
            return partial(self._flip, p=step.p)
        if isinstance(step, RandomResizedCropAndInterpolation | transforms.RandomCrop):
            own: Any = step
            own.get_params = partial(self._crop, own.get_params, getattr(step, "padding", None) or 0)
        return step

    def _crop(self, draw: Callable[..., Box], pad: int, picture: Image.Image, *given: Any) -> Box:
        """What `draw` does, on a picture that was padded on all sides."""
        found = draw(picture, *given)
        top, left, tall, wide = found
        w, h = picture.width - 2 * pad, picture.height - 2 * pad
        sides = [(left - pad) / w, (top - pad) / h, (left - pad + wide) / w, (top - pad + tall) / h]
        self.box = torch.tensor(sides)
        return found

    def _flip(self, picture: Image.Image, p: float) -> Image.Image:
        """torchvision's flip, by the same draw."""
        if not torch.rand(1) < p:
            return picture
        self.mirrored = torch.tensor(True)
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


class Loaded(TorchDataset):
    """Transformed pictures as torch's DataLoader asks for them: by (number, words that seed)."""

    def __init__(self, shown: Transformed):
        self.shown = shown

    def __getitem__(self, at: tuple[int, tuple[object, ...]]) -> tuple[Tensor, ...]:
        return self.shown.read(*at)


def to_picture(image: Tensor) -> Image.Image:
    """uint8 [c, H, W] as a picture."""
    array = image.permute(1, 2, 0).numpy()
    return Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)


def policy(recipe: Recipe, size: tuple[int, int], data: Dataset) -> transforms.Compose:
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


def _policy(recipe: Recipe, size: tuple[int, int], data: Dataset) -> transforms.Compose:
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
