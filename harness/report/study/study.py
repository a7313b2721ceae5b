"""A study taken apart: the settings in which variants may be compared, and in each one the rows that belong to it.

Two rows are comparable when study, dataset, size, training resolution, training fraction and recipe agree. A row that
leaves one of these empty (the speed of a variant needs no dataset) belongs to every setting; what needs no training
belongs to every training fraction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd

from harness.backbone.sizes import in_full
from harness.report.study import primary
from harness.report.study.recipes import COLUMNS, Recipes, images, recipe_labels, targets
from harness.report.study.rows import by_number, natural, side, superseded, tidy
from harness.report.study.titles import title
from harness.results.family import Rule
from harness.results.metrics import TIMED, TRAINED
from harness.results.store import Damage

DEFAULT_BASELINE = "sa"
DERIVED = "binarised"  # made from a trained variant, and no variant of the comparison: shown in a part of its own
CONDITION = ("device", "precision", "batch_size", "test_px", "cell")  # what speeds are compared under


class Key(NamedTuple):
    """What is held fixed in a setting, each as text, "" where the rows leave it open; `recipe`: a label."""

    study: str
    dataset: str
    size: str
    train_px: str
    train_fraction: str
    recipe: str


SETTING = Key._fields


@dataclass(frozen=True)
class Setting:
    """What is held fixed (`name`, words), the variants in the order of the page, and the current rows.

    `recipe`: the newest that was kept, None where none was. `reach`: the validation accuracies (%) whose epochs it asks
    for. `correct`: by cell, the file that says which test images were right; `maps`: the one with what its model does
    by offset. `page`: all settings of the study.
    """

    name: str
    key: Key
    train_px: str
    baseline: str
    variants: list[str]
    families: Mapping[str, str]
    rows: pd.DataFrame
    recipe: Mapping[str, Any] | None = None
    reach: list[float] = field(default_factory=list)
    correct: Mapping[str, Path] = field(default_factory=dict)
    maps: Mapping[str, Path] = field(default_factory=dict)
    page: list[Setting] = field(default_factory=list, repr=False, compare=False)

    @cached_property
    def top1(self) -> Mapping[str, dict[str, float]]:
        """Top-1 at the training resolution by variant and seed, %."""
        return {variant: self.by_seed("top1", variant) for variant in self.variants}

    @cached_property
    def primary(self) -> list[str]:
        """The variants whose contrasts with the baseline the page decides on; the others' are exploratory."""
        return primary.main_variants(self) if primary.is_main(self, self.page or [self]) else []

    @cached_property
    def rule(self) -> Rule:
        """How the primary contrasts are judged: as one family over the page."""
        return primary.rule(self, self.page or [self])

    @cached_property
    def probe(self) -> Mapping[str, Any] | None:
        """Of a probe, as its rows of symmetry_top1 say: `chance` in %, and `epoch_images`. None of other images."""
        rows = self.named("symmetry_top1")
        about: Mapping[str, Any] = next(iter(rows[rows["value"].notna()]["params"].iloc[::-1]), {})
        return about if {"chance", "epoch_images"} <= about.keys() else None

    @property
    def images(self) -> int | None:
        """How many training images the recipe leaves of the dataset's, before a share is drawn; None for all."""
        return images(self.recipe)

    @property
    def train_fraction(self) -> str:
        return self.key.train_fraction

    @property
    def challengers(self) -> list[str]:
        return [variant for variant in self.variants if variant != self.baseline]

    @cached_property
    def _named(self) -> Mapping[tuple[str, str | None], pd.DataFrame]:
        found: dict[tuple[str, str | None], pd.DataFrame] = {}
        for metric, rows in self.rows.groupby("metric", sort=False):
            found[str(metric), None] = rows
            for variant, mine in rows.groupby("variant", sort=False):
                found[str(metric), str(variant)] = mine
        return found

    def named(self, metric: str, variant: str | None = None) -> pd.DataFrame:
        """The rows of a metric, oldest first."""
        return self._named.get((metric, variant), self.rows.iloc[:0])

    def at(
        self, metric: str, variant: str, px: str | None = None, part: str = "", epoch: str | None = None
    ) -> pd.DataFrame:
        """The rows of a metric at a resolution, the training's where none is named, of a part (study/rows.py).

        epoch: those after so many epochs alone.
        """
        rows = self.named(metric, variant)
        sizes = {self.train_px, ""} if px is None else {px}
        inside = rows["part"].isin({part, ""}) & (rows["test_px"].isin(sizes) | (px is None and not self.train_px))
        return rows[inside if epoch is None else inside & (rows["epoch"] == epoch)]

    def by_seed(
        self, metric: str, variant: str, px: str | None = None, part: str = "", epoch: str | None = None
    ) -> dict[str, float]:
        """The values of these rows by seed, in order: of two about one seed the newer, of several layers the mean."""
        found: dict[str, dict[str, float]] = {}
        rows = self.at(metric, variant, px, part, epoch)
        for seed, layer, value in zip(rows["seed"], rows["layer"], rows["value"], strict=True):
            if value == value:
                found.setdefault(seed, {})[layer] = float(value)
        return {seed: fmean(found[seed].values()) for seed in sorted(found, key=by_number)}

    @cached_property
    def _failed(self) -> Mapping[str, pd.DataFrame]:
        return dict(iter(self.rows[self.rows["value"].isna()].groupby("variant", sort=False)))

    @cached_property
    def _measured(self) -> frozenset[str]:
        return frozenset(self.rows[self.rows["value"].notna()]["variant"])

    def failures(self, variant: str) -> pd.DataFrame:
        """The null rows of a variant, oldest first."""
        return self._failed.get(variant, self.rows.iloc[:0])

    def has_values(self, variant: str) -> bool:
        """Whether anything of a variant was measured."""
        return variant in self._measured

    @cached_property
    def same(self) -> Mapping[str, str]:
        """By variant the first, in the order of the page, whose trainings are the same model: itself for most.

        They are where every loss and every accuracy agrees to the last digit, seed by seed and epoch by epoch. Losses
        are means in floating point, so no other model has them all by chance; accuracies of a few images alone would
        agree by chance, so without a loss for each seed a variant is itself.
        """
        first: dict[frozenset[tuple[str, ...]], str] = {}
        found = {}
        for variant in self.variants:
            numbers, seeds = set(), {}
            for metric in ("loss", "val_top1", "top1"):
                rows = self.named(metric, variant)
                rows = rows[rows["value"].notna()]
                seeds[metric] = set(rows["seed"])
                columns = (rows["seed"], rows["epoch"], rows["test_px"], rows["value"])
                numbers |= {(metric, *map(str, one)) for one in zip(*columns, strict=True)}
            known = bool(seeds["top1"]) and seeds["top1"] <= seeds["loss"]
            found[variant] = first.setdefault(frozenset(numbers), variant) if known else variant
        return found

    @cached_property
    def _under(self) -> Mapping[tuple[str, ...], pd.DataFrame]:
        measured = self.rows[self.rows["value"].notna() & self.rows["metric"].isin(TIMED)]
        return dict(iter(measured.groupby(["metric", "variant", *CONDITION], sort=False)))

    def under(self, metric: str, variant: str, condition: tuple[str, ...]) -> pd.DataFrame:
        """The rows of a metric that have a value and were measured under a condition of speed, oldest first."""
        return self._under.get((metric, variant, *condition), self.rows.iloc[:0])


@dataclass(frozen=True)
class Study:
    """All that the page tells: every row, the settings, the recipes, and the lines that could not be read."""

    names: list[str]
    baseline: str
    rows: pd.DataFrame
    settings: list[Setting]
    recipes: Recipes
    damaged: list[Damage] = field(default_factory=list)


def study(
    frame: pd.DataFrame,
    recipes: Mapping[str, Any],
    correct: Mapping[str, Path] | None = None,
    maps: Mapping[str, Path] | None = None,
) -> Study:
    """The study that the rows of `harness.results.store.load` and the recipes, answers and maps beside them make up."""
    known = {name: in_full(recipe) for name, recipe in recipes.items() if isinstance(recipe, dict)}
    rows = tidy(frame, known)
    told = {entry for entry, column in COLUMNS.items() if (rows[column] != "").all()}
    rows["recipe"] = rows["recipe_hash"].map(labels(rows, known, told))
    untrained = ~rows["metric"].isin(TRAINED) & (rows["seed"] == "")
    rows.loc[untrained, "train_fraction"] = ""  # the same whatever share of the images was used
    rows["superseded"] = superseded(rows)
    newest = known.get(rows["recipe_hash"].iloc[-1], {}).get("baseline")
    baseline = newest if isinstance(newest, str) else DEFAULT_BASELINE
    current = rows[~rows["superseded"]]
    names = list(dict.fromkeys(rows["study"]))
    settings: list[Setting] = []
    for key in setting_keys(current):
        settings.append(setting(current, key, baseline, known, correct or {}, maps or {}, settings))
    return Study(names, baseline, rows, settings, known, list(frame.attrs.get("damaged", [])))


def labels(rows: pd.DataFrame, known: Recipes, told: set[str]) -> dict[str, str]:
    """By recipe hash in which entries it differs from the others on the same images.

    Where some rows do not say on which images, all count.
    """
    place = ["dataset", "size", "train_px"]
    groups = [rows] if (rows[place] == "").any(axis=None) else [group for _, group in rows.groupby(place)]
    found: dict[str, str] = {}
    for group in groups:
        found |= recipe_labels(sorted(set(group["recipe_hash"])), known, told)
    return found


def setting_keys(rows: pd.DataFrame) -> list[Key]:
    """The distinct settings; one that is another with fields left empty is a part of it, not a setting.

    Recipe by recipe, each with its largest share of the training images first.
    """
    keys = [Key(*key) for key in rows[list(SETTING)].drop_duplicates().itertuples(index=False)]
    keys = [key for key in keys if not any(_within(key, other) for other in keys)]
    return sorted(keys, key=lambda key: (
        *map(natural, (key.study, key.dataset, key.size)), side(key.train_px) if side(key.train_px) >= 0 else 0.0,
        key.train_px, natural(key.recipe), -by_number(key.train_fraction)[0], key.train_fraction,
    ))  # fmt: skip


def _within(key: Key, other: Key) -> bool:
    return key != other and all(not mine or mine == theirs for mine, theirs in zip(key, other, strict=True))


def setting(
    rows: pd.DataFrame,
    key: Key,
    baseline: str,
    recipes: Recipes,
    correct: Mapping[str, Path],
    maps: Mapping[str, Path],
    page: list[Setting],
) -> Setting:
    """The rows of one setting, its baseline first, then by family and name."""
    inside = pd.Series(True, index=rows.index)
    for column, part in key._asdict().items():
        inside &= rows[column].isin(["", part])
    mine = rows[inside]
    families: dict[str, str] = {}
    for variant, family in zip(mine["variant"], mine["family"], strict=True):
        if family == DERIVED:
            continue
        families[variant] = family or families.get(variant, "")
    order = sorted(families, key=lambda variant: (variant != baseline, families[variant], natural(variant)))
    several = {column: len(set(rows[column]) - {""}) > 1 for column in ("study", "train_fraction")}
    hashes = mine["recipe_hash"].tolist()
    asked = targets(dict.fromkeys(hashes), recipes)
    recipe = next((recipes[name] for name in reversed(hashes) if name in recipes), None)
    name = title(key, several, images(recipe))
    return Setting(name, key, key.train_px, baseline, order, families, mine, recipe, asked, correct, maps, page)


def alike(settings: Sequence[Setting], column: str) -> list[tuple[str, list[Setting]]]:
    """Settings that are one but for `column`, together, and what they have in common in words."""
    together: dict[Key, list[Setting]] = {}
    for setting in settings:
        together.setdefault(setting.key._replace(**{column: ""}), []).append(setting)
    several = {name: len({getattr(key, name) for key in together}) > 1 for name in ("study", "train_fraction")}
    found = []
    for rest, members in together.items():
        limits = {member.images for member in members}
        found.append((title(rest, several, limits.pop() if len(limits) == 1 else None), members))
    return found
