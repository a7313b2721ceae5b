"""What is timed, under which conditions, and what the project set out to reach, as data.

A ratio is a variant's time over that of `sa` on the same batch; the targets are for float32 on two threads of a CPU and
are information, not a gate. A layer is ViT-S's: C 384, 6 heads, no prefix token.
"""

from dataclasses import dataclass

DIM, HEADS = 384, 6
THREADS = 2  # the targets'
SIZES = (((14, 14), 16), ((14, 14), 64), ((7, 7), 128), ((24, 24), 4), ((32, 32), 2))  # grid, batch
MODES = ("inference", "training")  # a forward in inference mode; a forward and a backward
AGAIN = "sa again"  # a second copy of the baseline: how far its ratio is from 1 is the floor of the condition
SPECS = ("sp_sa", "sp_sa[form=table]", "psa[init=normal]", "gpsa[init=normal]", "rpe_1d", "rpe_1d[mode=bias]",
         "rpe_2d", "rpe_2d[mode=bias]", "rpe_2d[factorized=True]", "swin", "cswin")  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """A grid of patches, a batch and a mode; `Condition((14, 14), 16, "training")` reads 14x14-B16-training."""

    grid: tuple[int, int]
    batch: int
    mode: str

    def __str__(self) -> str:
        return f"{self.grid[0]}x{self.grid[1]}-B{self.batch}-{self.mode}"


CONDITIONS = [Condition(grid, batch, mode) for grid, batch in SIZES for mode in MODES]
TINY = {mode: Condition((4, 3), 2, mode) for mode in MODES}  # of the smoke tests


def spec_of(name: str) -> str:
    """The spec behind a name: the copy of the baseline has one of its own."""
    return "sa" if name == AGAIN else name


def target(name: str, at: Condition) -> float | None:
    """The largest ratio to `sa` that was asked for; None where nothing was."""
    large = max(at.grid) > 14
    if name == "sp_sa":
        return 1.15 if large else {"inference": 1.05, "training": 1.10}[at.mode]
    if name == "rpe_2d":
        return {14: 2.0, 24: {"inference": 2.5, "training": 2.0}[at.mode]}.get(at.grid[0])
    if name in ("swin", "cswin"):
        return 0.75 if at.grid == (24, 24) else None
    return {"psa[init=normal]": 1.10, "rpe_1d[mode=bias]": 1.10, "rpe_2d[mode=bias]": 1.10, "gpsa[init=normal]": 1.40,
            "rpe_2d[factorized=True]": 1.5}.get(name)  # fmt: skip


def is_short(name: str, at: Condition) -> bool:
    """Whether the short form has it: every variant once, and where the grid is large what large grids are about."""
    if at.grid == (14, 14):
        return at.batch == 16
    return at.grid == (24, 24) and name in (AGAIN, "sp_sa", "swin")


def verdict(low: float | None, high: float | None, bound: float | None) -> str:
    """Whether a ratio with the interval [low, high] is at most `bound`, in words; empty without a bound."""
    if bound is None:
        return ""
    if low is None or high is None or low <= bound < high:
        return "not resolved"
    return "met" if high <= bound else "not met"
