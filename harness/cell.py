"""A cell: an independent piece of a study, hashed by what it depends on and recorded whole or not at all.

A cell whose file is there is done, so the same command goes on where it was interrupted. Changed source gives a cell
another hash: what was recorded stays, and the report calls it stale.
"""

from __future__ import annotations

import io
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from harness import results

Tick = Callable[[], None]


@dataclass(frozen=True)
class Cell:
    """One piece of work: `work` is the number of its ticks, `rows` does it."""

    name: str
    key: str
    work: int
    rows: Callable[[Tick], tuple[list[results.Row], Tensor | None]]
    failed: Callable[[str], list[results.Row]]

    def path(self, folder: Path) -> Path:
        slug = re.sub(r"[^A-Za-z0-9_.=-]+", "-", self.name).strip("-")[:80]
        return folder / f"{slug}-{self.key}.jsonl"

    def done(self, folder: Path) -> bool:
        path = self.path(folder)
        return path.exists() and path.stat().st_size > 0

    def run(self, folder: Path, tick: Tick) -> str | None:
        """Does the work and records it; returns the sentence of what went wrong, which is recorded too."""
        path = self.path(folder)
        failure = path.with_suffix(".failed.jsonl")
        try:
            rows, right = self.rows(tick)
        except Exception as error:  # one cell must not cost the others; the traceback is kept, the exit code tells
            sentence = f"{type(error).__name__}: {error}"
            results.write(failure, self.failed(f"{sentence}\n{traceback.format_exc()}"))
            return sentence
        if right is not None:
            packed = io.BytesIO()
            np.save(packed, right.cpu().numpy(), allow_pickle=False)
            results.write_bytes(path.with_suffix(".correct.npy"), packed.getvalue())
        results.write(path, rows)
        failure.unlink(missing_ok=True)
        return None
