"""How much of the cores other processes took while something was timed.

A ratio taken within a round survives a machine that is slow for both. It does not survive other processes that want the
same cores: a work of many small parallel steps waits at each of them for the thread that was taken off its core, and
its ratio is several times what it is on a quiet machine, in every round alike.
"""

import os
import time
from pathlib import Path

import torch

Spent = tuple[float, float, float]


def spent() -> Spent:
    """Seconds: of the clock, of all processors at work (or lent to others), of this process."""
    try:
        fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    except OSError:
        return time.perf_counter(), time.process_time(), time.process_time()
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, fields)
    ticks = user + nice + system + irq + soft + steal
    return time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time()


def busy(before: Spent, after: Spent) -> float:
    """The share of the cores that our threads want and that other processes had; 0 where there were cores enough."""
    elapsed, working, ours = (late - early for early, late in zip(before, after, strict=True))
    wanted = torch.get_num_threads() * elapsed
    lacking = (working - ours) + wanted - (os.cpu_count() or 1) * elapsed
    return round(min(1.0, max(0.0, lacking / wanted)), 3)
