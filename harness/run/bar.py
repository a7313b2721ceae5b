"""The progress bar over all cells of a program: its time left is told from the pace of each kind of cell.

A round of a timing may take as long as ten epochs, so one pace for all steps would promise the wrong end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from time import monotonic
from typing import Any

from tqdm import tqdm

from harness.jobs.cell import Cell

RECENT = 0.05  # the least weight of a kind's newest step in its pace


class Bar(tqdm):
    """A tqdm of the steps of cells. Time between two steps, of whichever cells, is the later one's."""

    def __init__(self, cells: Iterable[Cell], **settings: Any):
        self.left, self.seen = Counter[str](), Counter[str]()
        for cell in cells:
            self.left[cell.kind] += cell.work
        self.pace: dict[str, float] = {}  # seconds a step
        self.before = monotonic()
        super().__init__(total=sum(self.left.values()), smoothing=0, **settings)

    def step(self, cell: Cell, count: int = 1) -> None:
        """So many steps of a cell are done; several at once were done before, and less than none are lost again."""
        now = monotonic()
        self.left[cell.kind] -= count
        if count == 1:
            self.seen[cell.kind] += 1
            weight = max(1 / self.seen[cell.kind], RECENT)
            old = self.pace.get(cell.kind, 0.0)
            self.pace[cell.kind] = old + weight * (now - self.before - old)
        self.before = now
        self.update(count)

    def seconds_left(self) -> float | None:
        """None while no step of the kind with most steps left was seen. A kind that is rarer goes at the mean pace."""
        ahead = {kind: steps for kind, steps in self.left.items() if steps > 0}
        if not ahead:
            return 0.0
        if max(ahead, key=lambda kind: ahead[kind]) not in self.pace:
            return None
        known = sum(steps for kind, steps in ahead.items() if kind in self.pace)
        spent = sum(steps * self.pace[kind] for kind, steps in ahead.items() if kind in self.pace)
        return spent * sum(ahead.values()) / known

    @property
    def format_dict(self) -> dict[str, Any]:
        """What tqdm writes, with the pace at which the steps that are left will be done."""
        found: dict[str, Any] = super().format_dict
        seconds, steps = self.seconds_left(), sum(self.left.values())
        return found | {"rate": steps / seconds if seconds and steps > 0 else None}
