"""`pathfinder:SIDE`: are two discs the ends of one dashed path, or of two? Contours have to be followed.

After Pathfinder (Linsley et al., Learning long-range spatial dependencies with horizontal gated recurrent units,
arXiv 1805.08315), at 32 px as in Long Range Arena (arXiv 2011.04006) and at an easier 16 px: two long dashed paths,
at 32 px two short ones that distract, white on black. A path turns by less than two thirds of a circle, so it does
not cross itself; its curvature changes along the way; paths keep apart from each other.

Departure: discs tell nothing. Two discs are drawn as the ends of a path. Half of the pictures keep it, and a second
path lies elsewhere. In the others a path leaves each disc in the same direction, and then goes its own way. Only
discs that can have both are taken. So both labels have the same discs, the same directions at them, and as many paths
and dashes. At 32 px what lies within 5 px of the discs, with their distance, is right in some 60 %. At 16 px a path
is 9 px long, so what lies around the discs says most, and a weight for each pixel is right in some 60 %.

In float64, so that in practice the pixels are the same on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import pi
from pathlib import Path

import torch
from torch import Tensor

from harness.data.dataset import Dataset
from harness.data.sets.generated import balanced, generated

CLASSES = ("apart", "connected")
TRIES, LOOKED_AT = 64, 24  # paths that are drawn for one that is wanted; of those inside, how many are looked at
MOST = 4096  # scenes that are drawn at a time


@dataclass(frozen=True)
class Style:
    """Lengths in px. dashes: of a long path; short: of those that distract, of which there are `others`.

    shared: points at a disc, half a step apart, that are the same whatever the label. step: from a dash to the next;
    ink: of that the dash; gap: that paths keep; disc: the radius; turn: of a path in all, at most, in radians.
    """

    dashes: int
    shared: int
    short: int
    others: int
    step: float
    ink: float
    gap: float
    disc: float
    turn: float = 1.2 * pi


STYLES = {
    32: Style(dashes=5, shared=2, short=2, others=2, step=4.0, ink=2.4, gap=4.5, disc=1.8),
    16: Style(dashes=3, shared=2, short=1, others=0, step=3.0, ink=1.6, gap=3.5, disc=1.2),
}


def pathfinder(side: int, data_dir: Path | None, seed: int) -> Dataset:
    """The training set without end, and samples of it."""
    return generated(f"pathfinder:{side}", CLASSES, partial(draw, side), partial(fresh, side), seed)


def fresh(side: int, generator: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
    """n new images uint8 [n, 1, side, side] and labels int64 [n], on the generator's device; each equally often."""
    labels = balanced(len(CLASSES), generator, n)
    return draw(side, generator, labels)[0], labels


def draw(side: int, generator: torch.Generator, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Images uint8 [n, 1, side, side] of labels int64 [n], and bool [n, side, side]: the paths that leave the discs."""
    style, n = STYLES[side], len(labels)
    scenes: list[Scene] = []
    while (missing := n - sum(map(len, scenes))) > 0:
        scenes.append(_scenes(side, style, generator, min(MOST, 2 * missing + 8)))
    scene = [torch.cat(parts)[:n] for parts in zip(*(one.parts for one in scenes), strict=True)]
    target, elsewhere, leaving, arriving, beside, around = scene
    connected = labels.bool()[:, None, None]
    first, second = torch.where(connected, target, leaving), torch.where(connected, elsewhere, arriving)
    others = torch.where(connected[..., None], beside, around)
    lines = [_dashes(side, style, path) for path in (first, second, *others.unbind(1))]
    discs = [(style.disc + 0.5 - _distance(side, point, point)).clamp(0, 1) for point in (target[:, 0], target[:, -1])]
    whole = torch.stack([*lines, *discs]).amax(0)
    objects = torch.stack([lines[0], torch.where(connected, 0.0, lines[1]), *discs]).amax(0)
    return (255 * whole).round().to(torch.uint8)[:, None], (255 * objects).round() > 0


@dataclass(frozen=True)
class Scene:
    """Paths [m, k, 2] of m scenes: the discs' own and one elsewhere; one that leaves each disc; [m, others, k, 2]."""

    parts: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.parts[0])


def _scenes(side: int, style: Style, generator: torch.Generator, n: int) -> Scene:
    """Those of n scenes that come about, with either label: what does not fit drops out at once."""
    paths: list[Tensor] = []

    def keep(path: Tensor, found: Tensor) -> None:
        paths[:] = [one[found] for one in (*paths, path)]

    def path(dashes: int, taken: Tensor | None = None, begun: Tensor | None = None) -> None:
        many = len(paths[0]) if paths else n
        keep(*_path(side, style, dashes, generator, many, taken, begun))

    same = style.shared
    path(style.dashes)  # 0: the discs' own
    path(style.dashes, paths[0][:, -same:], paths[0][:, :same])  # 1: leaves the first disc
    path(style.dashes, paths[1], paths[0].flip(1)[:, :same])  # 2: leaves the second
    path(style.dashes, paths[0])  # 3: elsewhere
    for first, second in ((0, 3), (1, 2)):
        own = [first, second]
        for _ in range(style.others):
            path(style.short, torch.cat([paths[one] for one in own], 1))
            own.append(len(paths) - 1)
    many = style.others
    none = paths[0].new_zeros(len(paths[0]), 0, 2 * style.short + 1, 2)
    beside, around = (torch.stack(some, 1) if some else none for some in (paths[4 : 4 + many], paths[4 + many :]))
    return Scene((paths[0], paths[3], paths[1], paths[2], beside, around))


def _path(
    side: int, style: Style, dashes: int, generator: torch.Generator, n: int, taken: Tensor | None,
    begun: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Points float64 [n, 2 * dashes + 1, 2] of paths, half a step apart; and bool [n]: whether one was found.

    taken [n, k, 2]: points from which they keep apart. begun [n, k, 2]: their first points, by default anywhere.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(n, TRIES, *shape, generator=generator, device=generator.device, dtype=torch.float64)

    edge, points = style.disc + 0.5, 2 * dashes
    heading, first = 2 * pi * uniform(), edge + (side - 2 * edge) * uniform(1, 2)
    if begun is not None:
        first = begun[:, None].expand(-1, TRIES, -1, -1)
        last = begun.diff(dim=1)[:, -1:]  # none where a single point is given: then in any direction
        heading = torch.atan2(last[..., 0], last[..., 1]).expand(-1, TRIES) if last.shape[1] else heading
    along = torch.linspace(0, 1, points + 1 - first.shape[2], dtype=torch.float64, device=heading.device)
    start, end = (style.turn * (2 * one - 1) / points for one in uniform(2).unbind(2))
    angles = heading[..., None] + (start[..., None] + (end - start)[..., None] * along).cumsum(2)
    steps = style.step / 2 * torch.stack([angles.sin(), angles.cos()], -1)
    path = torch.cat([first, first[:, :, -1:] + steps.cumsum(2)], 2)
    inside = ((path >= edge) & (path <= side - edge)).flatten(2).all(2)
    image = torch.arange(n, device=inside.device)[:, None]
    chosen = inside.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :LOOKED_AT]
    path, fits = path[image, chosen], inside[image, chosen]
    if taken is not None:
        apart = (path[:, :, :, None] - taken[:, None, None]).square().sum(-1).flatten(2).amin(2)
        fits = fits & (apart >= style.gap**2)
    return path[image[:, 0], fits.to(torch.uint8).argmax(1)], fits.any(1)


def _dashes(side: int, style: Style, path: Tensor) -> Tensor:
    """[n, side, side] in 0..1: a dash around every second point of paths [n, 2 * dashes + 1, 2]."""
    middle, ahead = path[:, 1::2], path[:, 2::2] - path[:, :-1:2]
    half = style.ink / 2 * ahead / ahead.norm(dim=-1, keepdim=True)
    return torch.stack(
        [
            (1.0 - _distance(side, one, two)).clamp(0, 1)
            for one, two in zip((middle - half).unbind(1), (middle + half).unbind(1), strict=True)
        ]
    ).amax(0)


def _distance(side: int, one: Tensor, two: Tensor) -> Tensor:
    """[n, side, side]: how far the middle of each pixel is from the lines between points [n, 2], (y, x) in px."""
    along = torch.arange(side, device=one.device, dtype=one.dtype) + 0.5
    (ly, lx), (y, x) = (two - one).T[..., None, None], (along - one[..., None]).unbind(1)
    y, x = y[:, :, None], x[:, None, :]
    share = ((y * ly + x * lx) / (ly**2 + lx**2).clamp(min=1e-12)).clamp(0, 1)
    return ((y - share * ly).square() + (x - share * lx).square()).sqrt()
