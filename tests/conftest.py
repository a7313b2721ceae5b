"""What all tests share: one thread, since the tensors are tiny (two cost five times as much), and a fixed seed."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
