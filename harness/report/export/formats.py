"""A study's main table for elsewhere: with timm's column names, as LaTeX, as Markdown. Pure functions of the study.

The numbers are the page's own, setting by setting. Bold, in LaTeX and Markdown, is only what is resolved from the
baseline: a difference whose simultaneous interval leaves 0 out, a time ratio that is told from 1.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence

from harness.report.analysis.summary import Summary, summaries
from harness.report.analysis.timing import Condition, chosen
from harness.report.study.rows import by_number
from harness.report.study.study import Setting, Study
from harness.report.tables.main import Cell, Column, Table, level, table
from harness.report.text.formatting import DASH, HARD, MINUS, THIN, listing, plural
from harness.results.stats import mean_interval

TIMM = (
    "model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct", "interpolation",
    "infer_samples_per_sec", "infer_step_time", "infer_batch_size", "infer_img_size", "infer_gmacs",
    "train_samples_per_sec", "train_step_time", "train_batch_size", "train_img_size",
)  # fmt: skip
SHOWN = (
    "params", "gmac", "images_per_s", "ratio", "peak_mib", "train_ratio", "top1", "difference", "seeds",
)  # fmt: skip  # of the page's columns, what fits on a sheet of paper; all else is in the CSVs
JUDGED = ("ratio", "train_ratio", "difference")  # columns in which a number is resolved from the baseline's, or not
Escape = Callable[[str], str]


def timm_csv(study: Study) -> str:
    """One line a variant and setting under timm's names: results-*.csv's, then benchmark.py's.

    In timm's units: accuracies in %, means over seeds; param_count in millions; step times in ms of a batch. What was
    not measured is empty; so is crop_pct, which no row says. Where there are several settings, a last column
    `setting` tells them apart.
    """
    several = len(study.settings) > 1
    packed = io.StringIO()
    writer = csv.writer(packed, lineterminator="\n")
    writer.writerow([*TIMM, *(["setting"] if several else [])])
    for setting in study.settings:
        conditions = chosen(setting, ""), chosen(setting, "train_")
        for summary in summaries(setting):
            line = _timm_line(setting, summary, *conditions)
            writer.writerow([*(line.get(name, "") for name in TIMM), *([setting.name] if several else [])])
    return packed.getvalue()


def _timm_line(setting: Setting, s: Summary, inference: Condition | None, training: Condition | None) -> dict[str, str]:
    """The fields of a line that are known."""
    line = {"model": s.variant, "img_size": setting.train_px, "interpolation": "bicubic"}
    for name, value in (("top1", s.top1.value), ("top5", _top5(setting, s.variant))):
        if value is not None:
            line |= {name: f"{value:.3f}", f"{name}_err": f"{100 - value:.3f}"}
    if s.params.value is not None:
        line["param_count"] = f"{s.params.value / 1e6:.6f}".rstrip("0").rstrip(".")
    if s.gmac.value is not None:
        line["infer_gmacs"] = f"{s.gmac.value:.6g}"
    for prefix, speed, condition in (("infer", s.inference, inference), ("train", s.training, training)):
        rate = speed.images_per_s.value
        if rate and condition is not None:
            line |= {f"{prefix}_samples_per_sec": f"{rate:.2f}", f"{prefix}_img_size": condition.px}
            if by_number(condition.batch)[0] < 1e12:
                step = f"{1e3 * float(condition.batch) / rate:.3f}"
                line |= {f"{prefix}_step_time": step, f"{prefix}_batch_size": condition.batch}
    return line


def _top5(setting: Setting, variant: str) -> float | None:
    by_seed = setting.by_seed("top5", variant)
    return mean_interval(list(by_seed.values())).center if by_seed else None


def latex(study: Study) -> str:
    r"""A `table` with booktabs' rules per setting, for \usepackage{booktabs}; an interval stands behind its number."""
    return "\n".join(
        ["% python -m harness.report; needs \\usepackage{booktabs}", *(_latex(one) for one in study.settings)]
    )


def _latex(setting: Setting) -> str:
    found, whole, columns = _whole(setting)
    heads = [f"{_tex(column.title)} {_tex(column.unit)}".strip() for _, column in columns]
    groups, rules, start = [], [], 2
    for name, span in _groups(columns):
        groups.append(f"\\multicolumn{{{span}}}{{c}}{{{_tex(name)}}}")
        rules.append(f"\\cmidrule(lr){{{start}-{start + span - 1}}}")
        start += span
    lines = [
        "\\begin{table}", "\\centering", f"\\caption{{{_tex(_caption(setting, found))}}}",
        f"\\begin{{tabular}}{{l{'r' * len(columns)}}}", "\\toprule",
        " & ".join(["", *groups]) + " \\\\", " ".join(rules), " & ".join(["Variant", *heads]) + " \\\\", "\\midrule",
    ]  # fmt: skip
    for line in whole.lines:
        cells = [_shown(line.cells[place], column, _tex, "\\textbf{", "}") for place, column in columns]
        lines.append(" & ".join([f"\\texttt{{{_tex(line.variant)}}}", *cells]) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""])


def markdown(study: Study) -> str:
    """A heading, a table and its notes per setting, as GitHub renders them in a pull request."""
    return "\n".join(_markdown(setting) for setting in study.settings)


def _markdown(setting: Setting) -> str:
    found, whole, columns = _whole(setting)
    heads = [
        marked(f"{'' if column.group == 'Model' else f'{column.group}: '}{column.title} {column.unit}".strip())
        for _, column in columns
    ]  # Markdown has no headings over headings
    lines = [f"### {span(setting.name)}", "", row(["Variant", *heads]), row(["---", *["---:"] * len(columns)])]
    for line in whole.lines:
        cells = [_shown(line.cells[place], column, marked, "**", "**") for place, column in columns]
        lines.append(row([span(line.variant), *cells]))
    return "\n".join([*lines, "", marked(_caption(setting, found)), ""])


def _whole(setting: Setting) -> tuple[list[Summary], Table, list[tuple[int, Column]]]:
    """The page's table of a setting, and those of its columns that are shown and not empty, with their places."""
    found = summaries(setting)
    conditions = [chosen(setting, prefix) for prefix in ("", "train_", "latency_")]
    whole = table(found, setting.baseline, *conditions)
    held = [any(line.cells[place].sort is not None for line in whole.lines) for place in range(len(whole.columns))]
    every = enumerate(whole.columns)
    return found, whole, [(place, column) for place, column in every if held[place] and column.key in SHOWN]


def _groups(columns: Sequence[tuple[int, Column]]) -> Iterator[tuple[str, int]]:
    names = [column.group for _, column in columns]
    for name in dict.fromkeys(names):
        yield name, names.count(name)


def _shown(cell: Cell, column: Column, escape: Escape, start: str, end: str) -> str:
    """A number, bold where it is resolved from the baseline's, and its interval."""
    text = escape(cell.text)
    if column.key in JUDGED and cell.detail and "not resolved" not in cell.remark:
        text = f"{start}{text}{end}"
    return f"{text} {escape(cell.detail)}" if cell.detail else text


def _caption(setting: Setting, found: list[Summary]) -> str:
    """What the numbers are, in the page's words."""
    at = f"; those of differences are simultaneous, each at {level(found)}" if level(found) else ""
    timed = [f"{what} on {c.words()}" for what, c in (("inference", chosen(setting, "")),
             ("training", chosen(setting, "train_"))) if c is not None and c.words()]  # fmt: skip
    where = f" Timed: {'; '.join(timed)}." if timed else ""
    old = [s.variant for s in found if s.stale]
    stale = f" Stale, measured with another state of the source: {listing(old)}." if old else ""
    return (
        f"{setting.name}; {seeds_words(found)}. In brackets: 95 % intervals{at}. Bold: resolved from "
        f"{setting.baseline}; a difference or a time ratio that is not bold is not.{where}{stale} "
        f"1 GFLOP here = 1 GMAC."
    )


def seeds_words(found: Sequence[Summary]) -> str:
    """ "5 seeds", "3 to 5 seeds"."""
    seeds = sorted({len(s.seeds) for s in found if s.seeds})
    if len(seeds) > 1:
        return f"{seeds[0]} to {seeds[-1]} seeds"
    return plural(seeds[0], "seed") if seeds else "no seed"


TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", MINUS: "$-$", THIN: r"\,", HARD: "~", DASH: "---",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
}  # fmt: skip


def _tex(text: str) -> str:
    """Any text as LaTeX that prints it, on one line; a bracket first in a cell would be taken for an argument."""
    escaped = "".join(TEX.get(letter, letter) for letter in _line(text))
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


def marked(text: str) -> str:
    """Any text as Markdown that shows it, on one line: a backslash before whatever may be a mark."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|~&$@" else letter for letter in _line(text))


def span(name: str) -> str:
    """A name as code, which is inert; its fence is longer than any run of backticks in it."""
    inside = _line(name).replace("|", "\\|") or " "
    fence = "`" * (max((len(run) for run in _runs(inside)), default=0) + 1)
    pad = " " if inside.startswith("`") or inside.endswith("`") else ""
    return f"{fence}{pad}{inside}{pad}{fence}"


def _runs(text: str) -> list[str]:
    return "".join(letter if letter == "`" else " " for letter in text).split()


def _line(text: str) -> str:
    """A text without line breaks and letters that do not print, but for the spaces that belong into numbers."""
    return "".join(letter if letter.isprintable() or letter in (THIN, HARD) else " " for letter in text)


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
