"""What stands behind the numbers: failures, stale rows, recipes, machines, versions, commits, parity."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.report.study.rows import by_number, text
from harness.report.study.study import Study
from harness.report.text.formatting import DASH, plural, share, significant
from harness.report.text.sentences import proof

COMPARED = {
    "parity": "the plain formula, in this run",
    "train_parity": "the plain formula's gradients, in this run",
}
MOST_LISTED = 200  # of damaged lines on the page; all are on stderr


@dataclass(frozen=True)
class Failure:
    variant: str
    what: str
    sentence: str
    since: str  # "" or that a later row has the value


@dataclass(frozen=True)
class Facts:
    """One thing recorded once or several times: a title a record, and its entries."""

    titles: list[str]
    entries: list[tuple[str, list[str]]]


def failures(study: Study) -> list[Failure]:
    """Every null row, those that differ only in metric, seed or resolution told together."""
    rows = study.rows[study.rows["value"].isna()]
    found = []
    for (variant, note, later), group in rows.groupby(["variant", "note", "superseded"], sort=True):
        parts = [", ".join(dict.fromkeys(group["metric"]))]
        for column, word in (("seed", "seed"), ("test_px", "test px"), ("backend", "backend"), ("device", "device")):
            values = sorted({value for value in group[column] if value}, key=by_number)
            if values:
                parts.append(f"{word} {', '.join(values)}")
        parts += [f"{share(part)} of the images" for part in sorted(set(group["train_fraction"]) - {"", "1"})]
        parts += sorted(set(group["recipe"]) - {""})
        since = "a later row about the same has replaced it" if later else ""
        found.append(Failure(str(variant), "; ".join(parts), str(note), since))
    return found


def stale(study: Study) -> list[str]:
    """One sentence per variant with rows of another source than the newest row's."""
    rows = study.rows[study.rows["stale"] & ~study.rows["superseded"]]
    found = []
    for (variant, source), group in rows.groupby(["variant", "source_hash"], sort=True):
        when = group["when"].iloc[-1] or "an unknown time"
        metrics = ", ".join(sorted(set(group["metric"])))
        origin = f"source {str(source)[:12] or 'unknown'}, last at {when}"
        found.append(f"{variant}: {plural(len(group), 'row')} ({metrics}) of {origin}.")
    return found


def recipes(study: Study) -> Facts | None:
    """Each recipe that a row names, entry by entry; None where none was kept."""
    used = [name for name in dict.fromkeys(study.rows["recipe_hash"]) if name in study.recipes]
    if not used:
        return None
    return _facts(used, [study.recipes[name] for name in used])


def records(rows: pd.DataFrame, column: str) -> Facts | None:
    """The distinct dicts of `machine` or `versions`; one that is not a dict is shown as it is."""
    cells = [cell for cell in rows[column] if cell is not None and cell == cell]
    kept = {json.dumps(cell, sort_keys=True, default=str): cell for cell in cells}
    if not kept:
        return None
    dicts: list[Mapping[str, Any]] = [cell if isinstance(cell, dict) else {column: cell} for cell in kept.values()]
    return _facts([column if len(dicts) == 1 else f"{column} {number}" for number in range(1, len(dicts) + 1)], dicts)


def code(study: Study) -> list[str]:
    """One sentence per commit that wrote rows, the newest last."""
    found = []
    for name, group in study.rows.groupby("code", sort=False):
        commit, _, flag = str(name).partition("+")
        words = f"commit {commit}" if commit else "an unrecorded commit"
        state = " with uncommitted changes (dirty)" if flag == "dirty" else ""
        found.append(f"{words}{state}: {plural(len(group), 'row')}")
    return found


def parity(study: Study) -> list[tuple[str, str, str, str]]:
    """Variant, what is compared, with what, and the largest relative difference; the worst over resolutions."""
    rows = study.rows[study.rows["metric"].isin(COMPARED) & ~study.rows["superseded"]]
    rows = rows.assign(against=_against(rows))
    found = []
    for (variant, metric, words, *how), group in rows.groupby(
        ["variant", "metric", "against", "backend", "device", "precision"], sort=True
    ):
        worst = group["value"].max()
        value = DASH if math.isnan(worst) else significant(float(worst), 2)
        found.append((str(variant), " ".join(filter(None, map(str, how))), str(words) or COMPARED[metric], value))
    return found


def proved(study: Study) -> dict[str, str]:
    """Variant -> against what its plain formula was proved; those with a proof only."""
    rows = study.rows[(study.rows["metric"] == "parity") & ~study.rows["superseded"] & study.rows["value"].notna()]
    rows = rows[rows["precision"] == "float64"]  # a backend is compared in the run's own precision
    return dict(zip(rows["variant"], _against(rows), strict=True))


def _against(rows: pd.DataFrame) -> list[str]:
    """What each row of parity was compared with; studies recorded before say it in the note."""
    return [proof(params) or note for params, note in zip(rows["params"], rows["note"], strict=True)]


def _facts(titles: list[str], records: list[Mapping[str, Any]]) -> Facts:
    keys = dict.fromkeys(key for record in records for key in record)
    return Facts(titles, [(str(key), [_entry(record, key) for record in records]) for key in keys])


def _entry(record: Mapping[str, Any], key: Any) -> str:
    if key not in record:
        return DASH
    value = record[key]
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return text(value) or "none"
