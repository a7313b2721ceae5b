"""Where a training goes on: its weights, the optimizer's moments, how far it was; two of each, the newest first.

A checkpoint is one safetensors file (no pickle), its progress as JSON in the header, the digest of its contents in its
name: a file that was cut off or altered is named, left alone, and the one before it is used.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
from safetensors import torch as tensors_file
from torch import Tensor, nn

from harness import distributed
from harness.backbone.mismatch import mismatch
from harness.results.store import write_bytes

KEPT = 2
NAME = re.compile(r"(\d{9})-([0-9a-f]{16})\.safetensors")

State = dict[str, Tensor]
Progress = dict[str, Any]


@dataclass
class Checkpoints:
    """The checkpoints of one training in a folder of their own, written at most once in `interval` seconds."""

    folder: Path
    interval: float
    _last: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        return time.monotonic() - self._last >= self.interval

    def save(self, step: int, state: Mapping[str, Tensor], progress: Progress) -> None:
        """Writes a checkpoint, whole or not at all, and drops all but the newest two; rank 0 does."""
        if distributed.rank():
            return
        contents = packed(state, {"progress": json.dumps(progress, allow_nan=False)})
        write_bytes(self.folder / f"{step:09d}-{digest(contents)}.safetensors", contents)
        for old in self.found()[KEPT:]:
            old.unlink(missing_ok=True)
        self._last = time.monotonic()

    def newest(self) -> tuple[State, Progress] | None:
        """The newest whole checkpoint; None where there is none. A damaged one is named on stderr.

        All ranks go on from the one that rank 0 finds whole.
        """
        path, contents = (None, None) if distributed.rank() else self._whole()
        path = distributed.agreed(path)
        return unpacked(path) if path is not None and contents is None else contents

    def _whole(self) -> tuple[Path | None, tuple[State, Progress] | None]:
        for path in self.found():
            try:
                return path, unpacked(path)
            except ValueError as error:
                print(f"{error}; the checkpoint before it is used, or none", file=sys.stderr)
        return None, None

    def found(self) -> list[Path]:
        """The files, newest first."""
        return sorted((p for p in self.folder.glob("*.safetensors") if NAME.fullmatch(p.name)), reverse=True)


def digest(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()[:16]


def packed(state: Mapping[str, Tensor], header: dict[str, str]) -> bytes:
    """Tensors as the bytes of a safetensors file; those that share memory are written each on its own."""
    apart = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    return tensors_file.save(apart, header)


def unpacked(path: Path) -> tuple[State, Progress]:
    """What a checkpoint holds. Raises ValueError, naming the file, where it is not what was written."""
    contents = path.read_bytes()
    expected = NAME.fullmatch(path.name)
    if expected is None or digest(contents) != expected[2]:
        raise ValueError(f"the checkpoint {path} is damaged: its contents are not those that its name promises")
    with safetensors.safe_open(path, framework="pt") as file:
        progress = json.loads(file.metadata()["progress"])
    return tensors_file.load(contents), progress


def save_weights(path: Path, model: nn.Module) -> None:
    """A model's weights as one safetensors file; rank 0 writes it."""
    if distributed.rank():
        return
    write_bytes(path, packed(model.state_dict(), {"format": "pt"}))


def load_weights(path: Path, model: nn.Module) -> None:
    """Puts a file's weights into the model, all or none.

    Raises ValueError where there is no such file, or it is damaged or another model's.
    """
    try:
        state = tensors_file.load_file(path)
    except FileNotFoundError as error:
        raise ValueError(f"there are no weights at {path}, which the training leaves; see why it failed") from error
    except safetensors.SafetensorError as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"the weights at {path} cannot be used: {first}; delete the file and its rows") from error
    found = mismatch(model, state)
    if found is not None:
        raise ValueError(f"the weights at {path} cannot be used, since they are another model's: {found.differs}; "
                         f"delete the file and its rows, and run the study again")  # fmt: skip
    model.load_state_dict(state)
