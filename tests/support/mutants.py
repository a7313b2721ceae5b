"""What tests of planted errors share."""

from contextlib import contextmanager

import pytest


@contextmanager
def noticed():
    """The check inside must fail, by its numbers and not by an error on the way."""
    with pytest.raises(AssertionError):
        yield
