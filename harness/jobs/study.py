"""What is held fixed in a study: the recipe of training, the backbone's factors, the data.

Frozen, whole, and hashed by content. No torch here: the command line reads its defaults from this file. The published
recipes are in harness/training/published.py, the presets in harness/presets.py.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from harness.backbone.sizes import ClassToken, PosEmbed, Precision, in_full, size_of
from harness.results.metrics import MEASUREMENTS
from harness.training.recipe import ANNOTATE, WEIGHTS, Flag, Recipe, at_least, finite

Match = Literal["params", "gmac"]
Pixels = int | tuple[int, int]  # a square's side, or (height, width)

VARIANTS = "sp_sa,psa,rpe"
MEASURED = ("cost", "speed", "accuracy", "shift", "calibration", "maps")  # where nothing else is asked for
TUNING_SEED = 1_000_003  # the first of the trainings that choose a learning rate: no study's own
LEAST_RATES = 4
PLACING = ("canvas", "clutter", "object_size", "places")
# unset, they are left out, as in older studies
YOUNG = ("background", "init_from", "tune", "tune_seeds", "token_labels", "teacher", "taught", *PLACING)
MEASURES = ("cost", "speed", "accuracy", *MEASUREMENTS)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that a comparison holds fixed, and what it compares; None leaves a factor to the size or the dataset.

    A field with a `Flag` is also one of the command line, and its help text says what the field means. vary: the
    factor that an ablation varies, and its values. Raises ValueError for a value out of range.
    """

    name: str
    note: str
    recipe: Recipe
    vary: tuple[str, tuple[Any, ...]] | None = None
    precision: Precision = "float32"
    taught: str = ""  # stands for the content of label maps or of a teacher, once these are there

    variants: Annotated[
        str,
        Flag(f"specs and families (default: {VARIANTS}, the preset's, or the file's)", "comparison", metavar="SPECS"),
    ] = VARIANTS
    baseline: Annotated[
        str, Flag("the spec to compare all others with (default: sa)", "comparison", metavar="SPEC")
    ] = "sa"
    primary: Annotated[
        str | None,
        Flag("the variants to decide on (default: all but controls and ablations)", "comparison", metavar="SPECS"),
    ] = None
    delta: Annotated[
        float, Flag("a difference of top-1 below which two variants are equal", "comparison", metavar="POINTS")
    ] = 0.5
    seeds: Annotated[tuple[int, ...], Flag("paired seeds: 0-2 or 0,1,2", "comparison")] = (0, 1, 2)
    resolutions: Annotated[tuple[Pixels, ...], Flag("test sizes for transfer: 8,12,8x16", "comparison")] = ()
    finetune_epochs: Annotated[int, Flag("epochs of fine-tuning at each other resolution", "comparison")] = 0
    train_fractions: Annotated[
        tuple[float, ...], Flag("train on shares of the images, with as many updates each: 0.01,0.1,1", "comparison")
    ] = (1.0,)
    match: Annotated[Match | None, Flag("also train the baseline widened to each variant's size", "comparison")] = None
    reach: Annotated[tuple[float, ...], Flag("accuracies to time: 80,90", "comparison", metavar="PERCENT")] = ()
    measure: Annotated[tuple[str, ...], Flag(",".join(MEASURES), "comparison", metavar="WHAT")] = MEASURED

    dataset: Annotated[
        str, Flag("digits, digits:translated, fashion_mnist, cifar10, folder:PATH, probes:same_row ...", "data")
    ]
    data_dir: Annotated[str | None, Flag("folder of the images", "data", metavar="DIR")] = None
    background: Annotated[str | None, Flag("colour behind transparent pictures (default: white)", "data")] = None
    allow_skipped: Annotated[
        float, Flag("share of a folder's files that may be of no kind that is read (default: 0.01)", "data")
    ] = 0.01
    canvas: Annotated[
        int | None, Flag("side of the canvas of SET:translated (default: 1.5 times the images')", "data", metavar="PX")
    ] = None
    clutter: Annotated[int | None, Flag("pieces of other images in SET:cluttered (default: 4)", "data")] = None
    object_size: Annotated[
        int | None, Flag("side to which images are shrunk before they are placed", "data", metavar="PX")
    ] = None
    places: Annotated[int | None, Flag("places of each test image on its canvas (default: 3)", "data")] = None
    train_images: Annotated[int | None, Flag("use only this many of the training images", "data")] = None
    img_size: Annotated[int | None, Flag("side of the training images", "data", metavar="PX")] = None
    workers: Annotated[int, Flag("processes that read pictures", "data", short="-j")] = 4

    size: Annotated[str, Flag("nano, micro, tiny, small, base, convit_small, sp_vit_s ...", "model")]
    patch_size: Annotated[int, Flag("side of a patch", "model", metavar="PX")]
    num_heads: Annotated[int | None, Flag("heads a layer, in place of the size's own", "model")] = None
    class_token: Annotated[ClassToken | None, Flag("late: it joins after the spatial layers", "model")] = None
    spatial_layers: Annotated[int | None, Flag("how many leading layers carry the variant", "model")] = None
    pos_embed: Annotated[PosEmbed | None, Flag("kind of position embedding", "model")] = None
    pos_std: Annotated[float | None, Flag("initial standard deviation of a learned embedding", "model")] = None
    peg: Annotated[bool | None, Flag("add CPVT's depthwise convolution after each block", "model")] = None
    aux_head: Annotated[bool | None, Flag("add a head on the patches, for --token-labels", "model")] = None
    distilled: Annotated[bool | None, Flag("add DeiT's distillation token, for --distill", "model")] = None

    init_from: Annotated[
        str | None,
        Flag("weights that all models start from: a file (.safetensors, .pth), or timm:NAME", "model", metavar="FILE"),
    ] = None

    token_labels: Annotated[
        str | None,
        Flag("label maps of the training images: a folder, or annotate:NAME, which makes them first, by a network of "
             "timm's that is trained here, annotate:timm:NAME, by a pretrained one, or annotate:FILE, by the weights "
             "of a study", metavar="MAPS"),
    ] = None  # fmt: skip
    teacher: Annotated[
        str | None,
        Flag("network of --distill: a convolutional one of timm's, NAME, trained here first, or timm:NAME, pretrained; "
             "or a file of a study's weights", metavar="MODEL"),
    ] = None  # fmt: skip
    tune: Annotated[
        str | None,
        Flag("learning rates that each variant tries first, judged on the validation split: 5e-4,1e-3,2e-3,4e-3; lr: a "
             "quarter, half, once and twice --lr", "recipe", metavar="RATES"),
    ] = None  # fmt: skip
    tune_seeds: Annotated[int, Flag("seeds of --tune: all rates on the first, the better half on each", "recipe")] = 3
    val_interval: Annotated[int, Flag("epochs from one validation to the next")] = 1
    backend: Annotated[str, Flag("auto, eager, sdpa, tiled, grouped, flex, triton", "machine")] = "auto"
    torchcompile: Annotated[bool, Flag("compile the models with torch.compile", "machine")] = False
    jobs: Annotated[
        int | None, Flag("trainings at a time (default: as the CPU has cores; one on a GPU)", "machine")
    ] = None
    threads: Annotated[int, Flag("cores of the CPU that a training takes", "machine")] = 1
    checkpoint_interval: Annotated[float, Flag("seconds between checkpoints", "machine", metavar="S")] = 60.0
    speed_rounds: Annotated[int, Flag("interleaved rounds of timing", "machine")] = 30

    def __post_init__(self) -> None:
        finite(self)
        at_least(self, 1, "speed_rounds", "val_interval", "threads", "tune_seeds")
        at_least(self, 0, "finetune_epochs", "checkpoint_interval", "workers")
        for name in ("patch_size", "img_size", "num_heads", "train_images", "jobs", *PLACING):
            if getattr(self, name) is not None:
                at_least(self, 1, name)
        if self.delta <= 0:
            raise ValueError(f"delta={self.delta} must be above 0: no test shows that a difference is exactly 0")
        if not 0 <= self.allow_skipped <= 1:
            raise ValueError(f"allow_skipped={self.allow_skipped} is no share of files; choose 0 to 1")
        if self.rates and len(self.rates) < LEAST_RATES:
            raise ValueError(f"tune={self.tune} are {len(self.rates)} learning rates; name at least {LEAST_RATES}, "
                             f"such as 5e-4,1e-3,2e-3,4e-3, or write lr")  # fmt: skip
        if self.rates and min(self.rates) < self.recipe.min_lr:
            raise ValueError(f"tune={self.tune} goes below min_lr={self.recipe.min_lr}; lower --min-lr or leave that "
                             f"rate out")  # fmt: skip
        if taken := sorted({*self.seeds} & {*self.tuning_seeds}):
            raise ValueError(f"seed {taken[0]} is one that --tune trains with; choose another")
        self._check_teaching()
        if self.init_from and self.match:
            raise ValueError(f"--match {self.match} widens the MLPs of the baseline, which the weights of "
                             f"{self.init_from} do not fit; leave out one of the two")  # fmt: skip
        if self.pos_std is not None and self.pos_std < 0:
            raise ValueError(f"pos_std={self.pos_std} must be a standard deviation: 0 or more")
        for px in self.resolutions:
            if min(px if isinstance(px, tuple) else (px,)) < 1:
                raise ValueError(f"resolution {_px(px)} has no pixel; write whole numbers from 1, or 8x12")
        if not self.seeds or min(self.seeds) < 0 or max(self.seeds) >= 2**63:
            raise ValueError(f"seeds {self.seeds} must be from 0 and below 2**63; write 0-2 or 0,1,2")
        if not self.train_fractions or not all(0 < fraction <= 1 for fraction in self.train_fractions):
            raise ValueError(f"train fractions {self.train_fractions} must be above 0 and up to 1; write 0.1,1")
        if len(set(self.train_fractions)) < len(self.train_fractions):
            raise ValueError(f"train fractions {self.train_fractions} name one twice; write each once")
        if not all(0 < share <= 100 for share in self.reach):
            raise ValueError(f"reach={self.reach} must be percentages, above 0 and up to 100; write 90,95")
        for word in MEASUREMENTS:
            if word in self.measure and "accuracy" not in self.measure:
                raise ValueError(f"{word} is read from trained weights; write --measure accuracy,{word}")
        unknown = [word for word in self.measure if word not in MEASURES]
        if unknown or not self.measure:
            raise ValueError(f"there is no measurement {', '.join(unknown) or repr('')}; choose {', '.join(MEASURES)}")

    def _check_teaching(self) -> None:
        """Raises ValueError where token labels or a teacher have no head to teach, or settings have no effect."""
        recipe, own = self.recipe, size_of(self.size)
        patches = own.aux_head if self.aux_head is None else self.aux_head
        weighed = (recipe.cls_weight, recipe.dense_weight) != (Recipe.cls_weight, Recipe.dense_weight)
        tempered = recipe.distillation_alpha is not None or recipe.distillation_tau != Recipe.distillation_tau
        if self.token_labels is not None and not self.token_labels.removeprefix(ANNOTATE):
            raise ValueError(f"token_labels={self.token_labels!r} names nothing; write a folder, or annotate:MODEL")
        if self.token_labels and not patches:
            raise ValueError(f"token_labels={self.token_labels} need a head on the patches; write --aux-head")
        if self.token_labels and (recipe.mixes or recipe.distill):
            other = "distill" if recipe.distill else "mixup and cutmix"
            raise ValueError(f"token_labels={self.token_labels} do not go with {other}; leave out one of them, or mix "
                             f"patches with --mixtoken")  # fmt: skip
        if (self.token_labels or self.teacher) and self.train_fractions != (1.0,):
            raise ValueError("--train-fractions do not go with --token-labels and --teacher, whose network learns from "
                             "all training images; write --train-images for fewer")  # fmt: skip
        if weighed and not self.token_labels:
            raise ValueError(
                "cls_weight and dense_weight have no effect without --token-labels; add it, or leave them out"
            )
        if recipe.distill and not self.teacher:
            raise ValueError(f"distill={recipe.distill} needs a teacher; add --teacher NAME, such as test_resnet")
        if self.teacher and not recipe.distill:
            raise ValueError(f"teacher={self.teacher} has no effect without --distill soft or --distill hard; add one")
        if tempered and not recipe.distill:
            raise ValueError("distillation_alpha and distillation_tau have no effect without --distill; add it, or "
                             "leave them out")  # fmt: skip
        if recipe.distill == "hard" and recipe.distillation_tau != Recipe.distillation_tau:
            raise ValueError(
                "distillation_tau has no effect on hard distillation; leave it out, or write --distill soft"
            )
        if recipe.distill and patches:
            raise ValueError(f"distill={recipe.distill} leaves the head on the patches of {self.size} untaught; add "
                             f"--no-aux-head")  # fmt: skip
        if self.distilled and self.token_labels:
            raise ValueError("--distilled adds a token that --token-labels do not teach; leave it out")

    def arms(self) -> list[Study]:
        """One study for each value of the factor that an ablation varies; else this one."""
        if self.vary is None:
            return [self]
        factor, values = self.vary
        return [replace(self, vary=None, **{factor: value}) for value in values]

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates that each variant tries, the lowest first. Raises ValueError for text that names none."""
        if self.tune is None:
            return ()
        if self.tune == "lr":
            return tuple(self.recipe.lr * share for share in (0.25, 0.5, 1, 2))
        try:
            found = sorted({float(word) for word in self.tune.split(",")})
        except ValueError:
            found = []
        if not found or not all(0 < rate < math.inf for rate in found):  # nan is in no order
            raise ValueError(f"tune={self.tune!r} is no list of learning rates; write 5e-4,1e-3,2e-3,4e-3, or lr")
        return tuple(found)

    @property
    def tuning_seeds(self) -> tuple[int, ...]:
        """The seeds of the trainings that choose a learning rate."""
        return tuple(range(TUNING_SEED, TUNING_SEED + self.tune_seeds)) if self.rates else ()

    @property
    def at_a_time(self) -> int:
        """How many trainings run at a time, once that is known."""
        return self.jobs or 1

    @property
    def fixed(self) -> dict[str, Any]:
        """What a trained cell depends on beside its variant, seed and share of the training images."""
        kept = {name: value for name, value in asdict(self).items() if name not in FREE}
        if self.background == "white":
            kept["background"] = None
        kept["tune"] = self.rates or None  # so that "lr" and its rates in full are one study
        kept["tune_seeds"] = len(self.tuning_seeds) or None
        kept["init_from"] = None if self.init_from is None else contents(self.init_from)
        kept["taught"] = self.taught or None
        # wherever these lie: `taught` is what is in them
        if self.token_labels is not None and not self.token_labels.startswith(ANNOTATE):
            kept["token_labels"] = "folder"
        for name in ("token_labels", "teacher"):
            if str(kept[name]).endswith(WEIGHTS):
                kept[name] = "weights"
        whole = {name: value for name, value in in_full(kept).items() if name not in YOUNG or value is not None}
        return whole | self.recipe.fixed

    @property
    def placing(self) -> dict[str, int | None]:
        """How images are put on canvases, by name; None is the default."""
        return {name: getattr(self, name) for name in PLACING}

    @property
    def recipe_hash(self) -> str:
        return digest(self.fixed)

    def described(self, command: str) -> dict[str, Any]:
        """The study as it is kept beside its rows, with the command that asked for it."""
        flat = asdict(self) | ({} if self.rates else {"tune_seeds": None})
        flat["weights"] = None if self.init_from is None else contents(self.init_from)
        flat["taught"] = self.taught or None
        if self.token_labels:  # which want the head, so it is no choice
            flat["aux_head"] = None
        return {"command": command} | flat.pop("recipe") | {k: v for k, v in flat.items() if v is not None}


# What changes which cells there are, where they run and what is said of them, but not what a trained cell becomes.
FREE = frozenset({
    "name", "note", "recipe", "variants", "seeds", "train_fractions", "finetune_epochs", "baseline", "match", "vary",
    "primary", "delta", "reach", "measure", "data_dir", "allow_skipped", "speed_rounds", "checkpoint_interval", "jobs",
    "threads", "workers",
})  # fmt: skip


def contents(source: str) -> str:
    """What stands for weights wherever their file lies: its digest, or timm's name. Raises ValueError without one."""
    if source.startswith("timm:"):
        return source
    path = Path(source)
    try:
        about = path.stat()
        return _contents(path, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise ValueError(f"init_from={source} cannot be read: {error.strerror}; name a .safetensors or a .pth file, or "
                         f"timm:NAME") from error  # fmt: skip


@cache
def _contents(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def digest(content: Any) -> str:
    """Ten hexadecimal digits that stand for a JSON-like content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def _px(px: Pixels) -> str:
    return f"{px[0]}x{px[1]}" if isinstance(px, tuple) else str(px)
