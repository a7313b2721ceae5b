"""Rows to one self-contained HTML page: `render` draws it, `python -m harness.report` is the program.

The chain inside, each link from the rows before it: rows -> study -> summary ->
verdict, table, figures, appendix -> page; and of two studies: sides -> matched -> compare -> compare_page.
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
    beside = folder if folder.is_dir() else folder.parent
    maps = results.beside(beside, ".maps.npz") | results.beside(beside, ".saliency.npz")  # by cell, and cells differ
    whole = study(frame, results.recipes(beside), results.correct(beside), maps)
    results.write_bytes(output, page(whole).encode())
    return Report(output, damaged)


def render_comparison(a: str, b: str, output: Path) -> Report:
    """Draws the page of two studies side by side; each a folder, a .jsonl file, or either's rows of one `@COMMIT`.

    Raises ValueError where there are no rows to compare, OSError where a file cannot be read or written.
    """
    from harness import results
    from harness.report.compare_page import page
    from harness.report.sides import side

    one, two = side("A", a), side("B", b)
    results.write_bytes(Path(output), page(one, two).encode())
    return Report(Path(output), [*one.damaged, *two.damaged])
