"""A study taken apart: the settings in which variants may be compared, and in each one the rows that belong to it.

Two rows are comparable when study, dataset, size, training resolution, training fraction and recipe agree. A row that
leaves one of these empty (the speed of a variant needs no dataset) belongs to every setting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from harness.report.rows import natural, side, superseded, text, tidy
from harness.results import Damage

DEFAULT_BASELINE = "sa"
SETTING = ("study", "dataset", "size", "train_px", "train_fraction", "recipe")
WORDS = {
    "study": "study {}",
    "dataset": "{}",
    "size": "{}",
    "train_px": "{} px",
    "train_fraction": "{} of the training data",
    "recipe": "{}",
}

# What a recipe may differ in and still train the same cells: which cells, where, and what was said about them.
BESIDE = {
    "command", "note", "variants", "variant_file", "baseline", "seeds", "resolutions", "measure", "jobs", "workers",
    "output", "report", "preset", "data_dir", "study", "name", "train_fractions", "search", "backend", "dry_run",
    "speed_rounds",
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What is held fixed (`name`, words), the variants in the order of the page, and the current rows."""

    name: str
    key: tuple[str, ...]
    train_px: str
    baseline: str
    variants: list[str]
    families: Mapping[str, str]
    rows: pd.DataFrame

    @property
    def challengers(self) -> list[str]:
        return [variant for variant in self.variants if variant != self.baseline]

    def named(self, metric: str, variant: str | None = None) -> pd.DataFrame:
        """The rows of a metric, oldest first."""
        rows = self.rows[self.rows["metric"] == metric]
        return rows if variant is None else rows[rows["variant"] == variant]


@dataclass(frozen=True)
class Study:
    """All that the page tells: every row, the settings, the recipes, and the lines that could not be read."""

    names: list[str]
    baseline: str
    rows: pd.DataFrame
    settings: list[Setting]
    recipes: Mapping[str, Mapping[str, Any]]
    damaged: list[Damage] = field(default_factory=list)


def study(frame: pd.DataFrame, recipes: Mapping[str, Any]) -> Study:
    """The study that the rows of `harness.results.load` and the recipes beside them make up."""
    known = {name: recipe for name, recipe in recipes.items() if isinstance(recipe, dict)}
    rows = tidy(frame)
    rows["recipe"] = rows["recipe_hash"].map(recipe_labels(sorted(set(rows["recipe_hash"])), known))
    rows["superseded"] = superseded(rows)
    newest = known.get(rows["recipe_hash"].iloc[-1], {}).get("baseline")
    baseline = newest if isinstance(newest, str) else DEFAULT_BASELINE
    current = rows[~rows["superseded"]]
    names = list(dict.fromkeys(rows["study"]))
    settings = [setting(current, key, baseline) for key in setting_keys(current)]
    return Study(names, baseline, rows, settings, known, list(frame.attrs.get("damaged", [])))


def recipe_labels(hashes: list[str], recipes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """A short text per recipe hash that is equal where training is: the entries in which the recipes differ."""
    training = {name: {k: v for k, v in recipes.get(name, {}).items() if k not in BESIDE} for name in hashes}
    known = [training[name] for name in hashes if name in recipes]
    every = dict.fromkeys(key for recipe in known for key in recipe)
    differing = [key for key in every if len({_json(recipe.get(key)) for recipe in known}) > 1]
    lost = [name for name in hashes if name and name not in recipes]
    labels = dict.fromkeys(hashes, "")
    for name in hashes:
        if name in lost and (known or len(lost) > 1):
            labels[name] = f"recipe {name[:12]} (its file is missing)"
        elif name in recipes and differing:
            labels[name] = ", ".join(f"{key} {text(training[name].get(key)) or 'unset'}" for key in differing)
        elif name in recipes and lost:
            labels[name] = "recipe as kept"
    return labels


def setting_keys(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """The distinct settings; one that is another with fields left empty is a part of it, not a setting."""
    keys = [tuple(key) for key in rows[list(SETTING)].drop_duplicates().itertuples(index=False)]
    keys = [key for key in keys if not any(_within(key, other) for other in keys)]
    return sorted(keys, key=lambda key: [(side(part) if part and side(part) >= 0 else 0.0, part) for part in key])


def _within(key: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return key != other and all(not mine or mine == theirs for mine, theirs in zip(key, other, strict=True))


def setting(rows: pd.DataFrame, key: tuple[str, ...], baseline: str) -> Setting:
    """The rows of one setting, its baseline first, then by family and name."""
    inside = pd.Series(True, index=rows.index)
    for column, part in zip(SETTING, key, strict=True):
        inside &= rows[column].isin(["", part])
    mine = rows[inside]
    families: dict[str, str] = {}
    for variant, family in zip(mine["variant"], mine["family"], strict=True):
        families[variant] = family or families.get(variant, "")
    order = sorted(families, key=lambda variant: (variant != baseline, families[variant], natural(variant)))
    alone = len(set(rows["study"])) == 1
    parts = [(c, part) for c, part in zip(SETTING, key, strict=True) if part and not (alone and c == "study")]
    name = " · ".join(WORDS[column].format(part) for column, part in parts if (column, part) != ("train_fraction", "1"))
    return Setting(name or "all rows", key, key[SETTING.index("train_px")], baseline, order, families, mine)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
