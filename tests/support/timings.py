"""Timings for tests in which the numbers do not matter."""

from functools import partial

from harness.measure.timing import interleave


def quick(patch):
    """A warm-up and each sample are one call, and the matmul beside them is small."""
    patch.setattr(interleave, "WARM", (1, 1))
    patch.setattr(interleave, "interleave", partial(interleave.interleave, least_s=1e-9))
    patch.setattr("harness.measure.timing.ceiling.SIDE", {"cpu": 64})
