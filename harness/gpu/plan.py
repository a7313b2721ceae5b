"""Pieces of work under a limit of time: what matters most comes first, and none is begun that would not end in time.

What a piece finds is written when it ends, so a program that is killed leaves whole results. Pieces that are there are
not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.results import store


@dataclass(frozen=True)
class Piece:
    """seconds: how long it takes, as far as is known before; kind: pieces of one kind are off by the same factor.

    work returns the sentence of what went wrong.
    """

    name: str
    kind: str
    seconds: float
    done: Callable[[], bool]
    work: Callable[[], str | None]


@dataclass
class Outcome:
    """The names of the pieces that were there, that were done, that did not fit; and of those done what went wrong."""

    there: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def recorded(
    name: str, kind: str, seconds: float, folder: Path, rows: Callable[[], Iterable[store.Row]], null: store.Row
) -> Piece:
    """A piece whose rows are folder/NAME.jsonl.

    Where it fails, they are those that were found before and `null` with the reason, in NAME.failed.jsonl: the next run
    tries it again.
    """
    path = folder / f"{name}.jsonl"
    failed = path.with_suffix(".failed.jsonl")

    def work() -> str | None:
        found: list[store.Row] = []
        try:
            found.extend(rows())
        except Exception as error:  # one piece must not cost the others; the row says why
            why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            store.write(failed, [*found, null | {"value": None, "note": why}])
            return why
        failed.unlink(missing_ok=True)
        store.write(path, found)
        return None

    return Piece(name, kind, seconds, path.is_file, work)


def carry_out(
    pieces: Sequence[Piece], seconds: float, clock: Callable[[], float], say: Callable[[str], object]
) -> Outcome:
    """Does the pieces that are missing, in their order, each where its time is left when its turn comes."""
    start, factors, outcome = clock(), dict[str, float](), Outcome()
    for piece in pieces:
        if piece.done():
            outcome.there.append(piece.name)
            continue
        expected, begun = piece.seconds * factors.get(piece.kind, 1.0), clock()
        if begun - start + expected > seconds:
            outcome.left.append(piece.name)
            continue
        say(f"{piece.name}: about {expected:.0f} s of the {seconds - (begun - start):.0f} s that are left")
        why = piece.work()
        if why is not None:
            outcome.failed[piece.name] = why
        factors[piece.kind] = (clock() - begun) / piece.seconds
        outcome.done.append(piece.name)
    return outcome
