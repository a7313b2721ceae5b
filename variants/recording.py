"""Where operations are not just executed: recorded for a graph, on tensors without numbers, or under a transform.

torch.export and torch.jit.trace record a graph that holds for batches of other sizes as well, FakeTensorMode runs
without data, torch.func works on stacks of inputs or of weights. What is the same for all inputs, masks and windows, is
computed outside of all that, with real numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._C import _get_dispatch_mode, _TorchDispatchModeKey
from torch._C._functorch import peek_interpreter_stack
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._subclasses import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes


def recorded() -> bool:
    """Whether what runs now may be meant for other sizes, or for more than it sees; not so for torch.compile."""
    if torch.compiler.is_exporting() or torch.jit.is_tracing():
        return True
    if torch.compiler.is_dynamo_compiling():
        return False
    modes = (_TorchDispatchModeKey.FAKE, _TorchDispatchModeKey.PROXY)
    return peek_interpreter_stack() is not None or any(_get_dispatch_mode(mode) is not None for mode in modes)


def watched() -> bool:
    """Whether a mode (as torch's FlopCounterMode) or a profiler is told of each operation, in this thread alone."""
    return torch._C._len_torch_dispatch_stack() > 0 or torch.autograd._profiler_enabled()


@contextmanager
def real_numbers() -> Iterator[None]:
    """Inside, operations are executed on the CPU unless they name a device, and leave tensors for any later use."""
    with (
        temporarily_clear_interpreter_stack(),
        _disable_current_modes(),
        torch.inference_mode(False),
        torch.device("cpu"),
    ):
        yield


def is_fake(tensor: Tensor) -> bool:
    """Whether a tensor meets none with numbers: that of a FakeTensorMode which is not one of torch.export's."""
    if torch.compiler.is_dynamo_compiling():
        return False
    return isinstance(tensor, FakeTensor) and not tensor.fake_mode.allow_non_fake_inputs


def as_like(constant: Tensor, like: Tensor) -> Tensor:
    """A real tensor where it meets `like`: a fake one where that is fake."""
    mode: Any = getattr(like, "fake_mode", None)
    return mode.from_tensor(constant).to(like.device) if is_fake(like) else constant
