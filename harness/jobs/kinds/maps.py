"""The cell that reads the maps of a trained model, and the snapshots of its tables that the training leaves.

Beside its rows it leaves CELL.maps.npz (harness/results/maps.py: packed): every map at the end, and the learned tables
at the start and at a few epochs. The snapshots of a training lie in snapshots/CELL/EPOCH.npz; one that was trained when
no maps were asked for has none, and its maps are those of the end alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from harness import distributed
from harness.backbone.vit import grid_for
from harness.jobs.cell import Cell, Tick
from harness.jobs.experiment import Bench
from harness.jobs.study import Study
from harness.measure import attention as distance
from harness.measure import maps as atlas
from harness.results import map_files, store
from harness.results import maps as offsets
from harness.training.checkpoint import load_weights

IMAGES = 512  # test images at most, spread evenly: means over patches and images, so a head is known to a few per mille
SNAPSHOTS = 6  # epochs at most at which tables are kept
FORWARDS = 3  # that reading an image's attention is worth


def atlas_cell(bench: Bench, trained: Cell) -> Cell:
    """Attention distance and entropy, and what the maps over the offsets say, of a training's weights, by layer."""
    variant, seed, fraction = trained.variant, trained.seed, trained.fraction
    assert seed is not None
    key = bench.key([variant], "maps", trained.key, IMAGES, SNAPSHOTS)
    common = {"seed": seed, "train_fraction": fraction, "epoch": bench.study.recipe.total_epochs, "backend": "eager"}

    def rows(tick: Tick, folder: Path) -> tuple[list[store.Row], Tensor | None]:
        model = bench.model(variant, seed)
        book: offsets.Book = {(layer, kind, 0): one for (layer, kind, _), one in tables(model).items()}
        load_weights(trained.weights(folder), model)
        for file in sorted(trained.snapshots(folder).glob("*.npz")):
            book |= {(layer, kind, int(file.stem)): m for (layer, kind, _), m in map_files.unpacked(file).items()}
        grid = grid_for(bench.image, bench.study.patch_size)
        found = distance.heads(model, bench.shown("test", bench.image, dealt=False, most=IMAGES))
        facts: list[dict[str, Any]] = []
        for layer, (attention, head) in enumerate(zip(atlas.attentions(model), found, strict=True), start=1):
            maps = atlas.maps(attention, grid, head)
            book |= {(layer, kind, None): one.numpy() for kind, one in maps.items()}
            facts += [fact | {"layer": layer} for fact in (*looked(head), *atlas.facts(maps))]
        if grid == (1, 1):
            facts.insert(0, {"metric": "attention_distance", "value": None, "note": "a 1x1 grid has no other patch"})
        tick()
        if distributed.rank() == 0:
            store.write_bytes(cell.path(folder).with_suffix(".maps.npz"), map_files.packed(book))
        return [bench.row(variant, key, **common, **fact) for fact in facts], None

    def failed(note: str) -> list[store.Row]:
        return [bench.row(variant, key, metric="attention_distance", value=None, unit="1", note=note, **common)]

    number = min(IMAGES, len(bench.data.test_y))
    cell = Cell(
        f"{trained.name} maps", key, 1, rows, failed, variant, seed, fraction,
        number * FORWARDS / 3 / bench.study.recipe.batch_size, trained.key,
    )  # fmt: skip
    return cell


def looked(head: distance.Head) -> Iterator[dict[str, Any]]:
    """Distance and entropy of a layer, and what its patches give to prefix tokens: means, the samples by head."""
    if head.grid == (1, 1):
        return
    for name in ("distance", "entropy", "prefix"):
        samples = head.means[name].tolist()
        if name != "prefix" or max(samples) > offsets.FLAT:
            yield {"metric": f"attention_{name}", "value": sum(samples) / len(samples), "unit": "1", "n": head.images,
                   "samples": samples}  # fmt: skip


def tables(model: nn.Module) -> offsets.Book:
    """The learned tables of each layer, the first 1; what training does not change is left out."""
    model.eval()
    grid: Any = model.grid
    return {
        (layer, kind, None): one.numpy()
        for layer, attention in enumerate(atlas.attentions(model), start=1)
        if atlas.learned(attention)
        for kind, one in atlas.tables(attention, grid).items()
    }


def chosen(study: Study) -> list[int]:
    """The validated epochs at which tables are kept: at most SNAPSHOTS, each about as many times the one before.

    The last one is not among them, whose tables the weights have.
    """
    last = study.recipe.total_epochs
    validated = range(study.val_interval, last, study.val_interval)
    wanted = {round(last ** (step / SNAPSHOTS)) for step in range(SNAPSHOTS)}
    return sorted({min(validated, key=lambda epoch: abs(epoch - one)) for one in wanted}) if validated else []


def snapshot(bench: Bench, folder: Path, model: nn.Module, epoch: int) -> None:
    """Keeps the learned tables after an epoch that is chosen; done again, it leaves the same bytes. Rank 0 writes."""
    if "maps" not in bench.study.measure or epoch not in chosen(bench.study) or distributed.rank():
        return
    found = tables(model)
    if found:
        store.write_bytes(folder / f"{epoch:06d}.npz", map_files.packed(found))
