"""Keys of rows and of columns as further numbers of queries and keys, which attention meets by its own product.

    <q_i, K^y(dy) + K^x(dx)> = sum_y a_i[y] [y = y_j] + sum_x b_i[x] [x = x_j]
    a_i[y] = <q_i, K^y(y - y_i)>,   b_i[x] = <q_i, K^x(x - x_i)>

So a query gets h + w numbers more, a key marks its row and its column among as many, and nothing is made of all pairs.
A prefix token has zeros there. Values are filled up with zeros, since fused kernels want one width of all three, and
all up to a multiple of 8, since some of CUDA's kernels want that.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from variants import geometry
from variants.backends.eager import met, prefix_of
from variants.geometry import Grid
from variants.relation import Terms


def separable(keys: tuple[Tensor, ...]) -> bool:
    """Whether each table of keys is one of rows or one of columns."""
    return all(1 in table.shape[-2:] for table in keys)


def width(numbers: int, terms: Terms) -> int:
    """How many numbers a head of so many has, at most, once it is widened."""
    whole = numbers + sum(terms.grid)
    return whole + _short(whole) if len(terms.keys) else numbers


def widened(q: Tensor, k: Tensor, v: Tensor, terms: Terms) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v [B, H, P+N, width or less], with queries that are not yet scaled: by the root of D still."""
    prefix = prefix_of(q.shape[2], terms)
    rows = [table for table in terms.keys if table.shape[-2] > 1]
    others = [table for table in terms.keys if table.shape[-2] == 1]
    products, marks = [], []
    for tables in (rows, others):
        if tables:
            table = sum(tables[1:], start=tables[0])
            products.append(met(q[:, :, prefix:], table, terms.grid).flatten(4).flatten(2, 3))
            marks.append(_marks(table, terms.grid))
    asked, marked = torch.cat(products, -1).to(q.dtype), torch.cat(marks, -1).to(k.dtype)
    room = (0, _short(q.shape[-1] + asked.shape[-1]), prefix, 0)
    asked, marked = F.pad(asked, room), F.pad(marked, room).expand(*k.shape[:3], -1)
    return torch.cat([q, asked], -1), torch.cat([k, marked], -1), F.pad(v, (0, asked.shape[-1]))


def _short(numbers: int) -> int:
    """What so many lack to a multiple of 8."""
    return -numbers % 8


def _marks(table: Tensor, grid: Grid) -> Tensor:
    """bool [N, h, w or 1]: the row of each patch, or its column; all patches alike where the table has one entry."""
    y, x = geometry.coordinates(grid, table.device)
    place, side = (y, grid[0]) if table.shape[-2] > 1 else (x, grid[1]) if table.shape[-1] > 1 else (0 * x, 1)
    return place[:, None] == torch.arange(side, device=table.device)
