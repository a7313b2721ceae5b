"""`probes:TASK`: generated images whose label is one spatial relation, and nothing else gives it away.

24x24 px, grey, 6x6 cells of 4x4 px: with patches of 4 px a cell is a patch. The ground is noise. What marks the objects
is the same whatever the label, so no patch and no histogram tells it; but for `corner`, where a mark lies does not tell
it either, since each mark lies anywhere equally often whatever the label (in `mirror`: with the same odds).

    corner      in which quadrant is the mark: absolute position
    same_row    are two marks in one row, or in one column: direction. The distances are the same for both
    distance    are two marks 1, 2 or at least 3 cells apart (Euclid, rounded down): distance. The direction to the
                nearest 45 degrees is right in 42 %, the exact one in 71 %, a chance of 33 %
    mirror      are two marks in a row mirror images about the vertical midline: pairs of positions. The offset hardly
                says so: a function of it alone is right in 7 of 12 cases at best, a chance of 1/2, and a weight for
                each column, the two added, in 3 of 4
    texture     is the cell to the right of the mark striped across or along: what lies at one offset. The cell to the
                left is striped the other way, and so is the cell below to the one above: what looks alike in opposite
                directions sees one of each. A decoy without a mark has the same, with right and left the other way
                round, so its neighbours alone do not tell it. No object lies at the border

A model that cannot express a relation stays at chance, 1/len(classes).
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from harness.data.dataset import Dataset
from harness.data.sets.generated import balanced, generated

CELLS, CELL = 6, 4  # cells on a side, px on a side of a cell
PROBES = {
    "corner": ("top left", "top right", "bottom left", "bottom right"),
    "same_row": ("one column", "one row"),
    "distance": ("1", "2", "3 and more"),
    "mirror": ("apart", "mirrored"),
    "texture": ("across", "along"),
}
# columns of two marks in a row and their odds in 12: mirrored about the midline; not mirrored, each column as likely.
# No other choice of such odds gives the offset less to say
MIRRORED = {(0, 5): 2, (1, 4): 4, (2, 3): 6}
APART = {(0, 3): 2, (1, 2): 3, (1, 3): 1, (2, 4): 1, (2, 5): 2, (3, 4): 3}


def probe(task: str, data_dir: Path | None, seed: int) -> Dataset:
    """The task's training set without end, and samples of it."""
    return generated(f"probes:{task}", PROBES[task], partial(draw, task), partial(fresh, task), seed)


def fresh(task: str, generator: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
    """n new images uint8 [n, 1, 24, 24] and labels int64 [n], on the generator's device; each class equally often."""
    labels = balanced(len(PROBES[task]), generator, n)
    return draw(task, generator, labels)[0], labels


def draw(task: str, generator: torch.Generator, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Images uint8 [n, 1, 24, 24] of labels int64 [n], and bool [n, 24, 24]: the marks, the cell that is asked for."""
    n, at = len(labels), generator.device
    if task == "texture":
        ink, objects = _striped(generator, labels)
    else:
        chosen = torch.rand(n, generator=generator, device=at).double() + labels  # float32: stays below the next label
        pair = torch.searchsorted(_odds(task, str(at)), chosen, right=True) % CELLS**4
        cells = torch.zeros(n, CELLS**2, dtype=torch.bool, device=at)
        cells.scatter_(1, torch.stack([pair // CELLS**2, pair % CELLS**2], 1), True)
        ink = objects = _pixels(cells.view(n, CELLS, CELLS, 1, 1))
    noise = torch.randint(0, 64, ink.shape, generator=generator, device=at, dtype=torch.uint8)
    return (32 + noise + 128 * ink.to(torch.uint8))[:, None], objects


def _pixels(cells: Tensor) -> Tensor:
    """[n, 6, 6, 4 or 1, 4 or 1] -> [n, 24, 24]: the pixels of every cell."""
    return cells.expand(-1, -1, -1, CELL, CELL).transpose(2, 3).reshape(-1, CELLS * CELL, CELLS * CELL)


@cache
def _odds(task: str, device: str) -> Tensor:
    """[classes * 36 * 36]: label plus the cumulated odds of each pair of cells, given the label."""
    ends = [odds(task, label).flatten().cumsum(0).clamp(max=1.0) for label in range(len(PROBES[task]))]
    return torch.cat([label + one for label, one in enumerate(ends)]).to(device)


def odds(task: str, label: int) -> Tensor:
    """[36, 36] float64, of sum 1: how likely the two marks are to lie on two cells; one mark lies on a cell twice."""
    k = torch.arange(CELLS**2)
    row, column = k // CELLS, k % CELLS
    same = {"row": row[:, None] == row, "column": column[:, None] == column}
    apart = ((row[:, None] - row) ** 2 + (column[:, None] - column) ** 2).double().sqrt()
    if task == "corner":
        wanted = (k[:, None] == k) & (2 * (row >= CELLS // 2) + (column >= CELLS // 2) == label)
    elif task == "same_row":
        wanted = same["row" if label else "column"] & (k[:, None] != k)
    elif task == "distance":
        wanted = apart.floor().clamp(max=3) == label + 1
    else:
        table = torch.zeros(CELLS, CELLS, dtype=torch.float64)
        for (left, right), share in (MIRRORED if label else APART).items():
            table[left, right] = table[right, left] = share
        wanted = same["row"] * table[column[:, None], column]
    pairs = wanted.double()
    for _ in range(200 if task == "distance" else 0):  # Sinkhorn: until each cell is marked equally often
        pairs /= (pairs.sum(0) * pairs.sum(1)[:, None]).sqrt()
    return pairs / pairs.sum()


@cache
def _apart() -> Tensor:
    """int64 [k, 2, 2]: pairs of cells (row, column), none at the border, whose crosses of five cells do not meet."""
    inner = torch.arange(1, CELLS - 1)
    cells = torch.cartesian_prod(inner, inner)
    pairs = torch.stack([cells.repeat_interleave(len(cells), 0), cells.repeat(len(cells), 1)], 1)
    return pairs[(pairs[:, 0] - pairs[:, 1]).abs().sum(1) > 2]


def _striped(generator: torch.Generator, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Ink and objects, bool [n, 24, 24]: a mark among striped cells, the right one striped across (0) or along (1)."""
    n, at = len(labels), generator.device
    image = torch.arange(n, device=at)

    def drawn(high: int, *shape: int) -> Tensor:
        return torch.randint(0, high, (n, *shape), generator=generator, device=at)

    places = _apart().to(at)
    places = places[drawn(len(places))]
    along = drawn(2, CELLS, CELLS)
    for (row, column), at_right in ((places[:, 1].unbind(1), 1 - labels), (places[:, 0].unbind(1), labels)):
        above = drawn(2)
        for down, right, value in ((0, 1, at_right), (0, -1, 1 - at_right), (-1, 0, above), (1, 0, 1 - above)):
            along[image, row + down, column + right] = value
    stripes = torch.arange(CELL, device=at) < CELL // 2
    cells = torch.where(along.bool()[..., None, None], stripes, stripes[:, None])
    cells[image, row, column] = True
    objects = torch.zeros(n, CELLS, CELLS, dtype=torch.bool, device=at)
    objects[image, row, column] = objects[image, row, column + 1] = True
    return _pixels(cells), _pixels(objects[..., None, None])
