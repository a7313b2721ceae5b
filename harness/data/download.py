"""Where downloads are kept, and how long a silent network is waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

SECONDS = 20
# what a download ends with: torchvision's own error, no network or a full disk, a connection that breaks off
FAILURES = (RuntimeError, OSError, HTTPException, EOFError)


def cache() -> Path:
    """The folder of downloads where the user names none."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "spatial-bias-bench"


@contextmanager
def impatient() -> Iterator[None]:
    """Connections that stay silent for SECONDS are given up; torchvision would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def in_one_line(error: BaseException) -> str:
    """The message of another program's error, without its line breaks and without the stop at its end."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
