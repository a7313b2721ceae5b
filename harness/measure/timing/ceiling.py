"""The matmul ceiling: what the device does at its best, and the share of it that a model makes use of.

    mfu = (GMAC of the model on a batch / seconds of the batch) / (GMAC of a matmul / seconds of the matmul)

Both are timed in the same rounds, on the same dtype. Source: Chowdhery et al., PaLM, arXiv 2204.02311, appendix B. The
model's GMAC are those of harness.measure.cost, the plain formula's, whatever is executed: grouped windows, which skip
pairs, come out higher, and what a backward computes anew does not count. A training step counts as three forwards.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import torch

from harness.measure.timing.clock import Work

SIDE = {"cpu": 1024, "cuda": 8192}  # large enough that larger ones are no faster, small enough for a round
FORWARDS = {"": 1, "train_": 3}  # a backward is two: for the input and for the weights


@dataclass(frozen=True)
class Ceiling:
    """A square matmul, `side` x `side`, as work to be timed beside the models."""

    device: torch.device
    dtype: torch.dtype = torch.float32

    @property
    def side(self) -> int:
        return SIDE[self.device.type]

    @property
    def gmac(self) -> float:
        return self.side**3 / 1e9

    def work(self) -> Work:
        left, right = torch.randn(2, self.side, self.side, device=self.device, dtype=self.dtype)
        out = torch.empty_like(left)
        return lambda: torch.mm(left, right, out=out)

    def rate(self, metric: str, mine: list[float]) -> dict[str, Any]:
        """GMAC/s: the matmul's GMAC over its median seconds; the samples are the seconds."""
        note = f"a {self.side} x {self.side} matmul in {str(self.dtype).removeprefix('torch.')}"
        value = self.gmac / statistics.median(mine)
        return {"metric": metric, "value": value, "unit": "GMAC/s", "n": len(mine), "samples": mine, "note": note}

    def share(self, metric: str, gmac: float, mine: list[float], ceiling: list[float]) -> dict[str, Any]:
        """The model's GMAC/s over the matmul's, between 0 and about 1: the median of the shares of each round.

        `gmac`: of the whole batch; `mine`, `ceiling`: the seconds of the batch and of the matmul, one a round.
        """
        samples = [gmac / one / (self.gmac / top) for one, top in zip(mine, ceiling, strict=True)]
        value = statistics.median(samples)
        return {"metric": metric, "value": value, "unit": "1", "n": len(samples), "samples": samples}
