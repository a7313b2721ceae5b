"""Images by name: `load(name)` gives a Dataset of three disjoint splits.

A name is one of DATASETS; `folder:PATH`, an ImageNet-style tree; `torch/NAME` or `hfds/NAME`, a set of timm's;
`noise:CLASSES`, for timings; or `SET:translated` and `SET:cluttered`, a set in memory with its images on canvases.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness.data.canvas import LAYOUTS, of_files, placed
from harness.data.dataset import Dataset, Images, Pictures, resize
from harness.data.fingerprint import Facts
from harness.data.picture import ground
from harness.data.sets.digits import digits
from harness.data.sets.fashion import fashion_mnist
from harness.data.sets.folder import ALLOWED, folder
from harness.data.sets.noise import noise
from harness.data.sets.pathfinder import STYLES, pathfinder
from harness.data.sets.probes import PROBES, probe
from harness.data.sets.sort_of_clevr import QUESTIONS, sort_of_clevr
from harness.data.sets.timm_sets import timm_set
from harness.data.subset import subset

__all__ = ["DATASETS", "Dataset", "Facts", "Images", "Pictures", "load", "names", "resize", "subset"]

DATASETS: dict[str, Callable[[Path | None, int], Dataset]] = {
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "cifar10": partial(timm_set, "torch/cifar10"),
    "cifar100": partial(timm_set, "torch/cifar100"),
    **{f"probes:{task}": partial(probe, task) for task in PROBES},
    **{f"pathfinder:{side}": partial(pathfinder, side) for side in STYLES},
    **{f"sort_of_clevr:{question}": partial(sort_of_clevr, question) for question in QUESTIONS},
}


def names() -> tuple[str, ...]:
    """What `load` takes: every name, then the families with the part that the user fills in."""
    return (*DATASETS, "folder:PATH", "torch/NAME", "hfds/NAME", "noise:CLASSES", *(f"SET:{one}" for one in LAYOUTS))


def load(
    name: str,
    data_dir: str | Path | None = None,
    seed: int = 0,
    *,
    background: str = "white",
    allow_skipped: float = ALLOWED,
    **placing: int | None,
) -> Dataset:
    """The dataset of that name; `seed` draws the splits, and where fixed images lie on canvases.

    background: the colour behind transparent pictures. allow_skipped: the share of a folder's files, 0..1, that may be
    of no kind that is read. placing: settings of `placed`, for SET:translated and SET:cluttered. Raises ValueError for
    a dataset that does not exist, that is not available here, or that is damaged, and for settings that it cannot have.
    """
    behind = ground(background)
    if not 0 <= allow_skipped <= 1:
        raise ValueError(f"allow_skipped={allow_skipped} is no share of files; choose 0 to 1")
    where = None if data_dir is None else Path(data_dir).expanduser()
    kind, colon, rest = name.partition(":")
    stem, _, layout = name.rpartition(":")
    if layout in LAYOUTS and stem not in ("", "folder"):
        if kind == "folder":
            raise of_files(stem, layout)
        images = load(stem, data_dir, seed, background=background, allow_skipped=allow_skipped)
        return placed(images, layout, seed, **placing)
    for setting, value in placing.items():
        if value is not None:
            raise ValueError(f"{setting}={value} means nothing for {name}; leave it out, or choose a set such as "
                             f"digits:{'cluttered' if setting == 'clutter' else 'translated'}")  # fmt: skip
    if stem in DATASETS and ":" not in stem:
        raise ValueError(f"{stem} has no layout {layout!r}; choose {' or '.join(f'{stem}:{one}' for one in LAYOUTS)}")
    if name in DATASETS:
        return DATASETS[name](where, seed)
    if kind == "folder":
        return folder(rest, where, seed, behind, allow_skipped)
    if kind == "noise":
        return noise(rest)
    if "/" in name and not colon:
        return timm_set(name, where, seed, behind)
    raise ValueError(f"there is no dataset {name!r}; choose {', '.join(names())}")
