"""What is held fixed in a study: the recipe of training, the backbone's factors, the data; and presets of them.

A preset is a function that returns a whole, frozen configuration, its docstring a lab note: command, hardware, how
long, what to expect. No torch here: the command line reads its defaults from this file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

ClassToken = Literal["late", "input", "none"]
PosEmbed = Literal["learned", "sincos", "none"]


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: AdamW, linear warm-up, cosine decay; the names are timm's.

    epochs, warmup_epochs in epochs; lr, min_lr, warmup_lr per step at this batch size, not scaled by it.
    """

    epochs: int = 30
    batch_size: int = 64
    lr: float = 1e-3
    min_lr: float = 1e-5
    warmup_lr: float = 1e-6
    warmup_epochs: int = 5
    weight_decay: float = 0.05
    smoothing: float = 0.1
    drop_path: float = 0.0
    clip_grad: float | None = None

    def __post_init__(self) -> None:
        _finite(self)
        _at_least(self, 1, "epochs", "batch_size")
        _at_least(self, 0, "lr", "min_lr", "warmup_lr", "warmup_epochs", "weight_decay")
        for name in ("smoothing", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is no rate; choose 0 or more and less than 1")
        if self.clip_grad is not None and self.clip_grad <= 0:
            raise ValueError(f"clip_grad={self.clip_grad} clips every gradient to nothing; choose more than 0")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"{self.warmup_epochs} epochs of warm-up leave nothing of {self.epochs} epochs; "
                             f"choose fewer with --warmup-epochs")  # fmt: skip


@dataclass(frozen=True)
class Study:
    """Everything but the variants. None leaves a factor to the size (harness/backbone.py) or to the dataset.

    img_size, resolutions and patch_size in pixels; train on img_size, test on it and on each of the resolutions.
    """

    name: str
    dataset: str
    size: str
    patch_size: int
    recipe: Recipe
    note: str
    img_size: int | None = None
    num_heads: int | None = None
    class_token: ClassToken | None = None
    spatial_layers: int | None = None
    pos_embed: PosEmbed | None = None
    pos_std: float | None = None
    resolutions: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    baseline: str = "sa"
    measure: tuple[str, ...] = ("cost", "speed", "accuracy")
    backend: str = "auto"
    data_dir: str | None = None
    speed_rounds: int = 30

    def __post_init__(self) -> None:
        _finite(self)
        _at_least(self, 1, "speed_rounds")
        for name in ("patch_size", "img_size", "num_heads"):
            if getattr(self, name) is not None:
                _at_least(self, 1, name)
        if self.pos_std is not None and self.pos_std < 0:
            raise ValueError(f"pos_std={self.pos_std} is no standard deviation; choose 0 or more")
        if any(px < 1 for px in self.resolutions):
            raise ValueError(f"resolution {min(self.resolutions)} has no pixel; resolutions are whole numbers from 1")
        if not self.seeds or min(self.seeds) < 0 or max(self.seeds) >= 2**63:
            raise ValueError(f"seeds {self.seeds} are not to be had; write 0-2 or 0,1,2")
        unknown = [word for word in self.measure if word not in MEASURES]
        if unknown or not self.measure:
            raise ValueError(f"there is no measurement {', '.join(unknown) or repr('')}; choose {', '.join(MEASURES)}")

    @property
    def fixed(self) -> dict[str, Any]:
        """What a trained cell depends on beside its variant and seed."""
        kept = {k: v for k, v in asdict(self).items() if k not in ("name", "note", "recipe", "seeds", "measure")}
        for irrelevant in ("baseline", "data_dir", "speed_rounds"):
            del kept[irrelevant]
        return kept | asdict(self.recipe)

    @property
    def recipe_hash(self) -> str:
        return digest(self.fixed)


MEASURES = ("cost", "speed", "accuracy")


def digest(content: Any) -> str:
    """Ten hexadecimal digits that stand for a JSON-like content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def digits() -> Study:
    """Handwritten digits, 8x8 px, patch 2: a 4x4 grid, a ViT of width 64 and 4 layers, the last two plain.

    Command: python -m harness.run --variants sp_sa,psa,rpe. Two CPU cores, about 6 s a cell. To expect: all variants
    near 97 %, apart by less than three seeds resolve; the transfer to 12 and 16 px differs more.
    """
    return Study(
        name="digits",
        dataset="digits",
        size="micro",
        patch_size=2,
        pos_std=0.5,
        recipe=Recipe(epochs=20, lr=4e-3),
        resolutions=(8, 12, 16),
        speed_rounds=24,
        note="lr and pos_std by python -m harness.search: sa alone, validation split, 3 seeds, 30 points. 96.6 % here; "
        "with the usual pos_std of 0.02, where the patch embedding drowns the position, at most 81 %",
    )


PRESETS: dict[str, Callable[[], Study]] = {"digits": digits}


def preset(name: str) -> Study:
    """The configuration of that name. Raises ValueError for one that does not exist."""
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; choose {', '.join(PRESETS)}")
    return PRESETS[name]()


def _finite(settings: Any) -> None:
    for name, value in vars(settings).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}={value} is not to be had; it is a finite number")


def _at_least(settings: Any, least: float, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not value >= least:
            raise ValueError(f"{name}={value} is not to be had; it is at least {least}")
