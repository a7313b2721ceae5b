"""A cell: an independent piece of a study, keyed by what it executes and recorded whole or not at all.

A cell whose file is there is done, so the same command goes on where it was interrupted. Changed source gives the cells
that execute it another key: what was recorded stays, and the report calls it stale.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness import distributed
from harness.jobs.study import digest
from harness.results import source, store

if TYPE_CHECKING:
    from harness.jobs.experiment import Experiment

Tick = Callable[..., object]  # tick(), tick(n)
PATIENCE = timedelta(seconds=30)  # ranks that fail alike do so at about the same time


@dataclass(frozen=True, eq=False)
class Cell(ABC):
    """One piece of work. A kind of cell says what it is called, what its key depends on, and what it does.

    variant and seed are those of a training, and empty where a cell is about all variants.
    """

    experiment: Experiment

    # each kind has these as class attributes, fields or properties
    if TYPE_CHECKING:

        @property
        def kind(self) -> str: ...
        @property
        def name(self) -> str:
            """What people call it, and its files."""

        @property
        def metric(self) -> str:
            """The metric that stands for all where the cell fails."""

        @property
        def variant(self) -> str: ...
        @property
        def seed(self) -> int | None: ...
        @property
        def fraction(self) -> float: ...
        @property
        def after(self) -> Cell | None:
            """The cell whose weights, or whose learning rate, it reads."""

    @property
    def turn(self) -> float:
        """Cells are run by their turns: costs and timings first, then what tunes, then the trainings seed by seed."""
        return -1 if self.seed is None else self.seed

    @property
    def work(self) -> int:
        """The number of its ticks."""
        return 1

    @property
    def updates(self) -> float:
        """How many training steps of its variant it takes as long as, for the estimate; 0 for what is not told so."""
        return 0.0

    @property
    def cores(self) -> int | None:
        """On how many cores it computes, so that its sums are the same wherever it runs; None for all there are."""
        return None if self.seed is None else self.experiment.cores

    def about_variants(self) -> Sequence[str]:
        """The variants that its key depends on."""
        return [self.variant]

    @property
    def about(self) -> dict[str, Any]:
        """What all its rows have in common."""
        return {}

    @abstractmethod
    def settings(self) -> Sequence[Any]:
        """What its key depends on beside experiment, variants and source; JSON-like."""

    @abstractmethod
    def run(self, folder: Path, tick: Tick) -> Iterable[store.Row]:
        """Does the work; its rows."""

    def null_rows(self, note: str) -> list[store.Row]:
        """Its rows where it failed: a null for each variant, with the reason."""
        return [self.row(variant, metric=self.metric, value=None, note=note) for variant in self.about_variants()]

    def row(self, variant: str, **fact: Any) -> store.Row:
        """A whole row of this cell; its source_hash is KIND+VARIANT, and +WEIGHTS where it reads a training's."""
        halves = [self.kind_hash, self.experiment.source_of(variant), *self.weights_hash]
        mine = {"cell": self.key, "kind": self.kind, "source_hash": "+".join(halves)}
        return self.experiment.row(variant, **(mine | self.about | fact))

    def modules(self) -> list[str]:
        """The modules whose source, with all that they import, makes its figures: those of the weights among them.

        The experiment, which builds all models, is among them where a kind asks for its type alone.
        """
        before = self.after.modules() if self.after is not None else []
        return [type(self).__module__, "harness.jobs.experiment", *before]

    @cached_property
    def kind_hash(self) -> str:
        """A digest of the source that its kind executes, and of the images that it sees."""
        return digest([source.digest(self.modules()), self.experiment.images_hash])

    @property
    def weights_hash(self) -> list[str]:
        """The kind_hash of the training whose weights it reads, where it reads any."""
        return []

    @cached_property
    def key(self) -> str:
        made_by = [source.digest(self.modules()), *map(self.experiment.source_of, self.about_variants())]
        return self.experiment.key(self.about_variants(), self.kind, made_by, *self.settings())

    @property
    def slug(self) -> str:
        """The cell's own name for files."""
        return f"{re.sub(r'[^A-Za-z0-9_.=-]+', '-', self.name).strip('-')[:80]}-{self.key}"

    def path(self, folder: Path) -> Path:
        return folder / f"{self.slug}.jsonl"

    def beside(self, folder: Path, ending: str) -> Path:
        """A file beside its rows, such as `.correct.npy`."""
        return folder / f"{self.slug}{ending}"

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

    def left(self, folder: Path) -> Path:
        """What cells after it read."""
        return self.weights(folder)

    def served(self, folder: Path) -> bool:
        """Whether what it reads of the cell before it is there."""
        return self.after is None or self.after.left(folder).exists()

    def missing(self, folder: Path, others: Sequence[Cell]) -> bool:
        """Whether it is to be run: not done, or another one that is not done lacks what this one leaves."""
        if not self.done(folder):
            return True
        return any(o.after is not None and o.after.key == self.key and not o.done(folder) and not o.served(folder)
                   for o in others)  # fmt: skip


def execute(cell: Cell, folder: Path, tick: Tick) -> str | None:
    """Runs a cell and records it; returns the sentence of what went wrong, which is recorded too.

    All ranks do the work, and rank 0 records it. Raises RuntimeError for what this rank alone has met.
    """
    path, together = cell.path(folder), distributed.world() > 1 and cell.seed is not None
    if together:
        aside()
    try:
        rows = list(cell.run(folder, tick))
        for row in rows:
            store.check(row)
    except OSError:  # a full disk or a lost folder would fail every cell
        raise
    except Exception as error:  # one cell must not cost the others; the traceback is kept, the exit code tells
        if distributed.world() > 1 and not isinstance(error, ValueError | FloatingPointError):
            raise  # what other ranks may not have met: they would wait for this one
        if together and not met_by_all():  # a picture that cannot be read, say, which one rank alone was dealt
            raise RuntimeError(f"{cell.name}: {error}") from error
        sentence = f"{type(error).__name__}: {error}"
        if distributed.rank() == 0:
            give_up(cell, folder, f"{sentence}\n{traceback.format_exc()}")
        return sentence
    if distributed.rank():
        return None
    store.write(path, rows)
    path.with_suffix(".failed.jsonl").unlink(missing_ok=True)
    shutil.rmtree(cell.checkpoints(folder), ignore_errors=True)
    with contextlib.suppress(OSError):  # others have theirs there
        cell.checkpoints(folder).parent.rmdir()
    return None


def met_by_all() -> bool:
    """Whether every rank comes to this question within PATIENCE."""
    try:
        torch.distributed.monitored_barrier(aside(), PATIENCE)
    except RuntimeError:
        return False
    return True


@cache
def aside() -> Any:
    """A group of all ranks beside that of the training, in which others may wait for this one; all make it at once."""
    return torch.distributed.new_group(backend="gloo")


def give_up(cell: Cell, folder: Path, note: str) -> None:
    """Records that a cell failed, and why."""
    store.write(cell.path(folder).with_suffix(".failed.jsonl"), cell.null_rows(note))


def keep_array(path: Path, array: np.ndarray) -> None:
    """Writes an array beside the rows; rank 0 does."""
    if distributed.rank() == 0:
        packed = io.BytesIO()
        np.save(packed, array, allow_pickle=False)
        store.write_bytes(path, packed.getvalue())
