"""What all tests share: one thread, since the tensors are tiny (two cost five times as much), and a fixed seed.

`pytest -n auto --dist loadfile` runs the files side by side, a process more than there are cores.
"""

import gc
import os
import signal
import sys
from functools import cache
from types import SimpleNamespace

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several: what the tests start has one thread, too
    os.environ["OMP_NUM_THREADS"] = "1"
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may not hear Ctrl-C

import torch  # noqa: E402  (reads the above)

torch.set_num_threads(1)
if not torch.cuda.is_available():  # Triton reads it when it is imported, and torchvision imports Triton
    os.environ["TRITON_INTERPRET"] = "1"
# where a GPU might come later, torch notes with each seed the stack it was given in, written out: fifty times the seed
NO_STACK = SimpleNamespace(format_stack=list)
for kind in (torch.cuda, torch.xpu, torch.mtia):
    kind.traceback = NO_STACK


def pytest_sessionstart(session):
    """No test asks for what was logged, and pytest hangs itself on sixty loggers of torch six times a test."""
    session.config.pluginmanager.unregister(name="logging-plugin")


def pytest_xdist_auto_num_workers():
    """What -n auto means: a process more than cores, since tests of clusters, ranks and browsers often wait."""
    return 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    """What all tests share, a million objects, is not looked through again for garbage."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    gc.unfreeze()  # else nanobind says at the end that it leaks


@pytest.fixture(scope="session", autouse=True)
def _settings_read_once():
    """What settings a class has is read from its annotations once, and not for each layer that is built."""
    with pytest.MonkeyPatch.context() as patch:
        if registry := sys.modules.get("variants.registry"):  # the tests' modules have imported it, if they need it
            patch.setattr(registry, "settings_of", cache(registry.settings_of))
        yield


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
