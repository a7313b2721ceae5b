"""Rules for what a layer computes: its output and its map, alone and in sums, on every backend and in bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.check.cases import BATCH, CASES, HEADS, Broken, Case, built, finite, perturbed, require, same
from harness.measure.cost import count
from variants.attention import Attention
from variants.backends import eager
from variants.relation import Unsupported


def output_is_finite(spec: str, case: Case) -> None:
    """The output has the shape of the input and is finite, and so are the gradients."""
    for attention in (built(spec, case), perturbed(spec, case, dtype=torch.float32)):
        x = case.inputs(dtype=torch.float32).requires_grad_()
        out = attention(x, case.grid)
        require(out.shape == x.shape, f"the output is {list(out.shape)} for an input of {list(x.shape)}; return the "
                                      f"input's shape")  # fmt: skip
        finite(out, "the output")
        out.square().sum().backward()
        for name, parameter in [("the input", x), *attention.named_parameters()]:
            if parameter.grad is not None:
                finite(parameter.grad, f"the gradient of {name}")


def map_is_what_attends(spec: str, case: Case) -> None:
    """The attention map has rows that sum to 1, and is the one by which the values are mixed."""
    attention = perturbed(spec, case)
    q, k, v = attention.project(case.inputs(), case.grid)
    found, shape = attention.weights(q, k, case.grid), (BATCH, HEADS, q.shape[2], q.shape[2])
    least = float(found.detach().min())
    require(found.shape == shape, f"weights is {list(found.shape)}, expected [B, H, P+N, P+N] = {list(shape)}")
    require(least >= 0, f"weights has {least:.2g}; an attention map is finite and not negative")
    same(found.sum(-1), torch.ones_like(found[..., 0]), "the rows of weights and 1", "take a softmax over the keys")
    if type(attention).attend is Attention.attend:
        mixed = eager.apply(found, v, attention.terms(q, case.grid))
        same(attention.attend(q, k, v, case.grid), mixed, "the output and weights @ v",
             "a class that overrides weights overrides attend too")  # fmt: skip


def images_are_independent(spec: str, case: Case) -> None:
    """The order of the batch does not matter, and images do not see each other."""
    attention, x = perturbed(spec, case), case.inputs()
    for mode in (True, False):
        out = attention.train(mode)(x, case.grid)
        turned, alone = attention(x.flip(0), case.grid).flip(0), attention(x[:1], case.grid)
        same(turned, out, "an image among others in another order and", "compute each image on its own")
        same(alone, out[:1], "an image alone and in a batch", "take no statistics over the batch")


def prefix_tokens_are_neutral(spec: str, case: Case) -> None:
    """Prefix tokens see and are seen by all, and do not know where a patch lies or which of them they are."""
    attention, two = perturbed(spec, case), Case(case.grid, 2, case.layer)
    q, k, v = attention.project(two.inputs(), case.grid)
    n = q.shape[2] - 2
    seen = attention.weights(q, k, case.grid)
    require((seen[..., :2] > 0).all() and (seen[..., :2, :] > 0).all(),
            "a pair with a prefix token in it has weight 0; such pairs are always kept")  # fmt: skip
    out = attention.attend(q, k, v, case.grid)
    order = torch.cat([torch.arange(2), 2 + torch.randperm(n, generator=torch.Generator().manual_seed(2))])
    same(attention.attend(q[:, :, order], k[:, :, order], v[:, :, order], case.grid)[:, :, :2], out[:, :, :2],
         "a prefix token's outputs for patches in another order and", "a pair with a prefix token in it has prior 1, "
         "bias 0 and no keys (geometry.pad_prefix)")  # fmt: skip
    swap = torch.tensor([1, 0, *range(2, n + 2)])
    same(attention.attend(q[:, :, swap], k[:, :, swap], v[:, :, swap], case.grid), out[:, :, swap],
         "the outputs with two prefix tokens exchanged and", "treat all prefix tokens alike")  # fmt: skip


def backends_equal_eager(spec: str, case: Case) -> None:
    """Every backend that serves it gives eager's output and gradients in float64."""
    expected = _trained(spec, case, "eager")
    for backend in ("auto", "sdpa", "tiled", "grouped"):  # flex has no float64
        try:
            found = _trained(spec, case, backend)
        except Unsupported:
            continue
        for name, value in expected.items():
            same(found[name], value, f"backend={backend} and eager, in {name},", "eager defines the numbers")


def _trained(spec: str, case: Case, backend: str) -> dict[str, Tensor]:
    """The output and all gradients of one step."""
    attention, x = perturbed(spec, case, backend=backend), case.inputs().requires_grad_()
    out = attention(x, case.grid)
    out.mul(case.inputs(seed=1)).sum().backward()
    gradients = {name: p.grad for name, p in attention.named_parameters() if p.grad is not None}
    return {"output": out, "gradient of the input": x.grad} | gradients


def bfloat16(spec: str, case: Case) -> None:
    """Under autocast to bfloat16 the output is finite, and no more than twice as far off as that of sa."""
    x = case.inputs(dtype=torch.float32)

    def gap(attention: Attention) -> float:
        with torch.no_grad():
            exact = attention(x, case.grid)
            with torch.autocast("cpu", torch.bfloat16):
                rounded = attention(x, case.grid).float()
        finite(rounded, "the output under autocast to bfloat16")
        return float((rounded - exact).norm() / exact.norm())

    mine, plain = (gap(perturbed(one, case, dtype=torch.float32)) for one in (spec, "sa"))
    require(mine <= 2 * plain,
            f"under autocast to bfloat16 the output is {mine:.2%} off, that of sa {plain:.2%}; compute what is "
            f"delicate in float32")  # fmt: skip


def sums_hold(spec: str, case: Case) -> None:
    """In a sum it keeps to what the others say: with a window of one patch, patches see themselves alone."""
    windowed = f"{spec}+window[height=0,width=0]"
    attention = perturbed(windowed, case)
    q, k, v = attention.project(case.inputs(), case.grid)
    among = attention.weights(q, k, case.grid)[:, :, case.prefix :, case.prefix :]
    alone = torch.diag_embed(among.diagonal(dim1=-2, dim2=-1))
    require(not (among - alone).any(), f"{windowed} lets a patch see others; a weights method of your own calls "
            f"super().weights or masks with variants.backends.eager.keep")  # fmt: skip
    out = attention.attend(q, k, v, case.grid)
    finite(out, f"the output of {windowed}")
    if type(attention).attend is not Attention.attend:
        wider = perturbed(f"{spec}+window[height=99,width=99]", case)
        require(not wider.attend(q, k, v, case.grid).equal(out), f"{spec}+window attends as if no window were there; "
                f"an attend method of your own reads self.terms or calls super().attend")  # fmt: skip


def cost_can_be_counted(spec: str, case: Case) -> None:
    """Its operations are known to the counter of GMACs."""
    if case == CASES[0]:  # tracing is slow, and every case has the same operations
        try:
            count(_OnGrid(built(spec, case), case), case.inputs(dtype=torch.float32))
        except NotImplementedError as error:
            raise Broken(f"{error}, or write the term with others") from error


class _OnGrid(nn.Module):
    """x [B, P+N, C] -> [B, P+N, C], on the case's grid: the counter calls a model with one argument."""

    def __init__(self, attention: Attention, case: Case):
        super().__init__()
        self.attention, self.grid = attention, case.grid

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, self.grid)
