"""SP-SA: a learned prior over the offset multiplies the content score.

    logit[h,i,j] = Omega_h(Delta) <q_i, k_j> / sqrt(D),   Omega_h(Delta) = w2_h . ReLU(W1_h Delta + b1_h) + b2_h

Source: Zhou et al., SP-ViT: Learning 2D Spatial Priors for Vision Transformers, arXiv 2206.07662, and the authors'
code. W1 is drawn trunc-normal(0.02), b1 = 0, w2 = 0 and b2 = 1, so Omega = 1 and the layer is plain attention at first;
at step 0 the hidden layer has zero gradient.
Departures: Omega is computed on the (2h-1)(2w-1) distinct offsets, not on all pairs; `hidden` is 32 a head, the paper's
best, where the code has C/H; the columns of W1 are (dy, dx), in the code (x, y); q, k and v come from one Linear with a
bias, as in DeiT.
Resolution: W1, b1, w2, b2 do not know the grid; raw offsets of a new grid are a new input. The table form is resampled.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from variants import geometry
from variants.geometry import Grid
from variants.registry import register
from variants.relation import Site, SpatialRelation, Term


@register("sp_sa", family=("priors", "paper"))
class SPSA(SpatialRelation):
    """Omega [H or 1, 2h-1, 2w-1] by a two-layer MLP on the raw offset.

    form: `mlp`; `linear`, w . Delta + b; `table`, one entry an offset (the ablation of interactions).
    scope: one prior a head and layer (`head`), one a layer, one for the whole network.
    combine: `mul` multiplies the score; `add` adds to it, starts at 0 and has no last bias (softmax ignores it).
    """

    equation = "logit *= MLP_h(Delta)"
    source = "SP-ViT, Zhou et al., arXiv 2206.07662"
    starts_as_sa = True

    def __init__(
        self,
        site: Site,
        *,
        hidden: int = 32,
        form: Literal["mlp", "linear", "table"] = "mlp",
        scope: Literal["head", "layer", "network"] = "head",
        combine: Literal["mul", "add"] = "mul",
    ):
        super().__init__(site)
        if hidden < 1:
            raise ValueError(f"sp_sa[hidden={hidden}] has no hidden unit; hidden is a whole number from 1")
        if form != "mlp" and hidden != 32:
            raise ValueError(f"sp_sa[form={form}] has no hidden layer, so hidden={hidden} means nothing; leave it out")
        self.combine = combine
        heads = site.num_heads if scope == "head" else 1
        forms = {
            "mlp": lambda: MLP(heads, hidden, combine == "mul"),
            "linear": lambda: Linear(heads, combine == "mul"),
            "table": lambda: Table(heads, site.grid, combine == "mul"),
        }
        key = ("sp_sa", form, hidden, combine)
        if scope != "network":
            self.function = forms[form]()
        else:
            if key not in site.shared:
                site.shared[key] = forms[form]()
            self.function = site.shared[key]

    def prior(self, offsets: Tensor) -> Term:
        return self.function(offsets) if self.combine == "mul" else None

    def bias(self, offsets: Tensor) -> Term:
        return self.function(offsets) if self.combine == "add" else None

    def no_weight_decay(self) -> set[str]:
        if isinstance(self.function, Linear):
            return set()
        # b1 is 1-D in the authors' code, so not decayed, W1 and w2 are; decay would pull a table from 1 to 0
        return {"function.b1" if isinstance(self.function, MLP) else "function.table"}

    def resolution_rule(self) -> str:
        return "resampled" if isinstance(self.function, Table) else "recomputed"

    def resample(self, grid: Grid) -> None:
        if isinstance(self.function, Table):
            self.function.resample(grid)


class MLP(nn.Module):
    """offsets [2, 2h-1, 2w-1] -> [heads, 2h-1, 2w-1]: Delta -> hidden -> 1 for each head.

    The hidden layer is not kept for the backward, which makes it again: it would be larger than a small batch.
    """

    def __init__(self, heads: int, hidden: int, last_bias: bool):
        super().__init__()
        self.w1 = nn.Parameter(nn.init.trunc_normal_(torch.empty(heads, hidden, 2), std=0.02))
        self.b1 = nn.Parameter(torch.zeros(heads, hidden))
        self.w2 = nn.Parameter(torch.zeros(heads, hidden))
        self.b2 = nn.Parameter(torch.ones(heads)) if last_bias else None

    def forward(self, offsets: Tensor) -> Tensor:
        flat = offsets.flatten(1)
        if torch.is_grad_enabled():
            out = _TwoLayers.apply(flat, self.w1, self.b1, self.w2)
        else:
            out = _two_layers(flat, self.w1, self.b1, self.w2)
        out = out.view(-1, *offsets.shape[1:])
        return out if self.b2 is None else out + self.b2[:, None, None]


def _hidden(offsets: Tensor, w1: Tensor, b1: Tensor) -> Tensor:
    """[heads, hidden, S]: the first layer on offsets [2, S]."""
    return torch.addmm(b1.reshape(-1, 1), w1.reshape(-1, 2), offsets).relu().view(*b1.shape, -1)


def _two_layers(offsets: Tensor, w1: Tensor, b1: Tensor, w2: Tensor) -> Tensor:
    return torch.bmm(w2[:, None], _hidden(offsets, w1, b1)).squeeze(1)


class _TwoLayers(torch.autograd.Function):
    """_two_layers, its hidden layer made again in the backward, which can be differentiated in its turn."""

    generate_vmap_rule = True

    @staticmethod
    def forward(offsets: Tensor, w1: Tensor, b1: Tensor, w2: Tensor) -> Tensor:
        return _two_layers(offsets, w1, b1, w2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        offsets, w1, b1, w2 = ctx.saved_tensors
        hidden = _hidden(offsets, w1, b1)
        below = torch.ops.aten.threshold_backward(w2[:, :, None] * above[:, None], hidden, 0.0)  # ReLU's
        at = torch.cat([offsets, torch.ones_like(offsets[:1])])  # and 1, for the bias
        first = torch.mm(below.flatten(0, 1), at.mT).view(*b1.shape, 3)
        return None, first[..., :2], first[..., 2], torch.bmm(hidden, above[:, :, None]).squeeze(-1)


class Linear(nn.Module):
    """offsets [2, 2h-1, 2w-1] -> [heads, 2h-1, 2w-1]: w_h . Delta + b_h."""

    def __init__(self, heads: int, last_bias: bool):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(heads, 2))
        self.b = nn.Parameter(torch.ones(heads)) if last_bias else None

    def forward(self, offsets: Tensor) -> Tensor:
        out = torch.einsum("hc,cyx->hyx", self.w, offsets)
        return out if self.b is None else out + self.b[:, None, None]


class Table(nn.Module):
    """offsets [2, 2h-1, 2w-1] -> [heads, 2h-1, 2w-1]: one free entry an offset, resampled to other grids."""

    def __init__(self, heads: int, grid: Grid, last_bias: bool):
        super().__init__()
        h, w = grid
        neutral = 1.0 if last_bias else 0.0
        self.table = nn.Parameter(torch.full((heads, 2 * h - 1, 2 * w - 1), neutral))

    def forward(self, offsets: Tensor) -> Tensor:
        return geometry.lookup(self.table, offsets)

    def resample(self, grid: Grid) -> None:
        h, w = grid
        self.table = nn.Parameter(geometry.resample(self.table.detach(), (2 * h - 1, 2 * w - 1)))
