"""The main table without the speed columns where nobody measured speed: one sentence instead of a dash a variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.report.analysis.summary import UNMEASURED
from harness.report.tables.main import Cell, Table, sentence
from harness.report.text.formatting import DASH, listing

SPEED = ("Inference", "Training")  # groups that may be left out; the others are always shown


def measured(table: Table) -> Table:
    """The table without them, its footnotes numbered anew."""
    empty = set(_empty(table))
    if not empty:
        return table
    kept = [place for place in range(len(table.columns)) if place not in empty]
    lines = [replace(line, cells=[line.cells[place] for place in kept]) for line in table.lines]
    used = sorted({number for line in lines for cell in line.cells for number in cell.notes})
    anew = {number: place for place, number in enumerate(used, start=1)}
    lines = [replace(n, cells=[replace(c, notes=[anew[one] for one in c.notes]) for c in n.cells]) for n in lines]
    return replace(
        table,
        columns=[table.columns[place] for place in kept],
        lines=lines,
        notes=[table.notes[number - 1] for number in used],
    )


def unmeasured(table: Table) -> str:
    """ "Not measured, and left out of the table: the speed of training.", or "" where everything was."""
    groups = list(dict.fromkeys(table.columns[place].group for place in _empty(table)))
    names = listing([group[:1].lower() + group[1:] for group in groups])
    return f"Not measured, and left out of the table: {names}." if names else ""


def _empty(table: Table) -> Sequence[int]:
    """The places of the groups in which every cell is a dash for want of a measurement."""
    reason = sentence(UNMEASURED)
    full = {
        column.group
        for place, column in enumerate(table.columns)
        if column.group not in SPEED or not all(_dash(line.cells[place], table.notes, reason) for line in table.lines)
    }
    return [place for place, column in enumerate(table.columns) if column.group not in full and table.lines]


def _dash(cell: Cell, notes: Sequence[str], reason: str) -> bool:
    return cell.text == DASH and [notes[number - 1] for number in cell.notes] == [reason]
