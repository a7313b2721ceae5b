"""A study's main table for elsewhere: with timm's column names, as LaTeX, as Markdown. Pure functions of the study.

The numbers are the page's own, setting by setting. Bold, in LaTeX and Markdown, is only what is resolved from the
baseline: a difference whose simultaneous interval leaves 0 out, a time ratio that is told from 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from statistics import fmean
from typing import Any

import pandas as pd

from harness.report.analysis.summary import Summary, summaries
from harness.report.analysis.timing import Condition, chosen
from harness.report.export import sheet
from harness.report.export.sheet import Sheet, Value
from harness.report.study.rows import by_number
from harness.report.study.study import Setting, Study
from harness.report.tables.main import Cell, Column, level, table
from harness.report.text.formatting import listing, plural
from harness.results import targets

TIMM = (
    "model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct", "interpolation",
    "infer_samples_per_sec", "infer_step_time", "infer_batch_size", "infer_img_size", "infer_gmacs",
    "train_samples_per_sec", "train_step_time", "train_batch_size", "train_img_size",
)  # fmt: skip
MODEL = "Model"  # the group of columns whose titles say enough by themselves


def timm_csv(study: Study) -> str:
    """One line a variant and setting under timm's names: results-*.csv's, then benchmark.py's.

    In timm's units: accuracies in %, means over seeds; param_count in millions; step times in ms of a batch. What was
    not measured is empty; so is crop_pct, which no row says. Where there are several settings, a last column
    `setting` tells them apart.
    """
    lines = []
    for setting in study.settings:
        conditions = chosen(setting, ""), chosen(setting, "train_")
        lines += [_timm_line(setting, summary, *conditions) for summary in summaries(setting)]
    columns = [*TIMM, *(["setting"] if len(study.settings) > 1 else [])]
    return pd.DataFrame(lines, columns=columns).to_csv(index=False, lineterminator="\n")


def _timm_line(setting: Setting, s: Summary, inference: Condition | None, training: Condition | None) -> dict[str, Any]:
    """The fields of a line that are known."""
    line = {"model": s.variant, "img_size": setting.train_px, "interpolation": "bicubic", "setting": setting.name}
    top5 = setting.by_seed("top5", s.variant).values()
    for name, value in (("top1", s.top1.value), ("top5", fmean(top5) if top5 else None)):
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


def latex(study: Study) -> str:
    r"""A `table` with booktabs' rules per setting, for \usepackage{booktabs}."""
    found = [(setting, summaries(setting)) for setting in study.settings]
    tables = [sheet.latex(main(setting, these), caption(setting, these)) for setting, these in found]
    return "\n".join([f"{targets.LATEX}; needs \\usepackage{{booktabs}}", *tables])


def markdown(study: Study) -> str:
    """A heading, a table and its notes per setting, as GitHub renders them in a pull request."""
    parts = [targets.MARKDOWN, ""]
    for setting in study.settings:
        found = summaries(setting)
        whole = main(setting, found)
        brief = replace(whole, headings=[("" if group == MODEL else group, words) for group, words in whole.headings])
        notes = sheet.marked(caption(setting, found))
        parts += [f"### {sheet.code(setting.name)}", "", sheet.markdown(brief), "", notes, ""]
    return "\n".join(parts)


def main(setting: Setting, found: list[Summary]) -> Sheet:
    """The page's table of a setting, with those of its columns that are printed and not empty."""
    whole = table(found, setting.baseline, *(chosen(setting, prefix) for prefix in ("", "train_", "latency_")))
    known = [any(line.cells[place].sort is not None for line in whole.lines) for place in range(len(whole.columns))]
    whole = whole.keep([place for place, column in enumerate(whole.columns) if column.printed and known[place]])
    headings = [(column.group, f"{column.title} {column.unit}".strip()) for column in whole.columns]
    return Sheet(
        "Variant", headings, [(line.variant, [*map(value, line.cells, whole.columns)]) for line in whole.lines]
    )


def value(cell: Cell, column: Column) -> Value:
    """A number and its interval, bold where it is resolved from the baseline's."""
    decided = cell.tone in ("more", "less") if column.key == "difference" else "not resolved" not in cell.remark
    return Value(cell.text, cell.detail, column.judged and cell.detail != "" and decided)


def caption(setting: Setting, found: list[Summary]) -> str:
    """What the numbers are, in the page's words."""
    at = f"; those of differences are simultaneous, each at {level(found)}" if level(found) else ""
    timed = [f"{what} on {c.words()}" for what, c in (("inference", chosen(setting, "")),
             ("training", chosen(setting, "train_"))) if c is not None and c.words()]  # fmt: skip
    where = f" Timed: {'; '.join(timed)}." if timed else ""
    old = [s.variant for s in found if s.stale]
    stale = f" Stale, measured with another state of the source: {listing(old)}." if old else ""
    return (
        f"{setting.name}; {seeds_words(found)}. In brackets: 95 % intervals{at}. Bold: told from "
        f"{setting.baseline}; a difference or a time ratio that is not bold is not.{where}{stale} "
        f"1 GFLOP here = 1 GMAC."
    )


def seeds_words(found: Iterable[Summary]) -> str:
    """ "5 seeds", "3 to 5 seeds"."""
    seeds = sorted({len(s.seeds) for s in found if s.seeds})
    if len(seeds) > 1:
        return f"{seeds[0]} to {seeds[-1]} seeds"
    return plural(seeds[0], "seed") if seeds else "no seed"
