"""What all cells of a run share: the study, its data, the device; it builds models and completes rows."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from harness import backbone, origin, results
from harness.data import Dataset, resize
from harness.recipe import Study, digest
from harness.train import correct
from variants.registry import family_of, parse


@dataclass(frozen=True)
class Bench:
    """A study on its data and its device. `files`: name -> digest of the file that brought that variant."""

    study: Study
    data: Dataset
    device: torch.device
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def image(self) -> tuple[int, int]:
        px = self.study.img_size
        return (px, px) if px else self.data.image_size

    @property
    def resolutions(self) -> list[tuple[int, int]]:
        """The test sizes (height, width) in pixels, the training size first."""
        return list(dict.fromkeys([self.image, *((px, px) for px in self.study.resolutions)]))

    def check(self) -> None:
        """Raises ValueError where an image cannot be cut into patches or a batch is larger than the training set."""
        for size in self.resolutions:
            backbone.grid_for(size, self.study.patch_size)
        if self.study.spatial_layers == 0:
            raise ValueError("0 spatial layers leave no layer that carries the variant; choose at least 1")
        if self.study.recipe.batch_size > len(self.data.train_x):
            raise ValueError(f"a batch of {self.study.recipe.batch_size} is more than the {len(self.data.train_x)} "
                             f"training images; choose a smaller --batch-size")  # fmt: skip

    def model(self, variant: str, seed: int = 0) -> backbone.ViT:
        """The variant's model on the device. Raises ValueError for what cannot be built."""
        study = self.study
        model = backbone.create(
            variant, size=study.size, img_size=self.image, patch_size=study.patch_size, in_chans=self.data.channels,
            num_classes=len(self.data.classes), num_heads=study.num_heads, class_token=study.class_token,
            spatial_layers=study.spatial_layers, pos_embed=study.pos_embed, pos_std=study.pos_std,
            drop_path=study.recipe.drop_path, backend=study.backend, seed=seed,
        )  # fmt: skip
        return model.to(self.device)

    def try_out(self, variant: str) -> None:
        """One image through the variant's model. Raises ValueError where it cannot be built or executed."""
        try:
            with torch.no_grad():
                self.model(variant).eval()(self.train_images[:1])
        except ValueError:
            raise
        except Exception as error:  # a variant of one's own may raise anything; torch too, where memory runs out
            where = traceback.extract_tb(error.__traceback__)[-1]
            words = f"{type(error).__name__} at {where.filename}:{where.lineno}: {error}"
            raise ValueError(words.splitlines()[0]) from error

    @cached_property
    def train_images(self) -> Tensor:
        """The normalised training images at the training size, where the model is."""
        return resize(self.data.normalise(self.data.train_x.to(self.device)), self.image)

    @cached_property
    def train_labels(self) -> Tensor:
        return self.data.train_y.to(self.device)

    def batch(self, batch_size: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The first training images [batch_size, c, *size] and their labels; a small training set is repeated."""
        places = torch.arange(batch_size) % len(self.data.train_x)
        images = self.data.normalise(self.data.train_x[places].to(self.device))
        return resize(images, size), self.data.train_y[places].to(self.device)

    def right(self, model: backbone.ViT, images: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """bool [n]: which uint8 images the model gets right, shown at a size (height, width)."""
        inputs = resize(self.data.normalise(images.to(self.device)), size)
        return correct(model, inputs, labels.to(self.device))

    def row(self, variant: str, cell: str, **fact: Any) -> results.Row:
        """A whole row: the fact, what it is about, and where it comes from."""
        test = fact.pop("test", self.image)
        grid = backbone.grid_for(test, self.study.patch_size)
        about = {
            "study": self.study.name, "cell": cell, "variant": variant, "family": family_of(variant),
            "size": self.study.size, "dataset": self.study.dataset, "train_px": px(self.image), "test_px": px(test),
            "grid": f"{grid[0]}x{grid[1]}", "train_fraction": 1.0, "device": self.device.type,
            "precision": "float32", "batch_size": self.study.recipe.batch_size,
        }  # fmt: skip
        source = {
            "recipe_hash": self.study.recipe_hash, "source_hash": origin.source_hash(), "code": origin.code(),
            "machine": origin.machine(), "versions": origin.versions(), "when": origin.now(),
        }  # fmt: skip
        return about | source | fact

    def hardware(self) -> list[str | int | None]:
        """What timings depend on beside the source: the processor and its threads or the GPU, and torch."""
        found, torch_itself = origin.machine(), origin.versions()["torch"]
        return [found["gpu"], torch_itself] if self.device.type == "cuda" else [
            found["cpu"], found["threads"], torch_itself]  # fmt: skip

    def key(self, variants: list[str], *words: Any) -> str:
        """The hash of a cell: what it measures, of which variants, on what, with which source."""
        named = {part.name for variant in variants for part in parse(variant)}
        brought = sorted(file for name, file in self.files.items() if name in named)
        return digest([self.study.fixed, self.device.type, origin.source_hash(), *brought, variants, *words])


def px(size: tuple[int, int]) -> int | str:
    """A size in pixels as rows write it: the side of a square, else "HEIGHTxWIDTH"."""
    return size[0] if size[0] == size[1] else f"{size[0]}x{size[1]}"
