"""The program from Python: its flags as settings, the rows as a data frame."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness.run.flags import parser, study_of
from harness.run.program import places, run

if TYPE_CHECKING:
    import pandas as pd

LINE_ALONE = ("list", "status", "dry_run", "teach", "slurm")  # flags that print, or leave the work to others
APART = ("scale",)  # flags whose values are words of their own
REPEATED = ("variant_file",)


def study(**settings: Any) -> pd.DataFrame:
    """Runs a study and returns its rows, as `python -m harness.run` with the same settings, and draws its page.

        rows = harness.run(variants="sp_sa,psa,rpe", seeds=range(3), epochs=5, jobs=2)

    The settings are the flags, with _ for -: a text as it is written there, a number, True or False, or several values
    as a list. None leaves the preset's value. What is recorded is kept, so the same call goes on where it was
    interrupted. `rows.attrs` has the `path` of the rows and the `report`, the path of the page.

    Raises ValueError for a setting that does not exist or does not fit, in the words of the program. Warns where a cell
    failed or a row is damaged.
    """
    from harness.results import load

    words = [*as_words(settings)]
    command = parser()
    command.allow_abbrev, command.exit = False, _refused  # type: ignore[method-assign]
    args = command.parse_args(words)
    folder, page = places(args, study_of(args))
    if run(args, f"python -m harness.run {shlex.join(words)}".rstrip()):
        warnings.warn(f"a part of this study failed: {page} says what, and the same call tries it again", stacklevel=2)
    rows = load(folder)
    rows.attrs["report"] = str(page)
    return rows


def as_words(settings: dict[str, Any]) -> Iterable[str]:
    """Settings as the words of the command line. Raises ValueError for one that is the command line's alone."""
    for name, value in settings.items():
        flag = f"--{name.replace('_', '-')}"
        if name in LINE_ALONE:
            raise ValueError(f"{name} is of the command line alone: python -m harness.run {flag}")
        if value is None:
            continue
        if isinstance(value, bool):
            yield flag if value else f"--no-{flag[2:]}"
        elif isinstance(value, str | Path | int | float):
            yield f"{flag}={value}"
        elif name in APART:
            yield from (flag, *map(str, value))
        elif name in REPEATED:
            yield from (f"{flag}={one}" for one in value)
        else:
            yield f"{flag}={','.join(map(_word, value))}"


def _word(value: Any) -> str:
    """A value of several; a size (height, width) as the flags write it."""
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _refused(status: int = 0, message: str | None = None) -> NoReturn:
    raise ValueError((message or "").strip().removeprefix("harness.run: ") or f"the program ended with {status}")
