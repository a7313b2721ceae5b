"""Makes the label maps of a dataset's training pictures by a teacher, once, and keeps them in the cache.

A picture is seen whole: it is resized to the teacher's size without a crop, so that the map covers all of it.
Departure: the authors' tool (generate_label.py of LV-ViT, arXiv 2104.10858) sees a centre crop. A canvas is drawn anew
each time that it is seen, so the maps are those of the images that are put on it. A run that was killed goes on with
the shard that it was at.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision import transforms

from harness.data import Dataset
from harness.data.label_maps import FORMAT, LISTED, About, LabelMaps, Writer, top_logits
from harness.supervision.own import OfPatches, is_own
from harness.supervision.teacher import Teacher, teacher
from harness.training.augment import Transformed
from harness.training.batches import moved

BATCH = 64  # pictures at a time


def annotated(
    words: str, data: Dataset, device: torch.device, cache: Path, workers: int = 0, chosen: Tensor | None = None
) -> LabelMaps:
    """The label maps of all training pictures, in the order of data.train_y, by the teacher of these words.

    chosen: the training pictures that a teacher without weights may learn from, int64 [n], all by default. Says in a
    line on stderr how large the maps will be. Raises ValueError for a set whose pictures are generated, for a teacher
    that is none, and for a picture that cannot be read.
    """
    if data.fresh is not None:
        raise ValueError(f"the training images of {data.name} are generated anew for every step, so there is none to "
                         f"keep a label map of; choose a set of images, such as digits")  # fmt: skip
    data = data if data.placed is None else data.placed.originals
    by = teacher(words, data, device, cache, workers, chosen)
    if isinstance(by.network, OfPatches) and not by.network.speaks_for_patches:
        raise ValueError(f"{words} says what a picture shows by a class token, and nothing of its patches; name one "
                         f"that was trained with --class-token none or --token-labels")  # fmt: skip
    about = About(
        len(data.train_y), min(LISTED, by.classes), by.grid, by.classes, f"{by.words} {by.digest}", data.fingerprint
    )
    key = hashlib.sha256(repr((FORMAT, data.fingerprint, by.digest)).encode()).hexdigest()[:10]
    named = Path(words).stem if is_own(words) else words.replace(":", "-")
    writer = Writer(cache / "label_maps" / f"{named}-{key}", about)
    missing = writer.missing()
    if missing:
        _write(writer, missing, by, data, device, workers)
    return writer.finish()


def _write(
    writer: Writer, missing: Sequence[range], by: Teacher, data: Dataset, device: torch.device, workers: int
) -> None:
    """Makes and writes the maps of some shards."""
    from tqdm import tqdm

    about, quiet = writer.about, os.environ.get("RANK", "0") != "0"
    (h, w), waiting = about.grid, sum(map(len, missing))
    if not quiet:
        print(f"label maps of {about.pictures:,} training pictures by {by.words}: {about.k} of {about.classes} classes "
              f"in each of {h}x{w} cells, {about.bytes / 1e6:,.2f} MB in {writer.folder}", file=sys.stderr)  # fmt: skip
    batches = _seen(data, [piece for part in missing for piece in _pieces(part)], by.size, device, workers)
    with tqdm(total=waiting, unit=" pictures", desc=f"annotating {data.name}", delay=2, disable=quiet) as bar:
        for part in missing:
            found: list[tuple[Tensor, Tensor]] = []
            for piece in _pieces(part):
                values, indices = top_logits(by.dense(next(batches)), about.k)
                found.append((values.cpu(), indices.cpu()))
                bar.update(len(piece))
            values, indices = (torch.cat(tensors) for tensors in zip(*found, strict=True))
            writer.write(part, values, indices)


def _pieces(part: range) -> list[range]:
    return [part[start : start + BATCH] for start in range(0, len(part), BATCH)]


def _seen(
    data: Dataset, pieces: Sequence[range], size: tuple[int, int], device: torch.device, workers: int
) -> Iterator[Tensor]:
    """Training pictures by their numbers, normalised; those of files at a size (height, width) already."""
    images = data.train_x
    if isinstance(images, Tensor):
        for piece in pieces:
            yield data.normalise(images[piece.start : piece.stop].to(device))
        return
    whole = transforms.Compose(
        [transforms.Resize(size, transforms.InterpolationMode.BICUBIC), transforms.PILToTensor()]
    )
    numbers = ([(number, ()) for number in piece] for piece in pieces)
    for batch, _ in moved(Transformed(images, data.train_y, whole), numbers, workers, data, device):
        yield batch
