"""What a dataset holds: a fingerprint of its content, and the facts that a reader wants to know before its figures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from harness.data.dataset import Dataset, Images


@dataclass(frozen=True)
class Facts:
    """What a reader wants to know of a dataset before its figures; all are numbers of images but for `classes`.

    val_in_train: of the validation images, how many are in the training split, too; test_in_train: of the test images,
    how many are in the training or validation split. Images are the same where their bytes are. skipped: files by kind.
    places: at how many places of a canvas each test image is.
    """

    classes: int
    train: int
    val: int
    test: int
    val_in_train: int = 0
    test_in_train: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    places: int = 1

    def __str__(self) -> str:
        """One line: "10 classes; 54,000 training, 6,000 validation and 10,000 test images; skipped 2 .txt"."""
        words = [
            f"{self.classes:,} classes; {self.train:,} training, {self.val:,} validation and {self.test:,} test images"
        ]
        if self.places > 1:
            words[0] += f" at {self.places} places each"
        for count, split, others in ((self.val_in_train, "validation", "training split"),
                                     (self.test_in_train, "test", "training or validation split")):  # fmt: skip
            if count:
                words.append(f"{count:,} {split} image{'s are' if count > 1 else ' is'} in the {others}, too")
        if self.skipped:
            words.append("skipped " + ", ".join(f"{count:,} {kind}" for kind, count in self.skipped.items()))
        return "; ".join(words)


def facts(data: Dataset) -> Facts:
    """Counts images that have the bytes of others; no picture of a file is decoded for it."""
    train, val, test = (digests(images) for images in (data.train_x, data.val_x, data.test_x))
    trained = frozenset(train)
    seen = trained.union(val)
    return Facts(
        classes=len(data.classes), train=len(train), val=len(val), test=len(test),
        val_in_train=sum(one in trained for one in val), test_in_train=sum(one in seen for one in test),
        skipped=dict(data.skipped),
    )  # fmt: skip


def fingerprint(data: Dataset) -> str:
    """Ten hexadecimal digits of what is in it: class names, labels, and the pixels or the files' bytes.

    Not where it lies, what its files are called, or in which order the disk lists them.
    """
    total = hashlib.sha256(repr((data.name.partition(":")[0], data.classes)).encode() + data.shown.encode())
    for images, labels in ((data.train_x, data.train_y), (data.val_x, data.val_y), (data.test_x, data.test_y)):
        total.update(labels.numpy().tobytes())
        total.update(images.numpy().tobytes() if isinstance(images, Tensor) else b"".join(digests(images)))
    return total.hexdigest()[:10]


def digests(images: Images) -> list[bytes]:
    """One for each image, equal where the images are: of a file's bytes, else of the pixels."""
    if isinstance(images, Tensor):
        return [_digest(row.tobytes()) for row in images.numpy()]
    own = getattr(images, "digests", None)
    if own is not None:
        found: list[bytes] = own()
        return found
    every = (images[index] for index in range(len(images)))
    return [_digest(repr((picture.mode, picture.size)).encode() + picture.tobytes()) for picture in every]


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
