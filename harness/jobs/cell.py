"""A cell: an independent piece of a study, hashed by what it depends on and recorded whole or not at all.

A cell whose file is there is done, so the same command goes on where it was interrupted. Changed source gives a cell
another hash: what was recorded stays, and the report calls it stale.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from harness import distributed
from harness.results import store

Tick = Callable[..., object]  # tick(), tick(n)


@dataclass(frozen=True)
class Cell:
    """One piece of work: `work` is the number of its ticks, `rows(tick, folder)` does it.

    variant, seed and fraction are those of a training; updates: how many training steps it is worth; after: the key of
    the cell whose weights it starts from.
    """

    name: str
    key: str
    work: int
    rows: Callable[[Tick, Path], tuple[list[store.Row], Tensor | None]]
    failed: Callable[[str], list[store.Row]]
    variant: str = ""
    seed: int | None = None
    fraction: float = 1.0
    updates: float = 0.0
    after: str = ""

    @property
    def slug(self) -> str:
        """The cell's own name for files."""
        return f"{re.sub(r'[^A-Za-z0-9_.=-]+', '-', self.name).strip('-')[:80]}-{self.key}"

    def path(self, folder: Path) -> Path:
        return folder / f"{self.slug}.jsonl"

    def checkpoints(self, folder: Path) -> Path:
        """The folder of its checkpoints, as long as it is not done."""
        return folder / "checkpoints" / self.slug

    def weights(self, folder: Path) -> Path:
        """What it trained."""
        return folder / "weights" / f"{self.slug}.safetensors"

    def snapshots(self, folder: Path) -> Path:
        """The folder of what it kept on its way, by epoch."""
        return folder / "snapshots" / self.slug

    def done(self, folder: Path) -> bool:
        path = self.path(folder)
        return path.exists() and path.stat().st_size > 0

    def missing(self, folder: Path, others: list[Cell]) -> bool:
        """Whether it is to be run: not done, or without the weights that another one starts from, which is not done."""
        heirs = any(other.after == self.key and not other.done(folder) for other in others)
        return not self.done(folder) or (heirs and not self.weights(folder).exists())

    def run(self, folder: Path, tick: Tick) -> str | None:
        """Does the work and records it; returns the sentence of what went wrong, which is recorded too.

        All ranks do the work, and rank 0 records it.
        """
        path = self.path(folder)
        try:
            rows, right = self.rows(tick, folder)
        except OSError:  # a full disk or a lost folder would fail every cell
            raise
        except Exception as error:  # one cell must not cost the others; the traceback is kept, the exit code tells
            if distributed.world() > 1 and not isinstance(error, ValueError | FloatingPointError):
                raise  # what other ranks may not have met: they would wait for this one
            sentence = f"{type(error).__name__}: {error}"
            if distributed.rank() == 0:
                self.give_up(folder, f"{sentence}\n{traceback.format_exc()}")
            return sentence
        if distributed.rank():
            return None
        if right is not None:
            packed = io.BytesIO()
            np.save(packed, right.cpu().numpy(), allow_pickle=False)
            store.write_bytes(path.with_suffix(".correct.npy"), packed.getvalue())
        store.write(path, rows)
        path.with_suffix(".failed.jsonl").unlink(missing_ok=True)
        shutil.rmtree(self.checkpoints(folder), ignore_errors=True)
        with contextlib.suppress(OSError):  # others have theirs there
            self.checkpoints(folder).parent.rmdir()
        return None

    def give_up(self, folder: Path, note: str) -> None:
        """Records that it failed, and why."""
        store.write(self.path(folder).with_suffix(".failed.jsonl"), self.failed(note))
