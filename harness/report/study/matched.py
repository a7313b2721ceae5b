"""Which settings of two studies belong together, and which differences a reader must know.

Settings belong together where dataset, size, training resolution and share of the images agree; where a study has
several recipes, these must train alike, too. The studies' names do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.report.study import recipes
from harness.report.study.recipes import COLUMNS, entry_words
from harness.report.study.source import Source
from harness.report.study.study import Key, Setting, title
from harness.report.text.formatting import DASH, listing, plural


@dataclass(frozen=True)
class Match:
    """A setting of A and a setting of B; `recipes`: the entries in which they train differently, in words."""

    name: str
    a: Setting
    b: Setting
    recipes: list[str]


def matches(a: Source, b: Source) -> tuple[list[Match], list[str]]:
    """The settings that both have, and a sentence for each that only one has."""
    left, found, alone = list(b.study.settings), [], []
    places = [_place(one) for one in a.study.settings]
    shares = {one.train_fraction for source in (a, b) for one in source.study.settings} - {""}
    several = {"study": False, "train_fraction": len(shares) > 1}
    for mine, place in zip(a.study.settings, places, strict=True):
        theirs = [other for other in left if _place(other) == place]
        best = min(theirs, key=lambda other: len(differing(mine.recipe, other.recipe)), default=None)
        words = [] if best is None else differing(mine.recipe, best.recipe)
        if best is None or (words and places.count(place) > 1):
            alone.append(f"Only in A: {mine.name}.")
            continue
        left.remove(best)
        images = mine.images if mine.images == best.images else None
        found.append(Match(title(place, several, images), mine, best, words))
    return found, [*alone, *(f"Only in B: {setting.name}." for setting in left)]


def _place(setting: Setting) -> Key:
    return setting.key._replace(study="", recipe="")


def differing(one: Mapping[str, Any] | None, two: Mapping[str, Any] | None) -> list[str]:
    """The entries in which two recipes train differently, or a sentence where one recipe was not kept."""
    if one is None or two is None:
        return [] if one is two else ["one of the recipes was not kept"]
    entries = recipes.differing([one, two], COLUMNS)
    return [f"{entry_words(key, one.get(key))} in A, {entry_words(key, two.get(key))} in B" for key in entries]


def cautions(a: Source, b: Source, found: list[Match]) -> list[str]:
    """What differs beside the variants: recipes, baselines, machines, versions, source; a sentence each."""
    said = []
    for match in found:
        if match.recipes:
            where = f" ({match.name})" if len(found) > 1 else ""
            said.append(f"The recipes differ{where}: {'; '.join(match.recipes)}. So do the trainings.")
        elif match.a.recipe is None and match.b.recipe is None:
            said.append("No recipe was kept beside the rows, so it is not known whether the trainings are alike.")
    if a.study.baseline != b.study.baseline:
        said.append(f"The baselines differ: {a.study.baseline} in A, {b.study.baseline} in B. No time is compared.")
    for column, what, so in (("machine", "machines", " Images/s are not comparable."), ("versions", "versions", "")):
        one, two = newest(a, column), newest(b, column)
        keys = [key for key in dict.fromkeys([*one, *two]) if one.get(key) != two.get(key)]
        if keys:
            entries = [f"{key} {one.get(key, DASH)} in A, {two.get(key, DASH)} in B" for key in keys]
            said.append(f"The {what} differ: {'; '.join(entries)}.{so}")
    for letter, source in (("A", a), ("B", b)):
        if source.study.rows["stale"].any() and len(source.commits) > 1:
            commits = f"{plural(len(source.commits), 'commit')}: {listing(source.commits)}"
            said.append(f"{letter} holds rows of {commits}.")
    return list(dict.fromkeys(said))


def newest(source: Source, column: str) -> dict[str, str]:
    """The newest machine or versions that the rows name, entry by entry."""
    kept = [cell for cell in source.study.rows[column] if isinstance(cell, dict)]
    return {key: str(value) for key, value in kept[-1].items()} if kept else {}
