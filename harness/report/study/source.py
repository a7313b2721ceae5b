"""What `python -m harness.report A B` compares: a folder of rows, one .jsonl file, or either's rows of one commit.

`results/NAME@COMMIT` is the rows that a commit wrote, named by as many of its first digits as tell it from the others;
with "+dirty", only those that were written with uncommitted changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harness.report.study.study import Study, study
from harness.results import store
from harness.results.store import Damage


@dataclass(frozen=True)
class Side:
    """One of two: what it was asked for by, and its study."""

    letter: str
    asked: str
    study: Study
    damaged: list[Damage]

    @property
    def commits(self) -> list[str]:
        """The commits that wrote its rows, the newest last."""
        return [commit for commit in dict.fromkeys(self.study.rows["code"]) if commit]

    @property
    def when(self) -> str:
        """The days on which its rows were written; "" where none says."""
        days = sorted({when[:10] for when in self.study.rows["when"] if when})
        return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""


def side(letter: str, asked: str) -> Side:
    """Reads a side. Raises ValueError where there are no rows, or the commit is not, or not the only one, there."""
    path, commit = split(asked)
    frame = store.load(path)
    damaged = list(frame.attrs["damaged"])
    if frame.empty:
        raise ValueError(f"none of the {len(damaged)} lines at {path} can be read; the first: {damaged[0]}")
    if commit:
        frame = written_by(frame, commit, path)
    beside = path if path.is_dir() else path.parent
    return Side(letter, asked, study(frame, store.recipes(beside), store.correct(beside)), damaged)


def split(asked: str) -> tuple[Path, str]:
    """The path and the commit, "" where none is named; what exists as a whole is a path.

    Raises ValueError for nothing after the @.
    """
    path, _, commit = asked.rpartition("@")
    if not path or Path(asked).exists():
        return Path(asked), ""
    if not commit:
        raise ValueError(f"{asked} names no commit after the @; give its first digits, or leave the @ out")
    return Path(path), commit


def written_by(frame: pd.DataFrame, commit: str, path: Path) -> pd.DataFrame:
    """The rows of a commit. Raises ValueError where it is none or several."""
    codes = [code if isinstance(code, str) else "" for code in frame["code"]]
    there = [code for code in dict.fromkeys(codes) if code]
    found = [code for code in there if code == commit or (code.startswith(commit) and "+" not in commit)]
    if len({code.partition("+")[0] for code in found}) != 1:
        many = f"more than one commit at {path} begins with {commit}" if found else f"no row at {path} is of {commit}"
        raise ValueError(f"{many}; there are {', '.join(there) or 'none named'}")
    return frame[[code in found for code in codes]].reset_index(drop=True)
