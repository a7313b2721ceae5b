"""Rows: append-only JSON lines, one fact a row, one file a cell, written atomically.

A row says what was measured (`metric`, `value`, `unit`), on what, and where the figure comes from. `params` is a
JSON object of what else a reader of the figure needs, by name; sentences are made of it on the page. A null `value`
carries its reason in `note`; NaN and infinity are refused at writing. Reading never stops at a damaged line: it is
named in `frame.attrs["damaged"]` and left out.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

WHAT = (
    "study", "cell", "kind", "variant", "family", "size", "dataset", "train_px", "test_px", "grid", "train_fraction",
    "seed", "epoch", "layer", "backend", "device", "precision", "batch_size",
)  # fmt: skip
FACT = ("metric", "value", "unit", "n", "samples", "params", "note")
ORIGIN = ("recipe_hash", "source_hash", "code", "machine", "versions", "when")
COLUMNS = WHAT + FACT + ORIGIN
MARK = "spatial-bias-bench"  # of the files that this project writes
OBJECTS = ("params", "machine", "versions")

Row = dict[str, Any]


@dataclass(frozen=True)
class Damage:
    """A line that could not be read: which one, and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


def check(row: Mapping[str, Any]) -> None:
    """Raises ValueError unless `row` has known columns, a metric, and a finite value or a note that says why not."""
    unknown = sorted(set(row) - set(COLUMNS))
    if unknown:
        raise ValueError(f"a row has the unknown column {unknown[0]!r}; the columns are {', '.join(COLUMNS)}")
    for column in ("study", "variant", "metric"):
        if not isinstance(row.get(column), str):
            raise ValueError(f"a row needs a {column}, a text; this one has {row.get(column)!r}")
    value, samples = row.get("value"), row.get("samples") or ()
    if value is None:
        if not row.get("note"):
            raise ValueError(f"the value of {row['metric']} is null and no note says why; add one")
    elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"the value of {row['metric']} is {value!r}; a row holds a finite number or null with a note")
    if not isinstance(row.get("params"), Mapping | None):
        raise ValueError(f"the params of {row['metric']} are {row['params']!r}; they are an object or null")
    for column in ("n", "layer"):
        if not isinstance(row.get(column), int | None):
            raise ValueError(f"the {column} of {row['metric']} is {row[column]!r}; it is a whole number or null")
    if not isinstance(samples, list | tuple) or not all(
        isinstance(sample, int | float) and math.isfinite(sample) for sample in samples
    ):
        raise ValueError(f"the samples of {row['metric']} are not all finite numbers")


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes one cell's file: whole or not at all, so a reader (or a crash) never meets half of it."""
    lines = []
    for row in rows:
        check(row)
        ordered = {column: row.get(column) for column in COLUMNS}
        lines.append(json.dumps(ordered, allow_nan=False, ensure_ascii=False) + "\n")
    write_bytes(path, "".join(lines).encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path` through a temporary neighbour and a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_recipe(folder: Path, recipe_hash: str, recipe: Mapping[str, Any]) -> None:
    """Keeps what a `recipe_hash` stands for beside the rows, as `recipes/HASH.json`."""
    text = json.dumps(recipe, indent=2, sort_keys=True, allow_nan=False) + "\n"
    write_bytes(folder / "recipes" / f"{recipe_hash}.json", text.encode())


def recipes(folder: Path) -> dict[str, dict[str, Any]]:
    """What each recipe hash of a study stands for; an unreadable file is left out."""
    found = {}
    for file in sorted((Path(folder) / "recipes").glob("*.json")):
        try:
            recipe = json.loads(file.read_text())
        except ValueError:
            continue
        if isinstance(recipe, dict):
            found[file.stem] = recipe
    return found


def correct(folder: Path) -> dict[str, Path]:
    """By cell, the file beside the rows that says which test images were right: bool [resolutions, n]."""
    return beside(folder, ".correct.npy")


def beside(folder: Path, ending: str) -> dict[str, Path]:
    """By cell, the file beside its rows that ends so: ".correct.npy", ".maps.npz"."""
    files = sorted(Path(folder).rglob(f"*{ending}"))
    return {file.name.removesuffix(ending).rpartition("-")[2]: file for file in files}


def load(path: str | Path) -> pd.DataFrame:
    """The rows of a study's folder, or of one .jsonl file, one a line, all of `COLUMNS`.

    Raises ValueError where there is no such folder or file, or it holds no row. Lines that cannot be read are listed
    in `frame.attrs["damaged"]`, a list of `Damage`; `frame.attrs["path"]` is where they were read.
    """
    import pandas as pd

    path = Path(path)
    if not path.exists():
        raise ValueError(f"there are no results at {path}; name a folder that harness.run has written")
    files = [path] if path.is_file() else sorted(path.rglob("*.jsonl"))
    rows: list[Row] = []
    damaged: list[Damage] = []
    for file in files:
        for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("not a JSON object")
                check(row)
            except (ValueError, RecursionError, OverflowError) as error:  # json's and unicode's are ValueErrors
                damaged.append(Damage(str(file), number, str(error)))
            else:
                rows.append(row)
    if not rows and not damaged:
        raise ValueError(f"there are no rows at {path}; run python -m harness.run --output {path} first")
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["value"] = pd.to_numeric(frame["value"])
    frame.attrs |= {"damaged": damaged, "path": str(path)}
    return frame


def to_csv(frame: pd.DataFrame, path: Path) -> None:
    """One tidy CSV: every column but the raw samples; params, machines and versions as JSON."""
    tidy = frame.drop(columns="samples")
    for column in OBJECTS:
        tidy[column] = [json.dumps(cell, sort_keys=True) for cell in tidy[column]]
    write_bytes(path, tidy.to_csv(index=False).encode())


def require_pyarrow() -> None:
    """Raises ValueError where pyarrow, which is no dependency, is not installed."""
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        raise ValueError("Parquet is written by pyarrow, which is not installed; pip install pyarrow, or write a CSV")


def to_parquet(frame: pd.DataFrame, path: Path) -> None:
    """One Parquet file: every column with one type, whole numbers where all are, raw samples as lists, the rest texts.

    Params, machines and versions are JSON. Raises ValueError where pyarrow is not installed.
    """
    import io

    require_pyarrow()
    import pyarrow
    from pyarrow import parquet

    typed = frame.copy()
    typed.attrs = {}  # what could not be read is no part of the table
    for column in COLUMNS:
        cells = list(frame[column])
        if column in OBJECTS:
            typed[column] = [json.dumps(cell, sort_keys=True) for cell in cells]
        elif column == "samples":
            typed[column] = [[float(one) for one in cell] if isinstance(cell, list) else None for cell in cells]
        elif column != "value":
            typed[column] = _one_type(cells)
    table = pyarrow.Table.from_pandas(typed, preserve_index=False)
    packed = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), MARK: "rows"}), packed)
    write_bytes(path, packed.getvalue())


def _one_type(cells: list[Any]) -> Any:
    """A column of whole numbers, of numbers or of texts, nulls kept: a resolution may be 8 or "8x16"."""
    import pandas as pd

    known = [cell for cell in cells if cell is not None and cell == cell]
    numbers = bool(known) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in known)
    whole = numbers and all(float(cell).is_integer() for cell in known)
    form: Any = int if whole else float if numbers else lambda cell: cell if isinstance(cell, str) else json.dumps(cell)
    values = [form(cell) if cell is not None and cell == cell else None for cell in cells]
    return pd.array(values, dtype="Int64" if whole else "Float64" if numbers else "object")
