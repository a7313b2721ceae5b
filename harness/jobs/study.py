"""What is held fixed in a study: the recipe of training, the backbone's factors, the data.

Frozen, whole, and hashed by content. No torch here: the command line reads its defaults from this file. The published
recipes and the presets are in harness/presets.py.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from harness.backbone.sizes import ClassToken, PosEmbed, Precision, in_full
from harness.training.recipe import Recipe, at_least, finite

Match = Literal["params", "gmac"]
Pixels = int | tuple[int, int]  # a square's side, or (height, width)

VARIANTS = "sp_sa,psa,rpe"
# read from a training's weights or probabilities, each by the module of that name in harness/measure
OF_TRAINED = ("shift", "calibration", "corruption", "maps", "saliency")
MEASURED = ("cost", "speed", "accuracy", "shift", "calibration", "maps")  # where nothing else is asked for
MEASURES = ("cost", "speed", "accuracy", *OF_TRAINED)


@dataclass(frozen=True)
class Study:
    """Everything that a comparison holds fixed, and what it compares. None leaves a factor to the size or the dataset.

    img_size, resolutions and patch_size in pixels; train on img_size, test on it and on each of the resolutions.
    train_images: so many of the dataset's training images, None for all; train_fractions: shares of these, each with
    the same number of updates. finetune_epochs: at each other resolution, 0 for none. vary: a factor and its values, an
    ablation. reach: validation accuracies in %, whose epochs and seconds are reported. match: `sa` widened to each
    variant's parameters or GMACs. checkpoint_interval in seconds, val_interval in epochs, jobs in cells at a time,
    workers in processes that read pictures.
    """

    name: str
    dataset: str
    size: str
    patch_size: int
    recipe: Recipe
    note: str
    variants: str = VARIANTS
    img_size: int | None = None
    num_heads: int | None = None
    class_token: ClassToken | None = None
    spatial_layers: int | None = None
    pos_embed: PosEmbed | None = None
    pos_std: float | None = None
    peg: bool | None = None
    precision: Precision = "float32"
    torchcompile: bool = False
    resolutions: tuple[Pixels, ...] = ()
    finetune_epochs: int = 0
    train_images: int | None = None
    train_fractions: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] = (0, 1, 2)
    baseline: str = "sa"
    match: Match | None = None
    vary: tuple[str, tuple[Any, ...]] | None = None
    reach: tuple[float, ...] = ()
    measure: tuple[str, ...] = MEASURED
    backend: str = "auto"
    data_dir: str | None = None
    speed_rounds: int = 30
    val_interval: int = 1
    checkpoint_interval: float = 60.0
    jobs: int = 1
    workers: int = 4

    def __post_init__(self) -> None:
        finite(self)
        at_least(self, 1, "speed_rounds", "val_interval", "jobs")
        at_least(self, 0, "finetune_epochs", "checkpoint_interval", "workers")
        for name in ("patch_size", "img_size", "num_heads", "train_images"):
            if getattr(self, name) is not None:
                at_least(self, 1, name)
        if self.pos_std is not None and self.pos_std < 0:
            raise ValueError(f"pos_std={self.pos_std} is no standard deviation; choose 0 or more")
        for px in self.resolutions:
            if min(px if isinstance(px, tuple) else (px,)) < 1:
                raise ValueError(f"resolution {_px(px)} has no pixel; resolutions are whole numbers from 1, or 8x12")
        if not self.seeds or min(self.seeds) < 0 or max(self.seeds) >= 2**63:
            raise ValueError(f"seeds {self.seeds} are not to be had; write 0-2 or 0,1,2")
        if not self.train_fractions or not all(0 < fraction <= 1 for fraction in self.train_fractions):
            raise ValueError(f"train fractions {self.train_fractions} are not to be had; write shares such as 0.1,1")
        if len(set(self.train_fractions)) < len(self.train_fractions):
            raise ValueError(f"train fractions {self.train_fractions} name one twice; keep one")
        if not all(0 < share <= 100 for share in self.reach):
            raise ValueError(f"reach={self.reach} is no accuracy; write percentages such as 90,95")
        for word in OF_TRAINED:
            if word in self.measure and "accuracy" not in self.measure:
                raise ValueError(f"{word} is read from trained weights; write --measure accuracy,{word}")
        unknown = [word for word in self.measure if word not in MEASURES]
        if unknown or not self.measure:
            raise ValueError(f"there is no measurement {', '.join(unknown) or repr('')}; choose {', '.join(MEASURES)}")

    def arms(self) -> list[Study]:
        """One study for each value of the factor that an ablation varies; else this one."""
        if self.vary is None:
            return [self]
        factor, values = self.vary
        return [replace(self, vary=None, **{factor: value}) for value in values]

    @property
    def fixed(self) -> dict[str, Any]:
        """What a trained cell depends on beside its variant, seed and share of the training images."""
        kept = {name: value for name, value in asdict(self).items() if name not in FREE}
        return in_full(kept) | asdict(self.recipe)

    @property
    def recipe_hash(self) -> str:
        return digest(self.fixed)


# What changes which cells there are, where they run and what is said of them, but not what a trained cell becomes.
FREE = frozenset({
    "name", "note", "recipe", "variants", "seeds", "train_fractions", "finetune_epochs", "baseline", "match", "vary",
    "reach", "measure", "data_dir", "speed_rounds", "checkpoint_interval", "jobs", "workers",
})  # fmt: skip


def digest(content: Any) -> str:
    """Ten hexadecimal digits that stand for a JSON-like content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def _px(px: Pixels) -> str:
    return f"{px[0]}x{px[1]}" if isinstance(px, tuple) else str(px)
