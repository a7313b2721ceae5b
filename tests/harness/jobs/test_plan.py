"""What planning a study does to the process that does it."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os

import torch

from harness.jobs import local, plan
from harness.run.flags import parser, study_of


def left_over():
    plan.plan_run(study_of(parser().parse_args(["--preset", "digits"])), (), "cpu", "sa")
    product = torch.full((2_000_000,), 1e-30) * 1e-10
    bits = product.numpy().view("int32")  # what compares numbers may take these for 0 anyway
    print(*((half != 0).any() for half in (bits[:1_000_000], bits[1_000_000:])), flush=True)


if not os.fork():
    left_over()
    os._exit(0)
os.wait()
local.without_denormals = lambda: None
left_over()
"""


def test_numbers_next_to_nothing_are_nothing_on_all_threads():
    """Whether any is left in the half of each thread; and where the planning does not see to it."""
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert process.stdout.splitlines() == ["False False", "True True"], process.stderr
