"""`SET:translated`, `SET:cluttered`: the images of a set in memory, each at a random place of a larger black canvas.

    translated   the image at whole pixels, any place where it fits as likely as another; everything else is 0
    cluttered    pieces of training images lie under it: cut out anywhere, each of another image than the object's, and
                 put anywhere. The object's pixels above 0 are on top; of several pieces the brightest value shows

Known as translated MNIST and cluttered translated MNIST (Mnih et al., Recurrent models of visual attention, arXiv
1406.6247; Jaderberg et al., Spatial transformer networks, arXiv 1506.02025). Departure: the clutter never changes a
pixel of the object. The label is the object's.

A training image is at another place, among other pieces, each time that it is seen. Validation and test images stay
where the seed has put them. A test image is shown at several places that differ, one after another; it is one unit of
the statistics, by the mean over its places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.data.dataset import Dataset, moments

LAYOUTS = {"translated": 0, "cluttered": 4}  # pieces of clutter
MARGIN = 1.5  # the side of the canvas, of the image's
PIECE = 0.4  # the side of a piece, of the image's
PLACES = 3  # of a test image
CHUNK = 2048  # images that are laid at a time, where a whole split is

Size = tuple[int, int]


@dataclass(frozen=True)
class Canvas:
    """How the images of `originals` lie on a canvas of a size (height, width): so many pieces of clutter, of the size
    `piece`, and so many places of each test image."""

    originals: Dataset
    size: Size
    piece: Size
    clutter: int = 0
    places: int = 1

    def draw(
        self, shape: tuple[int, ...], chosen: Tensor, generator: torch.Generator, own: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Places int64 [*shape, 2] of objects, (top, left), and pieces int64 [*shape, clutter, 5].

        A piece is the number of its training image, one of `chosen`, its (top, left) there and on the canvas. own: the
        numbers [*shape] of the objects, where these are training images themselves.
        """

        def below(bounds: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
            return torch.stack([torch.randint(bound, shape, generator=generator) for bound in bounds], dim=-1)

        image = self.originals.image_size
        at = below(_room(image, self.size), shape)
        others = len(chosen) if own is None else len(chosen) - 1
        pieces = below((others, *_room(self.piece, image), *_room(self.piece, self.size)), (*shape, self.clutter))
        number = chosen[pieces[..., 0]]
        if own is not None:  # the last one stands in for the object's own image
            number = torch.where(number == own[..., None], chosen[-1], number)
        pieces[..., 0] = number
        return at, pieces

    def lay(self, images: Tensor, pool: Tensor, at: Tensor, pieces: Tensor) -> Tensor:
        """Canvases uint8 [B, c, H, W]: images [B, c, h, w] at [B, 2] over pieces [B, k, 5] of a pool [n, c, h, w]."""
        (b, c, _, width), k = images.shape, pieces.shape[1]
        black = images.new_zeros(b, c, self.size[0] * self.size[1])
        where = _window(at, (images.shape[-2], width), self.size[1])[:, None].expand(-1, c, -1)
        objects = black.scatter(2, where, images.flatten(2)).view(b, c, *self.size)
        if not k:
            return objects
        number, cut, put = pieces.flatten(0, 1).split([1, 2, 2], dim=1)
        inside = _window(cut, self.piece, width)[:, None].expand(-1, c, -1)
        found = (
            pool.index_select(0, number[:, 0]).flatten(2).gather(2, inside).view(b, k, c, -1).transpose(1, 2).flatten(2)
        )
        where = _window(put, self.piece, self.size[1]).view(b, 1, -1).expand(-1, c, -1)
        under = black.scatter_reduce(2, where, found, "amax").view(b, c, *self.size)
        return objects + under * (1 - _ink(objects)[:, None])


def placed(
    data: Dataset,
    layout: str,
    seed: int = 0,
    *,
    canvas: int | None = None,
    clutter: int | None = None,
    object_size: int | None = None,
    places: int | None = None,
) -> Dataset:
    """The set with its images on canvases, as one of LAYOUTS; `seed` draws what is fixed.

    canvas: its side in px, by default 1.5 times the image's. clutter: how many pieces. object_size: images are shrunk
    to this side first, by the mean of the pixels that come together. places: of each test image. train_x is a sample:
    each training image once. test_masks are the object's pixels above 0. Raises ValueError for a set whose images are
    no tensors of their own, and for settings that do not fit.
    """
    if data.streamed:
        raise of_files(data.name, layout)
    if data.fresh is not None or data.placed is not None:
        raise ValueError(f"the images of {data.name} are placed already; leave out :{layout}")
    if clutter is not None and not LAYOUTS[layout]:
        raise ValueError(f"clutter={clutter} needs {data.name}:cluttered, not :{layout}; or leave it out")
    for name, value in (("clutter", clutter), ("object_size", object_size), ("places", places)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value} must be a whole number from 1; choose one, or leave it out")
    small = data if object_size is None else shrunk(data, object_size)
    h, w = small.image_size
    size = (round(MARGIN * h), round(MARGIN * w)) if canvas is None else (canvas, canvas)
    if size[0] < h or size[1] < w:
        raise ValueError(f"canvas={canvas} is smaller than the {h}x{w} px images of {data.name}; choose {max(h, w)} or "
                         f"more, or shrink them with object_size")  # fmt: skip
    there, places = prod(_room((h, w), size)), PLACES if places is None else places
    if places > there:
        raise ValueError(f"places={places} is more than the {there} that {h}x{w} px have on {size[0]}x{size[1]} px; "
                         f"choose {there} or less, or a larger canvas")  # fmt: skip
    made = Canvas(
        small, size, (max(1, round(PIECE * h)), max(1, round(PIECE * w))),
        LAYOUTS[layout] if clutter is None else clutter, places,
    )  # fmt: skip
    train_x, _ = _laid(made, small.train_x, [seed, 0], own=torch.arange(len(small.train_y)))
    val_x, _ = _laid(made, small.val_x, [seed, 1])
    test_x, masks = _laid(made, small.test_x, [seed, 2], places=places)
    mean, std = moments(train_x)
    return replace(
        small, name=f"{data.name}:{layout}", train_x=train_x, val_x=val_x, test_x=test_x,
        test_y=small.test_y.repeat_interleave(places), mean=mean, std=std, test_masks=masks, placed=made,
        shown=f"{small.shown} on {size}, {made.clutter} pieces of {made.piece}, {places} places",
    )  # fmt: skip


def of_files(name: str, layout: str) -> ValueError:
    """Why the images of a set that stays in files cannot be placed."""
    return ValueError(f"{name} is read from files, and only sets in memory can be placed; leave out :{layout}, or "
                      f"choose a set such as digits:{layout}")  # fmt: skip


def shrunk(data: Dataset, side: int) -> Dataset:
    """The set with images whose longer side has so many pixels: each the mean of the pixels that it covers, rounded.

    From whole numbers in float64, so the bits are those of any machine. Raises ValueError where they would grow.
    """
    longer = max(data.image_size)
    if side > longer:
        raise ValueError(f"object_size={side} is more than the {longer} px of {data.name}; choose {longer} or less")
    h, w = (max(1, round(side * length / longer)) for length in data.image_size)

    def small(images: Tensor) -> Tensor:
        parts = (F.adaptive_avg_pool2d(part.double(), (h, w)).round().to(torch.uint8) for part in images.split(CHUNK))
        return torch.cat([*parts])

    train_x, val_x, test_x = (small(_images(images)) for images in (data.train_x, data.val_x, data.test_x))
    return replace(data, train_x=train_x, val_x=val_x, test_x=test_x)


def _laid(
    made: Canvas, images: object, seeds: list[int], own: Tensor | None = None, places: int = 1
) -> tuple[Tensor, Tensor]:
    """Images [n, c, h, w] where the seeds put them: uint8 [n * places, c, H, W], and bool [n * places, H, W], where
    the objects are."""
    pool, images = _images(made.originals.train_x), _images(images).repeat_interleave(places, 0)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0]))
    at, pieces = made.draw((len(images),), torch.arange(len(pool)), generator, own)
    if places > 1:
        at = _apart(_room(made.originals.image_size, made.size), len(images) // places, places, generator)
    canvases, masks = [], []
    for some in torch.arange(len(images)).split(CHUNK):
        canvases.append(made.lay(images[some], pool, at[some], pieces[some]))
        masks.append(_ink(made.lay(images[some], pool, at[some], pieces[some, :0])).bool())
    return torch.cat(canvases), torch.cat(masks)


def _apart(room: Size, n: int, places: int, generator: torch.Generator) -> Tensor:
    """int64 [n * places, 2]: for each of n images places that differ, all of them as likely."""
    taken = torch.empty(n, 0, dtype=torch.int64)
    for _ in range(places):
        one = torch.randint(prod(room) - taken.shape[1], (n,), generator=generator)  # the how manyth that is free
        for before in taken.sort(dim=1).values.unbind(dim=1):
            one += one >= before
        taken = torch.cat([taken, one[:, None]], dim=1)
    return torch.stack([taken // room[1], taken % room[1]], dim=-1).flatten(0, 1)


def _images(images: object) -> Tensor:
    assert isinstance(images, Tensor)
    return images


def _ink(images: Tensor) -> Tensor:
    """[B, c, H, W] -> uint8 [B, H, W]: 1 where any channel is above 0, else 0; torch is slow with bool."""
    return images.amax(dim=1).clamp(max=1)


def _room(inner: Size, outer: Size) -> Size:
    """At how many places a size fits into another: down, and right."""
    return outer[0] - inner[0] + 1, outer[1] - inner[1] + 1


def _window(at: Tensor, size: Size, width: int) -> Tensor:
    """int64 [..., h * w]: where the pixels of windows of a size at [..., 2] lie in images of a width, row by row."""
    rows, columns = (torch.arange(side, device=at.device) for side in size)
    return at[..., :1] * width + at[..., 1:] + (rows[:, None] * width + columns).flatten()
