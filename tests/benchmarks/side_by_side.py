"""python -m tests.benchmarks.side_by_side OLD NEW: how long a command takes in two trees of this project, in turns.

Each round runs the command once in each tree, in an order that alternates, in an empty folder of its own. What is
printed are the wall times and the median of the rounds' ratios: NEW over OLD, below 1 is faster. The trees may have
other defaults, so the flags should say what is run: `-- --preset digits --variants sp_sa,psa,rpe`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds(tree: Path, flags: list[str]) -> float:
    """The wall time of `python -m harness.run FLAGS` from a tree. Raises CalledProcessError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "harness.run", *flags, "--output", "rows", "--report", "page.html"]
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(tree.resolve())}, check=True,
                       capture_output=True)  # fmt: skip
        return time.perf_counter() - start


def parted(words: list[str]) -> tuple[list[str], list[str]]:
    """What stands before the first -- and what stands behind it; argparse takes it for a flag after `--rounds N`."""
    cut = words.index("--") if "--" in words else len(words)
    return words[:cut], words[cut + 1 :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("old", type=Path, metavar="OLD")
    parser.add_argument("new", type=Path, metavar="NEW")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.epilog = "What follows -- are flags of harness.run."
    own, flags = parted(sys.argv[1:])
    args = parser.parse_args(own)
    ratios = []
    for number in range(args.rounds):
        trees = {"old": args.old, "new": args.new}
        order = list(trees) if number % 2 == 0 else list(trees)[::-1]
        took = {name: seconds(trees[name], flags) for name in order}
        ratios.append(took["new"] / took["old"])
        print(f"round {number}: old {took['old']:.1f} s, new {took['new']:.1f} s, ratio {ratios[-1]:.3f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
