"""What the benchmarks share: their threads, their rounds, what goes into the JSON, and the table of ratios at the end.

`--rounds N`: how many times each pair is timed (21). `-m short`: the short form, which the checks of every change run.
"""

import os

import pytest
import torch

from . import table
from .conditions import THREADS


def pytest_addoption(parser):
    parser.addoption("--rounds", type=int, default=21, metavar="N", help="rounds of each benchmark (21)")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if config.option.benchmark_only:  # instead of the --benchmark-disable that all tests have
        config.option.benchmark_disable = False


@pytest.fixture(autouse=True)
def _threads(request):
    """The targets' threads while a benchmark is timed; one, as in all tests, where each work is done only once."""
    before = torch.get_num_threads()
    if not request.config.getoption("benchmark_disable"):
        torch.set_num_threads(threads())
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rounds(request):
    """How many pairs a benchmark times."""
    return request.config.getoption("--rounds", default=1)  # where this file came late, the works are done once


def threads():
    """Two, as in the targets, or fewer where the machine or OMP_NUM_THREADS has fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(THREADS, cores, int(os.environ.get("OMP_NUM_THREADS", THREADS)))


def pytest_benchmark_update_machine_info(config, machine_info):
    """What ratios depend on beside the processor; no names of hosts."""
    from harness.results import provenance

    machine_info.pop("node", None)
    machine_info |= {"cores": provenance.machine()["cores"], "threads": threads(), "torch": torch.__version__}


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter, config):
    yield  # pytest-benchmark's own tables of seconds
    session = getattr(config, "_benchmarksession", None)
    timed = [bench.extra_info for bench in session.benchmarks if "ratio" in bench.extra_info] if session else []
    for line in table.lines(timed):
        terminalreporter.write_line(line)
