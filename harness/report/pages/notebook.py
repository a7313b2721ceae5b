"""A study in a notebook: the sentence that sums up each setting, and its figures, each with its caption."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import pandas as pd

from harness.report import figures
from harness.report.analysis.summary import summaries
from harness.report.figures.context import Context
from harness.report.figures.style.chart import Drawing
from harness.report.figures.style.palette import css_variables, looks
from harness.report.study.source import of_rows
from harness.report.text import verdict
from harness.results.store import COLUMNS

PARTS = ("figures", "convergence", "speed")


@dataclass(frozen=True)
class Shown:
    """What a notebook displays; `drawings` are the figures by the name of their setting, `svg` and `csv()` in each."""

    sentences: dict[str, str]
    drawings: dict[str, list[Drawing]]

    def _repr_html_(self) -> str:
        """What Jupyter shows of it."""
        light, dark = css_variables()
        style = f"<style>.spatial-bias{{{light}--sans:sans-serif}}"
        style += f"@media (prefers-color-scheme: dark){{.spatial-bias{{{dark}}}}}</style>"
        parts = []
        for name, drawings in self.drawings.items():
            parts.append(f"<h3>{escape(name)}</h3><p>{escape(self.sentences[name])}</p>")
            parts += [f"<h4>{escape(d.title)}</h4>{d.svg}<p>{escape(d.caption)}</p>" for d in drawings]
        return f'<div class="spatial-bias">{style}{"".join(parts)}</div>'


def shown(rows: pd.DataFrame) -> Shown:
    """Raises ValueError for a frame that lacks columns of rows, and for one without rows."""
    if not isinstance(rows, pd.DataFrame) or not {*COLUMNS} <= {*rows.columns}:
        raise ValueError("these are no rows of a study, which have all columns; give what harness.run or "
                         "harness.results.load returns, or some rows of it")  # fmt: skip
    if rows.empty:
        raise ValueError("no rows are left to show; choose fewer conditions")
    study = of_rows(rows.reset_index(drop=True))
    look = looks(list(dict.fromkeys(v for setting in study.settings for v in setting.variants)), study.baseline)
    sentences, drawings = {}, {}
    for number, setting in enumerate(study.settings, start=1):
        found = list(summaries(setting))
        about = Context(setting, found, look, f"n{number}-")
        sentences[setting.name] = verdict.headline(setting, found)
        drawings[setting.name] = [one for part in PARTS for one in figures.draw(part, about)]
    return Shown(sentences, drawings)
