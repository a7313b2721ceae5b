"""Exact counters: what does not depend on the machine's mood, so that any change is a change of the code.

GMAC of one image's forward by the plain formula, parameters, graph breaks that torch.compile would meet, and the bytes
that autograd keeps for the backward.
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from harness.measure import cost
from variants.geometry import Grid


def counters(layer: nn.Module, x: Tensor, grid: Grid) -> dict[str, float]:
    """All of them for a layer on x [B, N, C]; no saved bytes in eval mode, where nothing is kept."""
    found = {
        "gmac": cost.count(OnGrid(layer, grid), x[:2].detach()),
        "params": cost.params(layer),
        "graph_breaks": graph_breaks(layer, x, grid),
    }
    return found | ({"saved_bytes": saved_bytes(layer, x, grid)} if layer.training else {})


class OnGrid(nn.Module):
    """A layer that is told its grid once, so that it is called with x alone."""

    def __init__(self, layer: nn.Module, grid: Grid):
        super().__init__()
        self.layer, self.grid = layer, grid
        self.train(layer.training)  # or the count would put the layer back into another mode

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, self.grid)


def graph_breaks(layer: nn.Module, x: Tensor, grid: Grid) -> int:
    """How often torch.compile would leave its graph in a forward; 0 is one whole graph."""
    torch._dynamo.reset()
    with warnings.catch_warnings(), torch.set_grad_enabled(layer.training):
        warnings.simplefilter("ignore")  # on what breaks the graph, which is counted
        explained = torch._dynamo.explain(layer)(x, grid)
    torch._dynamo.reset()
    return explained.graph_break_count


def saved_bytes(layer: nn.Module, x: Tensor, grid: Grid) -> int:
    """Bytes that autograd keeps from the forward to the backward: each storage once and whole, parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    kept: dict[int, Tensor] = {}  # holds the tensors, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, _unchanged):
        layer(x, grid)
    return sum(tensor.untyped_storage().nbytes() for address, tensor in kept.items() if address not in own)


def _unchanged(tensor: Any) -> Any:
    return tensor
