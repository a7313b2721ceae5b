"""A convolutional network of timm's that is trained on a dataset from scratch, once, and kept in the cache.

Small pictures are enlarged until its last feature map, at a stride of 8 where it can, has at least 4 x 4 cells. The
recipe is the same for all datasets, but for the number of epochs. It is a first try, not the end of a search: of three
networks of timm's the default one had the best validation accuracy on the digits, as they are and on canvases. No label
smoothing: it makes a teacher worse (arXiv 1906.02629).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import safetensors
import timm
import torch
from safetensors import torch as tensors_file
from torch import Tensor, nn

from harness.data import Dataset
from harness.results.store import write_bytes
from harness.supervision import cells
from harness.supervision.cells import Size
from harness.training import rng
from harness.training.batches import Source, feed, shown
from harness.training.checkpoint import Checkpoints, packed
from harness.training.loop import Training, correct, train
from harness.training.recipe import Recipe

DEFAULT = "test_resnet"
RECIPE = Recipe(epochs=10, warmup_epochs=1, batch_size=64, lr=3e-3, smoothing=0.0, crop_pad=1, scale=(0.25, 1.0))
OF_FILES, OF_MANY, MANY = 30, 5, 5_000  # epochs on pictures in files; on so many images in memory, and more
SEED = 0
LEAST = 32  # px
CELLS, DOUBLED = 4, 3  # cells a side at least, for which pictures are doubled so many times at most
FINE = 112  # px; larger pictures are seen at a stride of 16
CHECKPOINT_S = 600
FORMAT = 1


@dataclass(frozen=True)
class Convnet:
    """A trained network, the (height, width) of its pictures, and the share of validation images that it gets right."""

    network: nn.Module
    size: Size
    validated: float


def trained(name: str, data: Dataset, device: torch.device, cache: Path, workers: int, chosen: Tensor) -> Convnet:
    """The network of that name, trained on the training images `chosen`, int64 [n], or as the cache has it.

    Says in a line on stderr how good it became. Raises ValueError for a network that is no convolutional one or that
    cannot be trained.
    """
    recipe = recipe_for(len(chosen), data.streamed)
    network, size = fresh(name, data)
    network.to(device)
    key = hashlib.sha256(repr((FORMAT, data.fingerprint, name, recipe.fixed, SEED, size)).encode())
    key.update(chosen.numpy().tobytes())
    path = cache / "teachers" / f"{name}-{key.hexdigest()[:10]}.safetensors"
    facts = _kept(path, network)
    if facts is None:
        facts = _train(network, Source(data, recipe, SEED, device, size, chosen, len(chosen), workers), name, path)
    return Convnet(network.eval(), size, facts["validated"])


def enlarged(size: Size) -> Size:
    """The (height, width) at which pictures of a size are seen: by a power of two, up to LEAST px or more.

    Those below twice that are doubled at least.
    """
    shorter, times = min(size), 1
    while shorter * times < LEAST:
        times *= 2
    if times == 1 and shorter < 2 * LEAST:
        times = 2
    return size[0] * times, size[1] * times


def recipe_for(images: int, streamed: bool) -> Recipe:
    """The recipe for so many training images, streamed or in memory; its batch is no larger than their number."""
    epochs = OF_FILES if streamed else RECIPE.epochs if images < MANY else OF_MANY
    return replace(RECIPE, epochs=epochs, batch_size=min(RECIPE.batch_size, images))


def fresh(name: str, data: Dataset) -> tuple[nn.Module, Size]:
    """The untrained network and the (height, width) of its pictures, on which it has CELLS cells a side.

    Raises ValueError for a name that timm does not have, and for a network that is no convolutional one.
    """
    if not timm.is_model(name) or "." in name:  # a tag names weights, of which there are none
        raise ValueError(f"timm has no model {name!r}; choose {DEFAULT} or another convolutional network of "
                         f"timm.list_models()")  # fmt: skip
    size = enlarged(data.image_size)
    rng.reseed(torch.device("cpu"), SEED, "teacher", name)
    make = partial(timm.create_model, name, num_classes=len(data.classes), in_chans=data.channels)
    try:
        network = make(output_stride=8 if max(size) <= FINE else 16)
    except (TypeError, NotImplementedError, AssertionError):  # not all networks can be made finer
        network = make()
    for _ in range(DOUBLED):
        if min(cells.grid(network, name, data.channels, len(data.classes), size)) >= CELLS:
            break
        size = 2 * size[0], 2 * size[1]
    return network, size


def _train(network: nn.Module, source: Source, name: str, path: Path) -> dict[str, float]:
    """Trains, and writes weights and facts: the share of validation images that are right, and seconds."""
    from tqdm import tqdm

    data, epochs = source.data, source.recipe.total_epochs
    training = Training(network, feed(source), source.recipe, SEED, len(data.classes), source.device)
    checkpoints = Checkpoints(path.with_suffix(""), CHECKPOINT_S)
    quiet = os.environ.get("RANK", "0") != "0"
    try:
        with tqdm(total=epochs, unit=" epochs", desc=f"training {name}", delay=2, disable=quiet) as bar:
            history = train(training, bar.update, checkpoints)
    except FloatingPointError as error:
        raise ValueError(f"{name} cannot be trained on {data.name}: {error}; choose another network") from error
    right = correct(network, shown(data, data.val_x, data.val_y, source.size, source.device, source.workers))
    state = network.state_dict()
    facts = {"validated": float(right.float().mean()), "seconds": history.spent}
    write_bytes(path, packed(state, {"facts": json.dumps(facts | {"digest": digest(state)})}))
    shutil.rmtree(checkpoints.folder, ignore_errors=True)
    if not quiet:
        print(f"the teacher {name} is trained on {data.name}: {100 * facts['validated']:.1f} % of {len(right):,} "
              f"validation images are right, after {history.spent:.0f} s", file=sys.stderr)  # fmt: skip
    return facts


def _kept(path: Path, network: nn.Module) -> dict[str, float] | None:
    """Puts kept weights into the network; None, and the network as it was, where there are none that are whole."""
    if not path.exists():
        return None
    try:
        state = tensors_file.load(path.read_bytes())
        with safetensors.safe_open(path, framework="pt") as file:
            facts: dict[str, float] = json.loads(file.metadata()["facts"])
        if facts["digest"] == digest(state):
            network.load_state_dict(state)
            return facts
    except (OSError, safetensors.SafetensorError, ValueError, LookupError, TypeError, RuntimeError):
        pass
    print(f"the teacher in {path} is damaged, and is trained again", file=sys.stderr)
    return None


def digest(state: Mapping[str, Tensor]) -> str:
    """Ten hexadecimal digits of weights."""
    total = hashlib.sha256()
    for name in sorted(state):
        total.update(f"{name} {list(state[name].shape)}".encode())
        total.update(state[name].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:10]
