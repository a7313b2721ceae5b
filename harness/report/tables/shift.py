"""The table "Shift consistency": how many predictions stay when the image moves by a pixel and by a patch."""

from __future__ import annotations

from harness.report.analysis.quantity import mean
from harness.report.analysis.summary import failure
from harness.report.study.rows import by_number
from harness.report.study.study import Setting
from harness.report.tables.main import Cell, Column, Footnotes, Line, Table, mean_cell
from harness.report.text.formatting import grouped, percent

METRICS = {"shift_px_consistency": "By a pixel", "shift_patch_consistency": "By a patch"}


def table(setting: Setting) -> Table | None:
    """A mean over seeds with its interval in each column; None where no variant has a number."""
    rows = setting.rows[setting.rows["metric"].isin(METRICS) & setting.rows["value"].notna()]
    if setting.train_px:
        rows = rows[rows["test_px"].isin([setting.train_px, ""])]
    if rows.empty:
        return None
    notes, lines = Footnotes(), []
    columns = [
        Column(metric, "Predictions that stay", title, "%", "mean over seeds, over the four directions")
        for metric, title in METRICS.items()
        if (rows["metric"] == metric).any()
    ]
    for variant in setting.variants:
        cells: list[Cell] = []
        for column in columns:
            mine = rows[(rows["variant"] == variant) & (rows["metric"] == column.key)]
            seeds = dict(zip(mine["seed"], mine["value"].astype(float), strict=True))
            values = [seeds[seed] for seed in sorted(seeds, key=by_number)]
            found = mean(values, failure(setting, variant, "shift"), bool(mine["stale"].any()))
            cells.append(mean_cell(found, percent, notes))
        lines.append(Line(variant, setting.families.get(variant, ""), variant == setting.baseline, cells))
    return Table(columns, lines, notes.sentences)


def images(setting: Setting) -> str:
    """ " of 360 test images", or "" where the rows do not agree on a number."""
    counts = set(setting.rows[setting.rows["metric"].isin(METRICS)]["n"].dropna())
    return f" of {grouped(counts.pop(), 0)} test images" if len(counts) == 1 else ""
