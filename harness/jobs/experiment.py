"""What all cells of a run share: the study, its data, the device; it builds models, shows images, completes rows."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.backbone import sizes, vit
from harness.data import Dataset, resize, subset
from harness.jobs.study import Pixels, Study, digest
from harness.jobs.variant_file import file_of
from harness.results import metrics, provenance, source, store
from harness.training.batches import Batch, Source, shown
from harness.training.dense import TokenLabels
from harness.training.objective import Objective
from harness.training.recipe import Recipe
from variants.registry import family_of, parse

Size = tuple[int, int]
# imported where a study starts from weights, or has token labels or a teacher, so that no other one's key has them
START = "harness.backbone.start"
SUPERVISION = "harness.supervision.sources"


@dataclass(frozen=True)
class ModelSpec:
    """What a model is built from: a spec, and the hidden width of its MLPs, None for the size's own."""

    spec: str
    mlp_hidden: int | None = None


@dataclass(frozen=True)
class Experiment:
    """A study on its data and its device.

    A variant is a spec, or the name of one of the `widened` models, which are no spec's alone. device_type: the type of
    device that the cells are for, this one's where empty; place: the Slurm partition that has them, whose nodes are
    alike.
    """

    study: Study
    data: Dataset
    device: torch.device
    widened: Mapping[str, ModelSpec] = field(default_factory=dict)
    device_type: str = ""
    place: str = ""

    @property
    def image(self) -> Size:
        px = self.study.img_size
        return (px, px) if px else self.data.image_size

    @property
    def resolutions(self) -> list[Size]:
        """The test sizes (height, width) in pixels, the training size first."""
        return list(dict.fromkeys([self.image, *map(size_of, self.study.resolutions)]))

    @cached_property
    def own(self) -> Tensor:
        """int64: the numbers of the study's training images, the same for all seeds."""
        from sklearn.model_selection import train_test_split

        labels, wanted = self.data.train_y, self.study.train_images
        every = torch.arange(len(labels))
        if wanted is None or wanted >= len(labels):
            return every
        return train_test_split(every, train_size=wanted, random_state=0, stratify=labels)[0].sort().values

    @property
    def images(self) -> int:
        """How many training images the study has."""
        return len(self.own)

    def spec_of(self, variant: str) -> ModelSpec:
        return self.widened.get(variant) or ModelSpec(variant)

    def model(self, variant: str, seed: int = 0, *, compiled: bool = False) -> vit.ViT:
        """The variant's model on the device, before training. Raises ValueError for what cannot be built."""
        study, arm = self.study, self.spec_of(variant)
        model = vit.create(
            arm.spec, size=study.size, img_size=self.image, patch_size=study.patch_size, in_chans=self.data.channels,
            num_classes=len(self.data.classes), num_heads=study.num_heads, class_token=study.class_token,
            spatial_layers=study.spatial_layers, pos_embed=study.pos_embed, pos_std=study.pos_std,
            peg=study.peg, aux_head=study.aux_head, distilled=study.distilled, mlp_hidden=arm.mlp_hidden,
            drop_path=study.recipe.drop_path, backend=study.backend,
            precision=study.precision, seed=seed,
        )  # fmt: skip
        if study.init_from is not None:
            begin = import_module(START)
            begin.start(model, begin.weights(study.init_from))
        model = model.to(self.device)
        if compiled and study.torchcompile:
            model.compile()
        return model

    def source(self, recipe: Recipe, seed: int, fraction: float, size: Size) -> Source:
        """What a training on a share of the images, at a size, draws its batches from."""
        tokens = None
        if self.study.token_labels is not None:
            tokens = TokenLabels(self.lesson, self.grid(size), len(self.data.classes), recipe.smoothing)
        chosen = self.chosen(fraction, seed)
        return Source(self.data, recipe, seed, self.device, size, chosen, self.images, self.workers, tokens)

    def objective(self, recipe: Recipe, seed: int, size: Size) -> Objective:
        """What a training at a size minimises."""
        teacher = None if self.study.teacher is None else self.lesson
        dense = self.study.token_labels is not None
        return Objective(recipe, len(self.data.classes), seed, self.grid(size), dense, teacher)

    def grid(self, size: Size) -> Size:
        """The patches of an image of a size."""
        return vit.grid_for(size, self.study.patch_size)

    @property
    def words(self) -> str | None:
        """What names the label maps or the teacher of the study; None where it learns from labels alone."""
        return self.study.token_labels if self.study.teacher is None else self.study.teacher

    @cached_property
    def lesson(self) -> Any:
        """The label maps or the teacher, made where they are not there.

        Raises ValueError for what is not available or does not fit the images, and for another content than the one
        that the study was planned with.
        """
        assert self.words is not None
        make = getattr(import_module(SUPERVISION), "label_maps" if self.study.teacher is None else "teacher")
        found = make(self.words, self.data, self.device, self.workers, self.own)
        if self.study.taught not in ("", found.digest):
            raise ValueError(f"{self.words} is {found.digest} here and {self.study.taught} where the study was "
                             f"planned; let all machines share one cache (XDG_CACHE_HOME)")  # fmt: skip
        return found

    def try_out(self, variant: str) -> None:
        """One image through the variant's model. Raises ValueError where it cannot be built or executed."""
        try:
            with torch.no_grad():
                self.model(variant).eval()(self.batch(1, self.image)[0])
        except ValueError:
            raise
        except Exception as error:  # a variant of one's own may raise anything; torch too, where memory runs out
            where = traceback.extract_tb(error.__traceback__)[-1]
            words = f"{type(error).__name__} at {where.filename}:{where.lineno}: {error}"
            raise ValueError(words.splitlines()[0]) from error

    def chosen(self, fraction: float, seed: int) -> Tensor:
        """int64: the training images of a share, which the seed draws; those of a smaller share are among them."""
        return self.own[subset(self.data.train_y[self.own], fraction, seed)]

    def batch(self, batch_size: int, size: Size) -> Batch:
        """The first training images [batch_size, c, *size] and their labels; a small training set is repeated."""
        places = torch.arange(batch_size) % len(self.data.train_x)
        x = self.data.train_x
        if isinstance(x, Tensor):
            images = resize(self.data.normalise(x[places].to(self.device)), size)
            return images, self.data.train_y[places].to(self.device)
        few = min(batch_size, 16)  # reading is slow, and what a picture shows costs and times nothing
        images, labels = next(shown(self.data, First(x, few), self.data.train_y[:few], size, self.device, 0))
        return images[places % few], labels[(places % few).to(self.device)]

    def like(self, batch_size: int, size: Size) -> Tensor:
        """Images [batch_size, c, *size] of any content."""
        return torch.empty(batch_size, self.data.channels, *size, device=self.device)

    @property
    def cores(self) -> int | None:
        """Cores of the CPU that a training takes; None on a GPU, where they are no matter."""
        return self.study.threads if self.device.type == "cpu" else None

    @property
    def workers(self) -> int:
        """Processes that read pictures: no more than this training's share of the cores."""
        return min(self.study.workers, max(1, provenance.cores() // self.study.at_a_time))

    def shown(self, split: str, size: Size, dealt: bool = True, most: int | None = None) -> Iterator[Batch]:
        """The images of "val" or "test" as a model is tested on them, and their labels; those dealt to this process.

        most: so many of them at most, spread evenly.
        """
        images, labels = getattr(self.data, f"{split}_x"), getattr(self.data, f"{split}_y")
        return shown(self.data, images, labels, size, self.device, self.workers, dealt, most)

    def by_image(self, fact: dict[str, Any]) -> dict[str, Any]:
        """A fact of the whole test split, counted by images: an image that lies at several places is one.

        n counts images then, and `places` in params says how many. What is of some canvases alone stays as it is.
        """
        places = self.data.places
        if places == 1 or fact.get("n") != len(self.data.test_y) or "samples" in fact:  # n counts these, then
            return fact
        return fact | {"n": fact["n"] // places, "params": (fact.get("params") or {}) | {"places": places}}

    def row(self, variant: str, **fact: Any) -> store.Row:
        """A whole row: the fact, what it is about, and where it comes from."""
        test = fact.pop("test", self.image)
        grid = vit.grid_for(test, self.study.patch_size)
        about = {
            "study": self.study.name, "variant": variant,
            "family": "controls" if variant in self.widened else family_of(variant),
            "size": self.study.size, "dataset": self.dataset, "train_px": px(self.image), "test_px": px(test),
            "grid": f"{grid[0]}x{grid[1]}", "device": self.device.type,
            "precision": self.study.precision, "batch_size": self.study.recipe.batch_size,
        }  # fmt: skip
        origin = {
            "recipe_hash": self.study.recipe_hash, "code": provenance.code(), "machine": provenance.machine(),
            "versions": provenance.versions(), "when": provenance.now(),
        }  # fmt: skip
        unit = {} if fact.get("unit") else {"unit": metrics.unit_of(fact["metric"])}
        return about | origin | fact | unit

    @property
    def dataset(self) -> str:
        """The dataset's name in rows: of a tree its folder's own, and what is in it."""
        where = self.study.data_dir
        named = self.study.dataset == "folder" and where
        return f"{Path(where).name} ({self.data.fingerprint})" if named and where else self.study.dataset

    def hardware(self) -> list[str | int | None]:
        """What timings depend on beside the source: the processor and its threads or the GPU, and torch."""
        if self.place:
            return [self.place]
        found, torch_itself = provenance.machine(), provenance.versions()["torch"]
        return [found["gpu"], torch_itself] if self.device.type == "cuda" else [
            found["cpu"], found["threads"], torch_itself]  # fmt: skip

    def key(self, variants: Sequence[str], *words: Any) -> str:
        """The hash of a cell: on what it measures which variants, and what else it says of itself."""
        hidden = [h for v in variants if (h := self.spec_of(v).mlp_hidden) is not None]
        about = [self.study.fixed, asdict(sizes.size_of(self.study.size)), self.device_type or self.device.type]
        return digest([*about, *self._images, [*variants], hidden, *words])

    def source_of(self, variant: str) -> str:
        """A digest of the source of a variant's own classes, with those that they build on."""
        return _source_of(self.spec_of(variant).spec)

    @property
    def images_hash(self) -> str:
        """Ten hexadecimal digits of the images as a model meets them."""
        return digest(self._images)

    @property
    def _images(self) -> list[Any]:
        moments = [round(value, 4) for value in (*self.data.mean, *self.data.std)]
        return [self.data.fingerprint, moments, self._reading]

    @property
    def _reading(self) -> str:
        """A digest of the source that reads or draws images which the fingerprint of the data does not hold.

        So it is of what reads weights that models start from, which no other study executes.
        """
        splits = (self.data.train_x, self.data.val_x, self.data.test_x)
        makers: list[Any] = [type(images) for images in splits if not isinstance(images, Tensor)]
        if self.data.placed is not None:
            makers.append(type(self.data.placed))
        if self.data.fresh is not None:
            makers.append(getattr(self.data.fresh, "func", self.data.fresh))
        modules = [maker.__module__ for maker in makers] + [START] * (self.study.init_from is not None)
        modules += [SUPERVISION] * (self.words is not None)
        return source.digest(modules) if modules else ""


@cache
def _source_of(spec: str) -> str:
    parts = parse(spec)
    files = {str(file) for part in parts if (file := file_of(part.name)) is not None}
    return source.of_classes([part.cls for part in parts], files)


@dataclass(frozen=True)
class First:
    """The first so many pictures."""

    pictures: Any
    number: int

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> Any:
        return self.pictures[index]


def size_of(pixels: Pixels) -> Size:
    """(height, width) of a resolution."""
    return pixels if isinstance(pixels, tuple) else (pixels, pixels)


def px(size: Size) -> int | str:
    """A size in pixels as rows write it: the side of a square, else "HEIGHTxWIDTH"."""
    return size[0] if size[0] == size[1] else f"{size[0]}x{size[1]}"
