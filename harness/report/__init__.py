"""Rows to one self-contained HTML page: `render` draws it, `python -m harness.report` is the program.

Inside, one chain goes from the rows to the page: study -> analysis -> text, tables, figures -> pages. A page of two
studies takes study/matched, analysis/compare, tables/compare and pages/compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.pages.notebook import Shown
    from harness.report.study.source import Source
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
    from harness.report.study.source import read

    one = read(str(folder))
    return write(Path(output), page(one.study), one)


def show(rows: pd.DataFrame) -> Shown:
    """The figures of a study in a notebook, and the sentence that sums it up, from all or some of its rows.

    rows: what `harness.run` or `harness.results.load` returns. Raises ValueError for other frames and for none.
    """
    from harness.report.pages.notebook import shown

    return shown(rows)


def render_comparison(a: str, b: str, output: Path) -> Report:
    """Draws the page of two studies side by side; each a folder, a .jsonl file, or either's rows of one `@COMMIT`.

    Raises ValueError where there are no rows to compare, OSError where a file cannot be read or written.
    """
    from harness.report.pages.compare import page
    from harness.report.study.source import read

    one, two = read(a), read(b)
    return write(Path(output), page(one, two), one, two)


def render_index(folder: Path, force: bool = False) -> Path:
    """Draws a page of all pages in a folder, `index.html` beside them; returns its path.

    Raises ValueError for a folder without a page, and where index.html is somebody else's and not to be replaced.
    """
    from harness.report.pages import index
    from harness.results import store, targets

    output = folder / index.NAME
    html = index.page(folder)
    targets.check({"report": output}, force=force)
    store.write_bytes(output, html.encode())
    return output


def write(output: Path, html: str, *sources: Source) -> Report:
    """Writes a page, whole or not at all."""
    from harness.results import store

    store.write_bytes(output, html.encode())
    return Report(output, [damage for one in sources for damage in one.study.damaged])
