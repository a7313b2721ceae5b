"""Without Slurm a laptop skips these tests and says what to install; in CI, where nobody reads skips, they fail."""

import os
import tempfile
from pathlib import Path

import pytest

from . import cluster as real


def require_slurm():
    if packages := real.missing():
        why = f"Slurm is not installed, so nothing here is tested: apt-get install {' '.join(packages)}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


@pytest.fixture(scope="session")
def installed():
    require_slurm()


@pytest.fixture
def tmp_path():
    """Instead of pytest's, whose names are longer than a socket's may be."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def slurm(installed):
    """A cluster of four CPUs for the tests of a file, found by whatever runs sbatch in this process: submitit, say."""
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        real.cluster(Path(folder), cpus=4) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("SLURM_CONF", "PATH"):
            patch.setenv(name, running.environment[name])
        yield running
