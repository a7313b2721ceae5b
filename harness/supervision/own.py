"""A Vision Transformer that this harness trained, as a teacher: results/STUDY/weights/CELL.safetensors.

What it is built from lies beside it: the variant in the cell's rows, the body in recipes/HASH.json. Its patches are a
map of features, so it speaks for cells as a convolutional network does, where a head has learned from patches: an
auxiliary one from token labels, or the head itself by average pooling, where the mean over the cells is the logits.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from harness.backbone import vit, weights
from harness.data import Dataset
from harness.data.canvas import LAYOUTS
from harness.results import source
from harness.supervision.cells import Size
from harness.training.recipe import WEIGHTS
from variants.registry import parse

BODY = ("num_heads", "class_token", "spatial_layers", "pos_embed", "peg", "aux_head", "distilled", "precision")
PLACING = ("canvas", "clutter", "object_size")  # entries of a recipe: what the images were that it learned


@dataclass(frozen=True)
class Beside:
    """What a study's folder says of weights: the cell's first row, and its recipe."""

    row: dict[str, Any]
    recipe: dict[str, Any]

    @property
    def size(self) -> Size:
        """(height, width) in pixels of the images that it learned last."""
        sides = str(self.row["test_px"]).split("x")
        return int(sides[0]), int(sides[-1])


class OfPatches(nn.Module):
    """A ViT that gives the tokens of its patches as a map, by the names of timm's convolutional networks.

    labelled: whether token labels taught its auxiliary head. about: all that its logits depend on beside the weights.
    """

    def __init__(self, model: vit.ViT, labelled: bool, about: str = ""):
        super().__init__()
        self.model, self.num_features, self.about = model, model.size.width, about
        self.labelled = labelled and model.aux_head is not None

    @property
    def speaks_for_patches(self) -> bool:
        """Whether what `forward_head` says of a patch was ever learned."""
        return self.labelled or not self.model.prefix

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes]."""
        logits: Tensor = self.model(images)
        return logits

    def forward_features(self, images: Tensor) -> Tensor:
        """[B, C, h, w]: the tokens of the patches after the last norm."""
        tokens = self.model.tokens(images)[:, self.model.prefix :]
        return tokens.mT.unflatten(2, self.model.grid_of(images))

    def forward_head(self, features: Tensor) -> Tensor:
        """Logits [B, classes] of features [B, C, h, w]: what is said of the mean of all cells."""
        head = self.model.aux_head if self.labelled else self.model.head
        assert head is not None
        logits: Tensor = head(features.flatten(2).mean(dim=2))
        return logits


def is_own(words: str) -> bool:
    """Whether words name a file of weights, and no network of timm's."""
    return words.endswith(WEIGHTS)


def content(words: str) -> str:
    """Ten hexadecimal digits of the file. Raises ValueError where it cannot be read."""
    try:
        return hashlib.sha256(Path(words).read_bytes()).hexdigest()[:10]
    except OSError as error:
        raise ValueError(f"{words} cannot be read: {error.strerror}; name a file of weights in the folder of a study, "
                         f"as results/NAME/weights/CELL{WEIGHTS}") from error  # fmt: skip


def trained(words: str, data: Dataset, learned: int | None = None) -> tuple[OfPatches, Size]:
    """The network of that file, and the (height, width) of the images that it learned.

    learned: how many training images a student has, all by default. Raises ValueError for a file that lies in no
    study's folder, was trained on other or more images, or does not fit what lies beside it.
    """
    content(words)
    found = beside(Path(words))
    _check_images(words, found, data, len(data.train_y) if learned is None else learned)
    row, recipe = found.row, found.recipe
    body = {name: recipe[name] for name in BODY if recipe.get(name) is not None}
    if recipe.get("token_labels"):
        body["aux_head"] = True  # which a recipe does not name beside them
    variant = row["variant"]
    if row.get("family") == "controls":
        raise ValueError(f"{words} is of {variant!r}, a control that was widened to another variant's size; name the "
                         f"weights of a variant")  # fmt: skip
    try:
        model = vit.create(
            variant, size=row["size"], img_size=found.size, patch_size=recipe["patch_size"], in_chans=data.channels,
            num_classes=len(data.classes), **body,
        )  # fmt: skip
        about = repr((variant, body, source.of_classes([part.cls for part in parse(variant)])))
    except ValueError as error:
        raise ValueError(f"the model of {words} cannot be built: {error}; a variant of a file needs its --variant-file "
                         f"here, too") from error  # fmt: skip
    weights.load(model, Path(words))
    return OfPatches(model, bool(recipe.get("token_labels")), about), found.size


def beside(path: Path) -> Beside:
    """What the folder of a study says of weights in it. Raises ValueError where there is nothing, or half of it."""
    where = path.resolve()
    folder, cell = where.parent.parent, where.stem
    try:
        with (folder / f"{cell}.jsonl").open(encoding="utf-8") as rows:
            row = json.loads(rows.readline())
        recipe = json.loads((folder / "recipes" / f"{row['recipe_hash']}.json").read_text(encoding="utf-8"))
        found = Beside(row, recipe)
        _ = found.size, row["variant"], row["size"], row["dataset"], recipe["patch_size"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} has no rows and no recipe beside it that say what its model is; name a file in the "
                         f"folder of a study, as results/NAME/weights/CELL{WEIGHTS}") from error  # fmt: skip
    return found


def _check_images(words: str, found: Beside, data: Dataset, learned: int) -> None:
    """Raises ValueError where it learned from other images than there are here, or from more."""
    dataset, recipe, row = found.row["dataset"], found.recipe, found.row
    if dataset != data.name and not dataset.endswith(f" ({data.fingerprint})"):
        raise ValueError(f"{words} was trained on {dataset}, and would teach {data.name} here; name weights that were "
                         f"trained on {data.name}")  # fmt: skip
    there = data.placed
    if there is not None:
        here = {"canvas": there.size[0], "clutter": there.clutter, "object_size": max(there.originals.image_size)}
        learned_on = {"clutter": LAYOUTS[data.name.rpartition(":")[2]]} | recipe
        other = [name for name in PLACING if learned_on.get(name) not in (None, here[name])]
        if other or found.size != there.size:
            what = ", ".join(f"{name} {learned_on[name]}" for name in other) or f"{found.size[0]} px"
            raise ValueError(f"{words} was trained on other canvases ({what}) than those here; name weights that were "
                             f"trained with the same --canvas, --clutter and --object-size")  # fmt: skip
    images = recipe.get("train_images") or len(data.train_y)
    if learned < len(data.train_y) and (images != learned or float(row.get("train_fraction") or 1.0) < 1.0):
        raise ValueError(f"{words} learned from {images} images, and those who learn from it have {learned}; name "
                         f"weights of a study with the same --train-images")  # fmt: skip
