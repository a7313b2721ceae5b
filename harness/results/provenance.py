"""Where a figure comes from: the machine, the versions, the commit. What source made it is in source.py."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def code() -> str:
    """The commit, "+dirty" where the source differs from it; the version where the package is not a checkout."""
    try:
        if Path(_git("rev-parse", "--show-toplevel")) == ROOT:
            commit = _git("rev-parse", "--short=10", "HEAD")
            changed = _git("status", "--porcelain", "--", "variants", "harness", "pyproject.toml")
            return commit + ("+dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        pass  # no git, or no checkout
    return f"v{_version('spatial-bias-bench')}"


def machine() -> dict[str, Any]:
    """What it runs on: processor, cores, threads of torch, memory, GPU, system. No names of hosts or users."""
    import torch

    return _machine() | {"threads": torch.get_num_threads()}


@cache
def _machine() -> dict[str, Any]:
    import torch

    return {
        "cpu": _cpu(),
        "cores": cores(),
        "threads": 0,  # its place in a row; `machine` has the number, which a cell may set
        "memory_gib": _memory_gib(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "os": f"{platform.system()} {platform.machine()}",
    }


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def versions() -> dict[str, str]:
    """The versions of what the figures depend on."""
    packages = ("torch", "torchvision", "timm", "fvcore", "numpy", "scikit-learn")
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
