"""The batches that a model is trained and tested on: the same for every variant of a seed.

A training set in memory lies on the device as uint8, its batches are cut, shifted, flipped and put on canvases there.
Pictures in files, and policies that work on pictures (aa, color_jitter), go through timm's transforms in worker
processes; generated images are drawn anew for each step. All draws depend on the seed and the step alone
(harness/training/rng.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import islice
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from timm.data import Mixup, create_transform
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torch.utils.data import DataLoader

from harness import distributed
from harness.data import Dataset, Images, resize
from harness.training import dense, rng
from harness.training.augment import Loaded, Located, Noting, Transformed, policy
from harness.training.dense import Cut, Targets, TokenLabels
from harness.training.recipe import Recipe

TEST_BATCH = 512
AHEAD = 16  # steps whose token labels are made at once
CROP = 0.875  # the share of a picture's shorter side that a test sees, as DeiT's

Batch = tuple[Tensor, Tensor]
Lesson = tuple[Tensor, Tensor | Targets]


class Feed(Protocol):
    """Training batches: normalised images [B, c, H, W] and labels int64 [B], or targets, on the device."""

    steps: int

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Lesson]:
        """The batches of an epoch, from step `start` on."""


@dataclass(frozen=True)
class Source:
    """What all feeds are made from: `chosen` are the training images that may be seen, `seed` draws everything.

    Of every batch of the recipe's size this process gets its share (harness/distributed.py). An epoch has as many
    updates as the whole training set of the study has batches (`images` of them, an incomplete last one left out), also
    where fewer are chosen: these are then seen more often (as ConViT does, arXiv 2103.10697). tokens: the label maps of
    the training images, which move with them.
    """

    data: Dataset
    recipe: Recipe
    seed: int
    device: torch.device
    size: tuple[int, int]
    chosen: Tensor
    images: int
    workers: int = 0
    tokens: TokenLabels | None = None

    @property
    def steps(self) -> int:
        return self.images // self.recipe.batch_size

    def order(self, epoch: int) -> Tensor:
        """int64 [steps, B]: the numbers of the images of an epoch."""
        wanted = self.steps * self.recipe.batch_size
        drawn, rounds = [], -(-wanted // len(self.chosen))
        for again in range(rounds):
            shuffled = self.chosen[torch.randperm(len(self.chosen), generator=self._stream("order", epoch, again))]
            # repeated augmentation: a third of the images, three times each (timm's RepeatAugSampler)
            drawn.append(shuffled.repeat_interleave(self.recipe.aug_repeats)[: len(shuffled)])
        return torch.cat(drawn)[:wanted].view(self.steps, -1)

    @property
    def mine(self) -> Tensor:
        """This process's places in a batch."""
        return distributed.mine(self.recipe.batch_size)

    def _stream(self, *words: object) -> torch.Generator:
        return rng.generator(self.seed, *words)


class Resident(Source):
    """Images in memory: uint8 on the device, augmented there."""

    @cached_property
    def _images(self) -> Tensor:
        placed = self.data.placed
        images = self.data.train_x if placed is None else placed.originals.train_x
        assert isinstance(images, Tensor)
        return images.to(self.device)

    @cached_property
    def _labels(self) -> Tensor:
        return self.data.train_y.to(self.device)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Lesson]:
        order, recipe, placed = self.order(epoch), self.recipe, self.data.placed
        pad = recipe.crop_pad
        shifts = torch.randint(2 * pad + 1, (*order.shape, 2), generator=self._stream("shift", epoch))
        flips = torch.rand(order.shape, generator=self._stream("flip", epoch)) < recipe.hflip
        draws = [order, shifts, flips]
        if placed is not None:
            draws += placed.draw(order.shape, self.chosen, self._stream("layout", epoch), own=order)
        own = [t[:, self.mine].to(self.device) for t in draws]
        told = None if self.tokens is None else self._told(own, start)
        for places, shift, flip, *layout in zip(*(t[start:] for t in own), strict=True):
            images = self._images[places]
            if pad:
                images = shifted(images, shift, pad)
            if recipe.hflip:
                images = torch.where(flip[:, None, None, None], images.flip(-1), images)
            if placed is not None:
                images = placed.lay(images, self._images, *layout)
            yield resize(self.data.normalise(images), self.size), self._labels[places] if told is None else next(told)

    def _told(self, draws: list[Tensor], start: int) -> Iterator[Targets]:
        """The targets of each batch from step `start` on; of several steps at once, the same ones for every start."""
        assert self.tokens is not None
        values, indices = self._maps
        for step in range(start - start % AHEAD, len(draws[0]), AHEAD):
            steps = len(draws[0][step : step + AHEAD])
            places, shift, flip, *layout = (t[step : step + AHEAD].flatten(0, 1) for t in draws)
            maps = (values[places], indices[places])
            found = self.tokens.targets(self._labels[places], maps, self._cut(shift, flip, layout))
            yield from islice(found.by_step(steps), max(0, start - step), None)

    @cached_property
    def _maps(self) -> tuple[Tensor, Tensor]:
        """The label maps of all images, on the device."""
        assert self.tokens is not None
        values, indices = self.tokens.maps[torch.arange(len(self.data.train_y))]
        return values.to(self.device), indices.to(self.device)

    def _cut(self, shift: Tensor, flip: Tensor, layout: list[Tensor]) -> Cut:
        """What a batch shows of its images: shifts int64 [B, 2], flips bool [B], and where a canvas has them."""
        placed, pad = self.data.placed, self.recipe.crop_pad
        h, w = self._images.shape[-2:]
        sides = torch.tensor([h, w], device=shift.device)
        frame = torch.tensor([0.0, 0, 1, 1], device=shift.device).expand(len(shift), 4)
        if placed is not None:
            top, left = layout[0].unbind(1)
            high, wide = placed.size
            frame = torch.stack([-left / w, -top / h, (wide - left) / w, (high - top) / h], dim=1)
        return dense.seen(frame, flip, (shift - pad) / sides)


class Streamed(Source):
    """Pictures through timm's training transforms, in worker processes."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Lesson]:
        order, mine = self.order(epoch)[start:, self.mine], self.mine.tolist()
        transform = policy(self.recipe, self.size, self.data)
        numbers = (
            [(place, (self.seed, "picture", epoch, step, at)) for at, place in zip(mine, batch.tolist(), strict=True)]
            for step, batch in enumerate(order, start)
        )
        if self.tokens is None:
            pictures = Transformed(self.data.train_x, self.data.train_y, transform)
            yield from moved(pictures, numbers, self.workers, self.data, self.device)
            return
        self.tokens.maps[torch.arange(1)]  # so that what fits into memory is read once, and not by each worker
        located = Located(self.data.train_x, self.data.train_y, Noting(transform), self.tokens.maps)
        for images, labels, boxes, mirrored, *maps in loaded(located, numbers, self.workers, self.device):
            targets = self.tokens.targets(labels, (maps[0], maps[1]), Cut(boxes, mirrored))
            yield self.data.normalise(images), targets


class Generated(Source):
    """Images drawn anew for every step: no training image is seen twice."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Lesson]:
        assert self.data.fresh is not None
        for step in range(start, self.steps):
            images, labels = self.data.fresh(self._stream("fresh", epoch, step), self.recipe.batch_size)
            images, labels = images[self.mine].to(self.device), labels[self.mine].to(self.device)
            yield resize(self.data.normalise(images), self.size), labels


def feed(source: Source) -> Feed:
    """The feed that serves the source's data and recipe."""
    pictured = source.data.streamed or bool(source.recipe.aa) or source.recipe.color_jitter > 0
    kind: Any = Streamed if pictured else Resident if source.data.fresh is None else Generated
    return kind(**{f.name: getattr(source, f.name) for f in fields(source)})


def shown(
    data: Dataset,
    images: Images,
    labels: Tensor,
    size: tuple[int, int],
    device: torch.device,
    workers: int,
    dealt: bool = False,
    most: int | None = None,
) -> Iterator[Batch]:
    """All images of a split in their order, as a model is tested on them: resized, or a picture's centre crop.

    dealt: every `world`-th batch alone, from this process's number on. most: so many images at most, spread evenly.
    """
    own = slice(distributed.rank(), None, distributed.world()) if dealt else slice(None)
    places = data.evenly(len(images), most)
    if isinstance(images, Tensor):
        for part in places.split(TEST_BATCH)[own]:
            yield resize(data.normalise(images[part].to(device)), size), labels[part].to(device)
        return
    centre = create_transform((data.channels, *size), is_training=False, use_prefetcher=True, interpolation="bicubic",
                              crop_pct=CROP)  # fmt: skip
    numbers = ([(place, ()) for place in part.tolist()] for part in places.split(TEST_BATCH // 4)[own])
    yield from moved(Transformed(images, labels, centre), numbers, workers, data, device)


def moved(
    pictures: Transformed, numbers: Iterable[list[Any]], workers: int, data: Dataset, device: torch.device
) -> Iterator[Batch]:
    """Batches of transformed pictures on the device, normalised. Raises ValueError for one that cannot be read."""
    for images, labels in loaded(pictures, numbers, workers, device):
        yield data.normalise(images), labels


def loaded(
    pictures: Transformed, numbers: Iterable[list[Any]], workers: int, device: torch.device
) -> Iterator[list[Tensor]]:
    """What is read of each picture, in batches on the device. Raises ValueError for one that cannot be read."""
    sampler: Any = numbers  # an iterable is all that is asked of it
    loader: Iterable[Any] = DataLoader(
        Loaded(pictures), batch_sampler=sampler, num_workers=workers, pin_memory=device.type == "cuda"
    )
    try:
        for batch in loader:
            yield [part.to(device, non_blocking=True) for part in batch]
    except ValueError as error:  # a worker's comes with its whole traceback; its own sentence is the last line
        raise ValueError(str(error).strip().splitlines()[-1].removeprefix("ValueError: ")) from error


def shifted(images: Tensor, shift: Tensor, pad: int) -> Tensor:
    """images [B, c, H, W] padded with zeros and cut at shift [B, 2] in 0..2*pad: a random crop, an image a draw."""
    b, _, h, w = images.shape
    padded = F.pad(images, (pad, pad, pad, pad))
    rows = shift[:, 0, None] + torch.arange(h, device=images.device)
    columns = shift[:, 1, None] + torch.arange(w, device=images.device)
    batch = torch.arange(b, device=images.device)
    return padded[batch[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Mixing:
    """Random erasing, then mixup and cutmix of a batch on the device, by timm's parts; they draw from global streams.

    Labels int64 [B] become targets [B, classes] where images are mixed. What an image loses depends on its place in the
    global batch, what is mixed on the step alone, and so does what the model draws after that.
    """

    recipe: Recipe
    classes: int
    seed: int

    @cached_property
    def _mixup(self) -> Mixup | None:
        r = self.recipe
        return Mixup(
            r.mixup, r.cutmix, prob=r.mixup_prob, switch_prob=r.mixup_switch_prob, label_smoothing=r.smoothing,
            num_classes=self.classes,
        ) if r.mixes else None  # fmt: skip

    def __call__(self, images: Tensor, labels: Tensor, step: int) -> Batch:
        if self.recipe.reprob:
            erase = RandomErasing(self.recipe.reprob, mode="pixel", device=str(images.device))
            for image, place in zip(images, distributed.mine(self.recipe.batch_size).tolist(), strict=True):
                rng.reseed(images.device, self.seed, "erase", step, place)
                erase(image)
        rng.reseed(images.device, self.seed, "step", step)
        return (images, labels) if self._mixup is None else self._mixup(images, labels)
