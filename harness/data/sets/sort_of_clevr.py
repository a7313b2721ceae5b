"""`sort_of_clevr:QUESTION`: six coloured shapes, and a question about the red one that takes the others to answer.

The relational questions of Sort-of-CLEVR (Santoro et al., A simple neural network module for relational reasoning,
arXiv 1706.01427), on its pictures: 75x75 px, white, a circle or a square of 11 px in each of six colours, centres at
least 10 px apart.

    nearest     which shape has the object that lies nearest to the red one
    furthest    which shape has the object that lies furthest from it
    count       how many objects have the red one's shape, itself among them: 1 to 6

Departures: the question is always about the red object, so a picture has one answer and no question has to be put into
the model. Answers are equally frequent. For nearest and furthest two or three of the five others are squares, whatever
the answer, so neither their number nor the shape of one colour tells it; no two objects are equally near (or far).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from harness.data.dataset import Dataset
from harness.data.sets.generated import balanced, generated

SIDE, HALF, APART = 75, 5, 10  # px: of a picture, from the centre of an object to its side, between centres
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 156, 0), (128, 128, 128), (255, 255, 0))  # the first is asked
SHAPES = ("circle", "square")
QUESTIONS = {"nearest": SHAPES, "furthest": SHAPES, "count": ("1", "2", "3", "4", "5", "6")}
TRIES = 24  # places that are drawn for an object; a picture with an object that finds none is drawn anew


def sort_of_clevr(question: str, data_dir: Path | None, seed: int) -> Dataset:
    """The question's training set without end, and samples of it."""
    name, classes = f"sort_of_clevr:{question}", QUESTIONS[question]
    return generated(name, classes, partial(draw, question), partial(fresh, question), seed)


def fresh(question: str, generator: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
    """n new images uint8 [n, 3, 75, 75] and answers int64 [n], on the generator's device; each equally often."""
    labels = balanced(len(QUESTIONS[question]), generator, n)
    return draw(question, generator, labels)[0], labels


def draw(question: str, generator: torch.Generator, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Images uint8 [n, 3, 75, 75] of answers int64 [n], and bool [n, 75, 75]: the red object, and those that answer."""
    centres, squares, asked = scenes(question, generator, labels)
    shapes = _shapes(centres, squares)
    pictures = torch.full((len(labels), 3, SIDE, SIDE), 255, dtype=torch.uint8, device=labels.device)
    for k, colour in enumerate(torch.tensor(COLOURS, dtype=torch.uint8, device=labels.device)):
        pictures = torch.where(shapes[:, k, None], colour.view(1, 3, 1, 1), pictures)
    return pictures, (shapes & asked[..., None, None]).any(1)


def scenes(question: str, generator: torch.Generator, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each colour the centre int64 [n, 6, 2], (y, x); bool [n, 6], whether it is a square, and whether it is asked.

    Asked are the red object and those that answer.
    """
    n, at = len(labels), generator.device
    image, answering = torch.arange(n, device=at), question != "count"
    centres = _centres(generator, n, answering)
    order = torch.rand(n, len(COLOURS), generator=generator, device=at)
    first = torch.randint(2, (n,), generator=generator, device=at)
    if not answering:
        order[:, 0] = -1.0  # the red one is the first of those that are alike
        alike = order.argsort(1).argsort(1) <= labels[:, None]
        return centres, alike == first[:, None].bool(), alike
    gaps = (centres[:, 1:] - centres[:, :1]).square().sum(-1)  # of the red one and the others
    answer = 1 + (gaps.argmin(1) if question == "nearest" else gaps.argmax(1))
    order[:, 0], order[image, answer] = 2.0, 1.0  # behind the four others
    many = 2 + torch.randint(2, (n,), generator=generator, device=at)  # squares among the five
    squares = order.argsort(1).argsort(1) < (many - labels)[:, None]
    squares[image, answer], squares[:, 0] = labels.bool(), first.bool()
    asked = torch.zeros_like(squares)
    asked[:, 0] = asked[image, answer] = True
    return centres, squares, asked


def _centres(generator: torch.Generator, n: int, apart: bool) -> Tensor:
    """int64 [n, 6, 2]: centres (y, x) of objects; apart: no two are equally far from the first."""
    at = generator.device
    found = torch.empty(0, len(COLOURS), 2, dtype=torch.int64, device=at)
    while len(found) < n:
        m = n - len(found)
        centres = torch.randint(HALF, SIDE - HALF, (m, len(COLOURS), TRIES, 2), generator=generator, device=at)
        chosen = centres[:, :1, 0]
        good = torch.ones(m, dtype=torch.bool, device=at)
        for k in range(1, len(COLOURS)):
            free = ((centres[:, k, :, None] - chosen[:, None]).square().sum(-1) >= APART**2).all(-1)
            one = centres[torch.arange(m, device=at), k, free.to(torch.uint8).argmax(1)]
            chosen, good = torch.cat([chosen, one[:, None]], 1), good & free.any(1)
        if apart:
            gaps = (chosen[:, 1:] - chosen[:, :1]).square().sum(-1).sort(1).values
            good &= (gaps.diff(dim=1) > 0).all(1)
        found = torch.cat([found, chosen[good]])
    return found


def _shapes(centres: Tensor, squares: Tensor) -> Tensor:
    """bool [n, 6, 75, 75]: the pixels of each object."""
    along = torch.arange(SIDE, device=centres.device)
    dy, dx = (along - centres[..., axis, None] for axis in (0, 1))  # [n, 6, 75]
    y, x = dy[..., :, None], dx[..., None, :]
    return torch.where(
        squares[..., None, None], torch.maximum(y.abs(), x.abs()) <= HALF, y**2 + x**2 <= HALF * (HALF + 1)
    )
