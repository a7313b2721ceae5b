"""Timings for tests in which the numbers do not matter."""

from functools import partial

from harness.measure.timing import interleave


def quick(patch):
    """Each sample is one call, and the matmul beside them is small."""
    patch.setattr(interleave, "interleave", partial(interleave.interleave, least_s=1e-9))
    patch.setattr("harness.measure.timing.ceiling.SIDE", {"cpu": 64})
