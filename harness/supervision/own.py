"""A Vision Transformer that this harness trained, as a teacher: results/STUDY/weights/CELL.safetensors.

What it is built from lies beside it: the variant in the cell's rows, the body in recipes/HASH.json. Its patches are a
map of features, so it speaks for cells as a convolutional network does, where a head has learned from patches: with
average pooling, where the mean over the cells is the logits, or with an auxiliary head.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from harness.backbone import vit, weights
from harness.data import Dataset
from harness.supervision.cells import Size
from harness.training.recipe import WEIGHTS

BODY = ("num_heads", "class_token", "spatial_layers", "pos_embed", "peg", "aux_head", "distilled")


class OfPatches(nn.Module):
    """A ViT that gives the tokens of its patches as a map, by the names of timm's convolutional networks."""

    def __init__(self, model: vit.ViT):
        super().__init__()
        self.model, self.num_features = model, model.size.width

    @property
    def speaks_for_patches(self) -> bool:
        """Whether what `forward_head` says of a patch was ever learned."""
        return self.model.aux_head is not None or not self.model.prefix

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes]."""
        logits: Tensor = self.model(images)
        return logits

    def forward_features(self, images: Tensor) -> Tensor:
        """[B, C, h, w]: the tokens of the patches after the last norm."""
        tokens = self.model.tokens(images)[:, self.model.prefix :]
        return tokens.mT.unflatten(2, self.model.grid_of(images))

    def forward_head(self, features: Tensor) -> Tensor:
        """Logits [B, classes] of features [B, C, h, w]: the mean of what is said of each cell."""
        head = self.model.head if self.model.aux_head is None else self.model.aux_head
        logits: Tensor = head(features.flatten(2).mean(dim=2))
        return logits


def is_own(words: str) -> bool:
    """Whether words name a file of weights, and no network of timm's."""
    return words.endswith(WEIGHTS)


def trained(words: str, data: Dataset) -> tuple[OfPatches, Size]:
    """The network of that file, and the (height, width) of the images that it learned.

    Raises ValueError for a file that lies in no study's folder, was trained on other images or does not fit what lies
    beside it.
    """
    path = Path(words)
    variant, recipe, dataset = _beside(path)
    if dataset != data.name and not dataset.endswith(f" ({data.fingerprint})"):
        raise ValueError(f"{words} was trained on {dataset}, and would teach {data.name} here; name weights that were "
                         f"trained on {data.name}")  # fmt: skip
    side = recipe.get("img_size")
    size = (side, side) if side else data.image_size
    body = {name: recipe[name] for name in BODY if recipe.get(name) is not None}
    if recipe.get("token_labels"):
        body["aux_head"] = True  # which a recipe does not name beside them
    try:
        model = vit.create(
            variant, size=recipe["size"], img_size=size, patch_size=recipe["patch_size"], in_chans=data.channels,
            num_classes=len(data.classes), **body,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"the model of {words} cannot be built: {error}") from error
    weights.load(model, path)
    return OfPatches(model), size


def _beside(path: Path) -> tuple[str, dict[str, Any], str]:
    """The variant, the recipe and the dataset that the study's folder has of these weights."""
    where = path.resolve()
    folder, cell = where.parent.parent, where.stem
    try:
        with (folder / f"{cell}.jsonl").open(encoding="utf-8") as rows:
            row = json.loads(rows.readline())
        recipe = json.loads((folder / "recipes" / f"{row['recipe_hash']}.json").read_text(encoding="utf-8"))
        return row["variant"], {"size": row["size"], "patch_size": recipe["patch_size"]} | recipe, row["dataset"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} has no rows and no recipe beside it that say what its model is; name a file in the "
                         f"folder of a study, as results/NAME/weights/CELL{WEIGHTS}") from error  # fmt: skip
