"""Rows made regular: every descriptive column a text ("" where missing), stale rows and older twins marked.

A later row about the same thing replaces an earlier one, also where the later one is a failure: rows are append-only,
so the last word counts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pandas as pd

from harness.results.metrics import APART, SHARES, TIMED
from harness.results.store import WHAT

TEXTS = (*WHAT, "metric", "unit", "note", "recipe_hash", "source_hash", "code", "when")
FLOAT32 = 1e-5  # what a percentage loses in one, at most
SAME = (*(column for column in WHAT if column not in ("cell", "kind")), "metric", "part", "recipe", "round")
TRY = (*(column for column in SAME if column not in ("epoch", "layer", "backend", "grid", "batch_size", "round")),)
UNKNOWN = ("test_px", "part")  # what a failure may not know of where it was


def text(cell: Any) -> str:
    """A cell as text: 8 and 8.0 are "8", null is ""."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    return str(cell)


def tidy(frame: pd.DataFrame, recipes: Mapping[str, Mapping[str, Any]] | None = None) -> pd.DataFrame:
    """The rows in order of time, with text columns, `stale` and `part`: the params that tell a metric's numbers apart.

    `round` is the cell of what is comparable within its rounds alone. recipes: by the hash that rows have.
    """
    rows = frame.copy()
    rows.attrs = {}  # which pandas copies deeply into every slice
    for column in TEXTS:
        rows[column] = pd.Series([text(cell) for cell in frame[column]], index=frame.index, dtype=object)
    rows["n"] = pd.to_numeric(frame["n"], errors="coerce")
    rows["value"] = whole_images(
        rows["metric"], pd.to_numeric(frame["value"], errors="coerce").astype(float), rows["n"]
    )
    rows["params"] = [cell if isinstance(cell, dict) else {} for cell in frame["params"]]
    rows["samples"] = [cell if isinstance(cell, list | tuple) else [] for cell in frame["samples"]]
    rows = rows.sort_values("when", kind="stable").reset_index(drop=True)
    rows["part"] = [part(metric, params) for metric, params in zip(rows["metric"], rows["params"], strict=True)]
    executed = {name: executes(recipe) for name, recipe in (recipes or {}).items()}
    rows["stale"] = stale(rows, pd.Series([executed.get(one, "") for one in rows["recipe_hash"]], rows.index, object))
    rows["round"] = rows["cell"].where(rows["metric"].isin(TIMED), "")
    return rows


def part(metric: str, params: dict[str, Any]) -> str:
    """What tells two numbers of a metric apart, as a text; "" where nothing does, or the row does not know it."""
    known = {name: params[name] for name in APART.get(metric, ()) if name in params}
    return json.dumps(known) if known else ""


def executes(recipe: Mapping[str, Any]) -> str:
    """What the trainings of a recipe execute besides: what teaches them, what reads weights that they start from."""
    taught = bool(recipe.get("token_labels") or recipe.get("teacher"))
    return f"{'taught' * taught} {'started' * bool(recipe.get('init_from'))}".strip()


def stale(rows: pd.DataFrame, executed: pd.Series) -> pd.Series:
    """Whether a row is of other source than the newest that its source hash can be compared with.

    "KIND+VARIANT+WEIGHTS": KIND is compared with the newest row of the same kind of cell on the same dataset, whose
    recipe executes the same (`executed`, row by row), VARIANT with that of the same variant, and WEIGHTS, which not all
    have, with the KIND of the newest such training on the dataset. A hash of one part, or without a kind, hashes the
    whole source, and is compared with the newest row.
    """
    found = rows["source_hash"] != rows["source_hash"].iloc[-1]
    parts = pd.DataFrame([[*made.split("+"), "", ""][:3] for made in rows["source_hash"]], index=rows.index)
    parted = (parts[1] != "") & (rows["kind"] != "")
    if not parted.any():
        return found
    mine, parts, images = rows[parted], parts[parted], (rows["dataset"] + " " + executed)[parted]
    spec = pd.Series([p.get("spec", v) for p, v in zip(mine["params"], mine["variant"], strict=True)], mine.index)
    of_kind = parts[0] != parts[0].groupby([mine["kind"], images]).transform("last")
    of_variant = parts[1] != parts[1].groupby(spec).transform("last")
    trained = parts[0][mine["kind"] == "training"].groupby(images).last()
    weights = images.map(trained)
    of_weights = (parts[2] != "") & weights.notna() & (parts[2] != weights)
    found[parted] = of_kind | of_variant | of_weights
    return found


def whole_images(metric: pd.Series, value: pd.Series, n: pd.Series) -> pd.Series:
    """Accuracies (%) of n images as shares of whole images, where they are that but for the rounding of a float32.

    Else equal differences would seem to spread, by what rounding left, and have an interval around them.
    """
    shares = 100 * (value * n / 100).round() / n
    return shares.where(metric.isin(SHARES) & ((shares - value).abs() < FLOAT32), value)


def superseded(rows: pd.DataFrame) -> pd.Series:
    """Whether a later row says the same thing anew; `rows` are in order of time and have a `recipe`.

    Timings of another run's rounds are another thing. A failure knows little of where it was, so whatever the same
    attempt gave later, at the same resolution and of the same part if it knows them, replaces it.
    """
    found = rows.duplicated(list(SAME), keep="last")
    for unknown in (these for size in range(len(UNKNOWN) + 1) for these in combinations(UNKNOWN, size)):
        failed = rows["value"].isna() & (rows[list(unknown)] == "").all(axis=1)
        if failed.any():
            found |= failed & rows.duplicated([column for column in TRY if column not in unknown], keep="last")
    return found


def side(px: str) -> float:
    """Sorting and drawing position of a resolution: the side of the square of equal area, in pixels."""
    try:
        height, _, width = px.partition("x")
        return math.sqrt(float(height) * float(width or height))
    except ValueError:
        return math.nan


def by_number(label: str) -> tuple[float, str]:
    """Sorting key that puts seed 10 after seed 9 and texts after numbers."""
    try:
        return (float(label), label)
    except ValueError:
        return (math.inf, label)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorting key that puts sp_sa[hidden=4] before sp_sa[hidden=16]."""
    parts = re.split(r"([0-9]{1,15})", name)
    return [(1, int(part), "") if place % 2 else (0, 0, part) for place, part in enumerate(parts)]
