"""What a training keeps on its way: the learned tables of its relations at a few epochs (snapshots/CELL/EPOCH.npz)."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from harness import distributed
from harness.jobs.study import Study
from harness.measure.tables import learned_tables
from harness.results import map_files, store

SNAPSHOTS = 6  # epochs at most at which tables are kept


def chosen(study: Study) -> list[int]:
    """The validated epochs at which tables are kept: at most SNAPSHOTS, each about as many times the one before.

    The last one is not among them, whose tables the weights have.
    """
    last = study.recipe.total_epochs
    validated = range(study.val_interval, last, study.val_interval)
    wanted = {round(last ** (step / SNAPSHOTS)) for step in range(SNAPSHOTS)}
    return sorted({min(validated, key=lambda epoch: abs(epoch - one)) for one in wanted}) if validated else []


def snapshot(study: Study, folder: Path, model: nn.Module, epoch: int) -> None:
    """Keeps the learned tables after an epoch that is chosen; done again, it leaves the same bytes. Rank 0 writes."""
    if epoch not in chosen(study) or distributed.rank():
        return
    found = learned_tables(model)
    if found:
        store.write_bytes(folder / f"{epoch:06d}.npz", map_files.packed(found))
