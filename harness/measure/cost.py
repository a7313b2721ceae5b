"""Parameters, and GMAC of one image's forward: 1e9 multiply-adds, what ViT papers print as "GFLOPs".

Counted by fvcore on a trace of the eager path, where no attention is fused away. Matrix products, convolutions and
einsums count their multiply-adds; LayerNorm counts five an element (fvcore's rule, as in the published counts: DeiT-S
4.608, of which 0.009 are norms); element-wise work, softmax and resampling count nothing. An operation that is on none
of these lists is an error and not a smaller number.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import get_shape
from torch import Tensor, nn

from variants import Attention

# what moves, compares or works element by element, and so holds no multiply-add that the published counts include
FREE = frozenset(
    f"aten::{name}"
    for names in (
        ("add", "add_", "sub", "rsub", "mul", "div", "neg", "square", "pow", "abs", "prod", "sum", "mean", "norm"),
        ("exp", "log", "log1p", "log2", "sqrt", "rsqrt", "sin", "cos", "tanh", "sigmoid", "softmax", "softplus"),
        ("relu", "gelu", "silu", "clamp", "clamp_min", "minimum", "maximum", "amax", "remainder", "floor", "round"),
        ("eq", "ne", "lt", "le", "gt", "ge", "bitwise_not", "bitwise_and", "bitwise_or", "__and__", "__or__", "all"),
        ("where", "masked_fill", "index_select", "gather", "unfold", "unflatten", "flip", "roll", "pad", "clone"),
        ("arange", "zeros", "ones", "eye", "fill_", "full", "new_zeros", "meshgrid", "alias", "broadcast_tensors"),
        ("expand_as", "repeat", "floor_divide", "linalg_vector_norm", "searchsorted", "mT", "sign", "movedim"),
        ("upsample_bicubic2d", "_upsample_bicubic2d_aa", "upsample_bilinear2d"),
    )
    for name in names
)


def params(model: nn.Module) -> int:
    """The number of learned parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count(model: nn.Module, images: Tensor) -> float:
    """GMAC of one forward of the batch `images` [B, c, H, W], divided by B: by the plain formula, in eval mode.

    Windows count all pairs, as the plain formula computes them. A relation is evaluated once a batch, so its share
    falls with B. Raises NotImplementedError for an operation that is not known to be counted or free.
    """
    was_training = model.training
    model.eval()
    try:
        with eager(model), _quiet(), torch.no_grad(), torch.compiler.set_stance("force_eager"):
            analysis = FlopCountAnalysis(model, images)
            analysis.set_op_handle("aten::einsum", _einsum, "aten::addmm", _addmm)
            analysis.set_op_handle("aten::scaled_dot_product_attention", _sdpa)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            total = analysis.total()
            unknown = sorted(set(analysis.unsupported_ops()) - FREE)
    finally:
        model.train(was_training)
    if unknown:
        raise NotImplementedError(f"the cost of {', '.join(unknown)} is not known; list it in harness/measure/cost.py "
                                  f"as free or give it a handler")  # fmt: skip
    return total / len(images) / 1e9


def of_pairs(number: float, head_dim: int) -> float:
    """GMAC of so many pairs of a query and a key: their product, and that of their weight with the value."""
    return number * 2 * head_dim / 1e9


@contextlib.contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Every attention takes the plain formula for a while."""
    before = [(module, module.backend) for module in model.modules() if isinstance(module, Attention)]
    for module, _ in before:
        module.backend = "eager"
    try:
        yield
    finally:
        for module, backend in before:
            module.backend = backend


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The tracer's warnings are about re-using a trace with other shapes, which nobody does here."""
    level = logging.getLogger("fvcore").level
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("fvcore").setLevel(level)


def _einsum(inputs: list[Any], outputs: list[Any]) -> int:
    """Two operands: the product over all letters. One operand only moves or sums."""
    equation = inputs[0].toIValue()
    shapes = [get_shape(tensor) for tensor in inputs[1].node().inputs()]
    letters: dict[str, int] = {}
    for names, shape in zip(equation.split("->")[0].replace(" ", "").split(","), shapes, strict=True):
        for letter, size in zip(names, shape, strict=True):
            letters[letter] = max(size, letters.get(letter, 1))
    return prod(letters.values()) if len(shapes) > 1 else 0


def _addmm(inputs: list[Any], outputs: list[Any]) -> int:
    (n, k), (_, m) = get_shape(inputs[1]), get_shape(inputs[2])
    return n * k * m


def _sdpa(inputs: list[Any], outputs: list[Any]) -> int:
    *lead, tokens, width = get_shape(inputs[0])
    keys, values = get_shape(inputs[1])[-2], get_shape(inputs[2])[-1]
    return prod(lead) * tokens * keys * (width + values)
