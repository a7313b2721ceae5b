"""The files that a program is to write for its user: checked together, before any work starts. No torch.

What this project writes carries a mark: pages a generator in their head, tables for LaTeX and Markdown a comment in
their first line, CSVs their header line, Parquet files a key of their schema. A file without it is somebody else's and
is replaced only where the user says so with --force.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.results.store import COLUMNS, MARK

ENDINGS = {"report": (".html", ".htm"), "markdown": (".md",), "readme": (".md",)}  # by flag
KINDS = {
    "report": "an HTML page", "csv": "a CSV of rows", "timm-csv": "a CSV with timm's columns",
    "parquet": "a Parquet file of rows", "latex": "a table for LaTeX", "markdown": "a table in Markdown",
}  # fmt: skip

GENERATOR = f'<meta name="generator" content="{MARK}">'
LATEX = "% python -m harness.report"
MARKDOWN = "<!-- python -m harness.report -->"
TIMM = ("model,top1,top1_err,top5,top5_err,param_count,img_size,crop_pct,interpolation,infer_samples_per_sec,"
        "infer_step_time,infer_batch_size,infer_img_size,infer_gmacs,train_samples_per_sec,train_step_time,"
        "train_batch_size,train_img_size")  # fmt: skip
# how files began that were written before they had a mark
OLD_PAGE = re.compile(
    r'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport"[^>]*>\n'
    r'<meta name="color-scheme" content="light dark">\n<meta http-equiv="Content-Security-Policy"[^>]*>\n'
    r"<title>(?:[^<]*: spatial bias in attention|What spatial biases cost|Spatial biases for Vision Transformers)<"
)
OLD_MARKDOWN = re.compile(r"### `[^\n]*`\n\n\| Variant \|")
OF_ROWS = {"study", "cell", "variant", "metric", "value", "unit", "recipe_hash", "source_hash", "when"}
HEAD = 8192  # bytes that are read


def check(targets: Mapping[str, Path], rows: Path | None = None, force: bool = False) -> None:
    """Raises ValueError unless each file may be written; by flag ("report", "csv" ...), "figures" is a folder.

    rows: the folder that this program writes rows to. force: files that somebody else wrote are replaced, too.
    """
    known: dict[Path, str] = {}
    for flag, path in targets.items():
        asked = f"--{flag} {path}"
        if flag == "figures":
            _outside(asked, path / "figure.svg", rows)
            _writable(asked, path / "figure.svg")
            continue
        if os.path.isdir(path):  # pathlib's raises for a name that is too long
            raise ValueError(f"{asked} is a folder; name the {'HTML ' if flag == 'report' else ''}file")
        _writable(asked, path)
        if path.exists() and not path.is_file():
            raise ValueError(f"{asked} is no file but a device or a pipe; name a file")
        endings = ENDINGS.get(flag, ())
        if endings and path.suffix.lower() not in endings:
            raise ValueError(f"{asked} must end in {' or '.join(endings)}; write {path.stem or 'page'}{endings[0]}")
        other = known.setdefault(path.resolve(), flag)
        if other != flag:
            raise ValueError(f"{asked} is the file of --{other}, too; name one file for each")
        _outside(asked, path, rows)
        if flag != "readme" and not force and path.exists() and not written_here(flag, path):
            raise ValueError(f"{asked} exists and is not {KINDS[flag]} that this program wrote; name another file, or "
                             f"replace it with --force")  # fmt: skip


def written_here(flag: str, path: Path) -> bool:
    """Whether a file is what this project writes for a flag; an empty one has nothing to lose."""
    if path.stat().st_size == 0:
        return True
    if flag == "parquet":
        return _parquet(path)
    with path.open("rb") as file:
        head = file.read(HEAD).decode(errors="replace").replace("\r\n", "\n")
    first = head.partition("\n")[0]
    match flag:
        case "report":
            return GENERATOR in head.partition("</head>")[0] or OLD_PAGE.match(head) is not None
        case "csv":
            return _of_rows(first.split(","))
        case "timm-csv":
            return first.removesuffix(",setting") == TIMM
        case "latex":
            return first.startswith(LATEX)
        case "markdown":
            return first == MARKDOWN or OLD_MARKDOWN.match(head) is not None
    raise AssertionError(flag)


def _of_rows(columns: Iterable[str]) -> bool:
    """Whether a table has the columns of rows, all of them or those that there were once."""
    return OF_ROWS <= set(columns) <= set(COLUMNS)


def _parquet(path: Path) -> bool:
    from pyarrow import ArrowException, parquet

    try:
        schema = parquet.read_schema(path)
    except ArrowException:
        return False
    return MARK.encode() in (schema.metadata or {}) or _of_rows(schema.names)


def holds_rows(folder: Path) -> bool:
    """Whether a file in the folder begins with a row."""
    for file in sorted(folder.glob("*.jsonl")):
        try:
            with file.open("rb") as lines:
                row = json.loads(lines.readline())
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(row, dict) and {"study", "metric"} <= set(row):
            return True
    return False


def _outside(asked: str, path: Path, rows: Path | None) -> None:
    """Raises ValueError for a file in a folder of rows or below; where the user stands is no folder below one."""
    here, parent = Path.cwd(), path.resolve().parent
    own = rows.resolve() if rows is not None else None
    for folder in (parent, *parent.parents):
        if folder != parent and here.is_relative_to(folder):
            return
        described = any((folder / "recipes").glob("*.json"))
        if folder == own or described or (folder == parent and holds_rows(folder)):
            raise ValueError(f"{asked} lies in {folder}, a folder of rows, where nothing else is written; name a file "
                             f"elsewhere")  # fmt: skip


def _writable(asked: str, path: Path) -> None:
    """Raises ValueError where a file cannot be made; leaves nothing behind."""
    try:
        path.with_name(f".{path.name}.{os.getpid()}.draft").exists()  # a name may be too long
        make_in(path.parent)
    except OSError as error:
        raise ValueError(f"{asked} cannot be written ({error.strerror or error}); name a file elsewhere") from error


def make_in(folder: Path) -> None:
    """Makes a file in a folder, or in the nearest one above that there is, and removes it. Raises OSError."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    with tempfile.NamedTemporaryFile(dir=existing, prefix=".writable-"):
        pass
