"""Rows to one self-contained HTML page: `render` draws it, `python -m harness.report` is the program.

The chain inside, each link from the rows before it: rows -> study -> summary ->
verdict, table, figures, appendix -> page; and of two studies: sides -> matched -> compare -> compare_page.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.results.store import Damage


@dataclass(frozen=True)
class Report:
    """Where the page is, and the lines that could not be read and are therefore not in it."""

    path: Path
    damaged: list[Damage]


def render(folder: Path, output: Path) -> Report:
    """Draws the page of the study in `folder` (or of one .jsonl file) into `output`, whole or not at all.

    Raises ValueError where there are no rows to show, OSError where a file cannot be read or written.
    """
    from harness.report.pages.page import page
    from harness.report.study.study import study
    from harness.results import store

    folder, output = Path(folder), Path(output)
    frame = store.load(folder)
    damaged = list(frame.attrs["damaged"])
    if frame.empty:
        raise ValueError(f"none of the {len(damaged)} lines at {folder} can be read; the first: {damaged[0]}")
    beside = folder if folder.is_dir() else folder.parent
    maps = store.beside(beside, ".maps.npz") | store.beside(beside, ".saliency.npz")  # by cell, and cells differ
    whole = study(frame, store.recipes(beside), store.correct(beside), maps)
    store.write_bytes(output, page(whole).encode())
    return Report(output, damaged)


def render_comparison(a: str, b: str, output: Path) -> Report:
    """Draws the page of two studies side by side; each a folder, a .jsonl file, or either's rows of one `@COMMIT`.

    Raises ValueError where there are no rows to compare, OSError where a file cannot be read or written.
    """
    from harness.report.pages.compare import page
    from harness.report.study.source import side
    from harness.results import store

    one, two = side("A", a), side("B", b)
    store.write_bytes(Path(output), page(one, two).encode())
    return Report(Path(output), [*one.damaged, *two.damaged])
