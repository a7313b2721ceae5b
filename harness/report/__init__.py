"""Rows to one self-contained HTML page: `render` draws it, `python -m harness.report` is the program.

The chain inside, each link from the rows before it: rows -> study -> summary ->
verdict, table, figures, appendix -> page.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.results import Damage


@dataclass(frozen=True)
class Report:
    """Where the page is, and the lines that could not be read and are therefore not in it."""

    path: Path
    damaged: list[Damage]


def render(folder: Path, output: Path) -> Report:
    """Draws the page of the study in `folder` (or of one .jsonl file) into `output`, whole or not at all.

    Raises ValueError where there are no rows to show, OSError where a file cannot be read or written.
    """
    from harness import results
    from harness.report.page import page
    from harness.report.study import study

    folder, output = Path(folder), Path(output)
    frame = results.load(folder)
    damaged = list(frame.attrs["damaged"])
    if frame.empty:
        raise ValueError(f"none of the {len(damaged)} lines at {folder} can be read; the first: {damaged[0]}")
    recipes = results.recipes(folder if folder.is_dir() else folder.parent)
    results.write_bytes(output, page(study(frame, recipes)).encode())
    return Report(output, damaged)
