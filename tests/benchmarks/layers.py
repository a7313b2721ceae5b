"""One attention layer of ViT-S on a batch of tokens, as work to be timed, and its input."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from variants import Attention, build

from .conditions import DIM, HEADS, Condition


def layer(spec: str, at: Condition, dim: int = DIM) -> Attention:
    """The layer in the mode of the condition. What starts at a neutral value is moved away from it."""
    torch.manual_seed(0)
    made = build(spec, dim=dim, num_heads=HEADS, grid=at.grid)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return made.train(at.mode == "training")


def tokens(at: Condition, dim: int = DIM) -> Tensor:
    """x [B, N, dim], the same for every variant; it wants a gradient where the layer is trained."""
    drawn = torch.randn(at.batch, at.grid[0] * at.grid[1], dim, generator=torch.Generator().manual_seed(1))
    return drawn.requires_grad_(at.mode == "training")


def work(module: nn.Module, x: Tensor, at: Condition) -> Callable[[], object]:
    """A forward in inference mode, or a forward and a backward that leaves gradients of x and of all parameters."""
    if at.mode == "inference":

        def forward() -> Tensor:
            with torch.inference_mode():
                return module(x, at.grid)

        return forward
    above = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))

    def forward_backward() -> None:
        module.zero_grad(set_to_none=True)
        x.grad = None
        module(x, at.grid).backward(above)

    return forward_backward


def executes(module: Attention, x: Tensor, at: Condition) -> str:
    """The backend that the work takes; it may differ with and without gradients."""
    with torch.set_grad_enabled(at.mode == "training"):
        return module.executes(x, at.grid)
