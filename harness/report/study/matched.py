"""Which settings of two studies belong together, and in what they differ that a reader must know.

They belong together where dataset, size, training resolution and share of the images agree; of several recipes on a
side, where the recipes train alike. The studies' names do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.report.study import recipes
from harness.report.study.recipes import COLUMNS, entry_words
from harness.report.study.source import Side
from harness.report.study.study import Key, Setting, title
from harness.report.text.formatting import DASH, listing, plural


@dataclass(frozen=True)
class Match:
    """A setting of A and a setting of B; `recipes`: the entries in which they train differently, in words."""

    name: str
    a: Setting
    b: Setting
    recipes: list[str]


def matches(a: Side, b: Side) -> tuple[list[Match], list[str]]:
    """The settings that are in both, and a sentence for each that is in one of them alone."""
    left, found, alone = list(b.study.settings), [], []
    shares = {one.train_fraction for side in (a, b) for one in side.study.settings} - {""}
    several = {"study": False, "train_fraction": len(shares) > 1}
    for mine in a.study.settings:
        theirs = [other for other in left if _place(other) == _place(mine)]
        best = min(theirs, key=lambda other: len(differing(mine.recipe, other.recipe)), default=None)
        same = [one for one in a.study.settings if _place(one) == _place(mine)]
        if best is None or (len(same) > 1 and differing(mine.recipe, best.recipe)):
            alone.append(f"Only in A: {mine.name}.")
            continue
        left.remove(best)
        words = differing(mine.recipe, best.recipe)
        images = mine.images if mine.images == best.images else None
        found.append(Match(title(_place(mine), several, images), mine, best, words))
    return found, [*alone, *(f"Only in B: {setting.name}." for setting in left)]


def _place(setting: Setting) -> Key:
    return setting.key._replace(study="", recipe="")


def differing(one: Mapping[str, Any] | None, two: Mapping[str, Any] | None) -> list[str]:
    """The entries in which two recipes train differently, or that it is not known."""
    if one is None or two is None:
        return [] if one is two else ["one of the recipes was not kept"]
    entries = recipes.differing([one, two], COLUMNS)
    return [f"{entry_words(key, one.get(key))} in A, {entry_words(key, two.get(key))} in B" for key in entries]


def cautions(a: Side, b: Side, found: list[Match]) -> list[str]:
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
    for column, what in (("machine", "machines"), ("versions", "versions")):
        entries = _recorded(a, b, column)
        if entries:
            slow = " Images/s are not comparable." if column == "machine" else ""
            said.append(f"The {what} differ: {'; '.join(entries)}.{slow}")
    for side in (a, b):
        if side.study.rows["stale"].any() and len(side.commits) > 1:
            said.append(f"{side.letter} holds rows of {plural(len(side.commits), 'commit')}: {listing(side.commits)}.")
    return list(dict.fromkeys(said))


def _recorded(a: Side, b: Side, column: str) -> list[str]:
    """The entries of the newest machine or versions that differ."""
    one, two = ({k: str(v) for k, v in _newest(side, column).items()} for side in (a, b))
    keys = [key for key in dict.fromkeys([*one, *two]) if one.get(key) != two.get(key)]
    return [f"{key} {one.get(key, DASH)} in A, {two.get(key, DASH)} in B" for key in keys]


def _newest(side: Side, column: str) -> Mapping[str, Any]:
    kept = [cell for cell in side.study.rows[column] if isinstance(cell, dict)]
    return kept[-1] if kept else {}
