"""A table of cells for elsewhere, and how LaTeX and Markdown write it; any text in it stays text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.report.text.formatting import DASH, HARD, MINUS, THIN


@dataclass(frozen=True)
class Value:
    """A number, bold where it is resolved from the baseline's, and its interval."""

    text: str = DASH
    detail: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Sheet:
    """A heading over the names, a (group, words) over each column of values, and the lines by name."""

    corner: str
    headings: Sequence[tuple[str, str]]
    lines: Sequence[tuple[str, Sequence[Value]]]


def latex(sheet: Sheet, caption: str) -> str:
    """A `table` with booktabs' rules; an interval stands behind its number."""
    groups, rules, start = [], [], 2
    for name, members in groupby(group for group, _ in sheet.headings):
        span = len(list(members))
        groups.append(f"\\multicolumn{{{span}}}{{c}}{{{tex(name)}}}")
        rules.append(f"\\cmidrule(lr){{{start}-{start + span - 1}}}")
        start += span
    lines = [
        "\\begin{table}", "\\centering", f"\\caption{{{tex(caption)}}}",
        f"\\begin{{tabular}}{{l{'r' * len(sheet.headings)}}}", "\\toprule",
        " & ".join(["", *groups]) + " \\\\", " ".join(rules),
        " & ".join([tex(sheet.corner), *(tex(words) for _, words in sheet.headings)]) + " \\\\", "\\midrule",
    ]  # fmt: skip
    for name, values in sheet.lines:
        cells = [_cell(value, tex, "\\textbf{", "}") for value in values]
        lines.append(" & ".join([f"\\texttt{{{tex(name)}}}", *cells]) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""])


def markdown(sheet: Sheet) -> str:
    """A table as GitHub renders it. It has no headings over headings, so the group comes before the words."""
    heads = [marked(": ".join(filter(None, heading))) for heading in sheet.headings]
    lines = [row([marked(sheet.corner), *heads]), row(["---", *["---:"] * len(heads)])]
    for name, values in sheet.lines:
        lines.append(row([code(name), *(_cell(value, marked, "**", "**") for value in values)]))
    return "\n".join(lines)


def _cell(value: Value, escape: Callable[[str], str], start: str, end: str) -> str:
    text = escape(value.text)
    return f"{f'{start}{text}{end}' if value.bold else text} {escape(value.detail)}".rstrip()


TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", MINUS: "$-$", THIN: r"\,", HARD: "~", DASH: "---",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
}  # fmt: skip


def tex(text: str) -> str:
    """Any text as LaTeX that prints it, on one line; a bracket first in a cell would be taken for an argument."""
    escaped = "".join(TEX.get(letter, letter) for letter in _line(text))
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


def marked(text: str) -> str:
    """Any text as Markdown that shows it, on one line: a backslash before whatever may be a mark."""
    return re.sub(r"[\\`*_\[\]<>#|~&$@]", r"\\\g<0>", _line(text))


def code(name: str) -> str:
    """A name as code, which is inert; its fence is longer than any run of backticks in it."""
    inside = _line(name).replace("|", "\\|") or " "
    fence = "`" * (max(map(len, re.findall("`+", inside)), default=0) + 1)
    pad = " " if inside.startswith("`") or inside.endswith("`") else ""
    return f"{fence}{pad}{inside}{pad}{fence}"


def _line(text: str) -> str:
    """A text without line breaks and letters that do not print, but for the spaces that belong into numbers."""
    return "".join(letter if letter.isprintable() or letter in (THIN, HARD) else " " for letter in text)


def row(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
