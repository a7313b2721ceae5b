"""Where a study is read from: a folder of rows, one .jsonl file, or the rows of one commit in either.

`results/NAME@COMMIT` stands for the rows that a commit wrote. The commit is named by as many of its first digits as
tell it from the others; with "+dirty", only the rows written with uncommitted changes count.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harness.report.study.study import Study, study
from harness.results import store


@dataclass(frozen=True)
class Source:
    """What was asked for, the rows as they were read, and the study that they make up."""

    asked: str
    frame: pd.DataFrame
    study: Study

    @property
    def commits(self) -> list[str]:
        """The commits that wrote the rows, the newest last."""
        return [commit for commit in dict.fromkeys(self.study.rows["code"]) if commit]

    @property
    def when(self) -> str:
        """The days on which the rows were written; "" where no row says."""
        days = sorted({when[:10] for when in self.study.rows["when"] if when})
        return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""


def read(asked: str) -> Source:
    """Reads a study. Raises ValueError where there are no rows, or not exactly one commit is meant."""
    path, commit = split(asked)
    frame = store.load(path)
    if frame.empty:
        damaged = frame.attrs["damaged"]
        raise ValueError(f"none of the {len(damaged)} lines at {path} can be read; the first: {damaged[0]}")
    if commit:
        frame = written_by(frame, commit, path)
    return Source(asked, frame, of_rows(frame))


def of_rows(frame: pd.DataFrame) -> Study:
    """The study of rows that `store.load` has read, all or some of them, with the files that lie beside them.

    Rows of several studies, which pandas has put together, have forgotten where these files are.
    """
    if "path" not in frame.attrs:
        return study(frame, {})
    path = Path(frame.attrs["path"])
    beside = path if path.is_dir() else path.parent
    maps = store.beside(beside, ".maps.npz") | store.beside(beside, ".saliency.npz")  # by cell, and cells differ
    return study(frame, store.recipes(beside), store.correct(beside), maps)


def split(asked: str) -> tuple[Path, str]:
    """The path and the commit, "" where none is named; a path that exists is taken whole.

    Raises ValueError where nothing follows the @.
    """
    path, _, commit = asked.rpartition("@")
    if not path or Path(asked).exists():
        return Path(asked), ""
    if not commit:
        raise ValueError(f"{asked} names no commit after the @; give its first digits, or leave the @ out")
    return Path(path), commit


def written_by(frame: pd.DataFrame, commit: str, path: Path) -> pd.DataFrame:
    """The rows of a commit. Raises ValueError where no commit, or more than one, has this name."""
    codes = [code if isinstance(code, str) else "" for code in frame["code"]]
    there = [code for code in dict.fromkeys(codes) if code]
    named = [code for code in there if code == commit or (code.startswith(commit) and "+" not in commit)]
    if len({code.partition("+")[0] for code in named}) != 1:
        many = f"more than one commit at {path} begins with {commit}" if named else f"no row at {path} is of {commit}"
        raise ValueError(f"{many}; there are {', '.join(there) or 'none named'}")
    return frame[[code in named for code in codes]].reset_index(drop=True)
