"""How processes start: a server that has imported torch forks them. No torch here, so that it starts before torch."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import forkserver, get_context, resource_tracker
from typing import Any

IMPORTED = ("torch", "timm", "sklearn.datasets", "sklearn.model_selection", "harness.jobs.plan",
            "harness.jobs.kinds.training", "harness.jobs.kinds.measured")  # fmt: skip


def context() -> Any:
    """How processes start here: on Linux a server forks them that has imported torch and computed nothing.

    A fork of this process is no way: torch's threads and a GPU do not survive it.
    """
    if sys.platform != "linux":
        return get_context("spawn")
    server = get_context("forkserver")
    server.set_forkserver_preload(list(IMPORTED))
    return server


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Inside, a process that starts does not run the user's script again, which may have no `if __name__ ==` in it.

    Python would import that script for what lies in it; cells need this project alone.
    """
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {name: vars(main)[name] for name in ("__spec__", "__file__") if name in vars(main)}
    main.__spec__ = None
    vars(main).pop("__file__", None)
    try:
        yield
    finally:
        vars(main).update(kept)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Inside, Ctrl-C waits until the end, and processes that start are not reached by it.

    A mask is of one thread. The system may hand the signal to another one, and Python's handler would then run here.
    """
    came: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    waits = callable(handler) and threading.current_thread() is threading.main_thread()
    if waits:
        signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        with _blocked():
            yield
    finally:
        if waits:
            signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    """Inside, this thread and the processes that it starts are not sent SIGINT."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def prepare() -> None:
    """Lets the server begin to import, on another core, while this process does something else.

    Ctrl-C is sent to the server, too. It is for this process, and would end the server's imports with a traceback.
    """
    if context().get_start_method() == "forkserver":
        resource_tracker.ensure_running()  # which the server would start, and which unblocks the signal again
        with uninterrupted():
            forkserver.ensure_running()


@contextlib.contextmanager
def early() -> Iterator[None]:
    """The server begins at once; it is ended where what is inside fails."""
    prepare()
    try:
        yield
    except BaseException:
        dismiss()
        raise


def dismiss() -> None:
    """Ends the server where it runs and nobody needs it: in the midst of imports it would keep our output open."""
    if sys.platform == "linux" and (pid := forkserver._forkserver._forkserver_pid) is not None:  # type: ignore[attr-defined]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def prepared() -> None:
    """Waits until the server has imported all, so that it does not disturb what is timed here."""
    if context().get_start_method() == "forkserver":
        first = context().Process(target=int)
        with without_main():
            first.start()
        first.join()
