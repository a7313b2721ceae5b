"""What recipes say beyond provenance: in which entries they train differently, in words, and what is to be reached."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from harness.report.study.rows import text

Recipes = Mapping[str, Mapping[str, Any]]  # by recipe hash

# What a recipe may differ in and still train the same cells: which cells, where, and what was said about them.
BESIDE = {
    "command", "note", "variants", "variant_file", "baseline", "seeds", "resolutions", "measure", "jobs", "threads",
    "workers", "output", "report", "preset", "data_dir", "study", "name", "train_fractions", "search", "backend",
    "dry_run", "speed_rounds", "reach", "match", "vary", "finetune_epochs", "checkpoint_interval", "val_interval",
    "allow_skipped", "images", "delta", "primary", "looks", "lessons_made", "token_labels", "teacher", "distill",
    "taught",
}  # fmt: skip
COLUMNS = {"dataset": "dataset", "size": "size", "img_size": "train_px"}  # entries that rows have a column for

WORDS = {
    "pos_embed": "position embedding", "pos_std": "initial std of the position embedding", "lr": "learning rate",
    "min_lr": "least learning rate", "warmup_lr": "learning rate before warm-up", "warmup_epochs": "warm-up epochs",
    "smoothing": "label smoothing", "img_size": "image size", "num_heads": "heads", "clip_grad": "gradient clipping",
    "tune": "tuned learning rates", "tune_seeds": "seeds of the tuning", "init_from": "started from",
    "weights": "with contents",
    "lessons": "learning from", "aa": "augmentation", "model_ema": "EMA of the weights",
    "torchcompile": "torch.compile",
}  # fmt: skip


def recipe_labels(hashes: list[str], recipes: Recipes, told: Collection[str] = ()) -> dict[str, str]:
    """A short text per recipe hash that is equal where training is: the entries in which the recipes differ.

    Entries that are `told` elsewhere (by a column of the rows) are left out.
    """
    known = [recipes[name] for name in hashes if name in recipes]
    entries = differing(known, told)
    lost = [name for name in hashes if name and name not in recipes]
    labels = dict.fromkeys(hashes, "")
    for name in hashes:
        if name in lost and (known or len(lost) > 1):
            labels[name] = f"recipe {name[:12]} (its file is missing)"
        elif name in recipes and entries:
            labels[name] = ", ".join(entry_words(key, recipes[name].get(key)) for key in entries)
        elif name in recipes and lost:
            labels[name] = "recipe as kept"
    return labels


def differing(known: Iterable[Mapping[str, Any]], told: Collection[str] = ()) -> list[str]:
    """The entries in which recipes train differently, but for those that are `told` elsewhere."""
    known, silent = list(known), BESIDE.union(told)
    every = dict.fromkeys(key for recipe in known for key in recipe if key not in silent)
    return [key for key in every if len({as_json(recipe.get(key)) for recipe in known}) > 1]


def entry_words(key: str, value: Any) -> str:
    """An entry as a reader says it: "spatial layers 2", "position embedding none", "class token not set"."""
    words = (
        (value_words(value, key), called(key)) if isinstance(value, bool) else (called(key), value_words(value, key))
    )
    return " ".join(words)


def value_words(value: Any, key: str = "") -> str:
    """The value of an entry where its name is said beside it: "2", "none", "with", "not set"."""
    if isinstance(value, bool):
        return "with" if value else "without"
    return text(value) or ("labels alone" if key == "lessons" else "not set")


def called(key: str) -> str:
    """The name of an entry as a reader says it: "spatial layers", "position embedding"."""
    return WORDS.get(key, key.replace("_", " "))


def targets(hashes: Iterable[str], recipes: Recipes) -> list[float]:
    """The validation accuracies (%) whose epochs and seconds are asked for, by the last of the recipes that names any.

    What is no list of numbers in the file counts as not asked for.
    """
    found: list[float] = []
    for name in hashes:
        asked = recipes.get(name, {}).get("reach")
        if isinstance(asked, list) and asked and all(_percentage(one) for one in asked):
            found = sorted({float(one) for one in asked})
    return found


def _percentage(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def as_json(value: Any) -> str:
    """An entry's value as a text that is equal where the values are."""
    return json.dumps(value, sort_keys=True, default=str)


def images(recipe: Mapping[str, Any] | None) -> int | None:
    """How many training images a recipe leaves of the dataset's; None for all."""
    said = (recipe or {}).get("train_images")
    return said if isinstance(said, int) else None
