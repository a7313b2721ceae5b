"""Attention distance and entropy by layer: a dot a head, a line through the means, intervals over seeds."""

from __future__ import annotations

from itertools import product

from harness.report.figures.context import Context
from harness.report.figures.style.chart import Drawing, Record, Table, interval
from harness.report.figures.style.series import APART, Level, Panel, drawing, read
from harness.report.study.rows import by_number
from harness.report.study.study import Setting
from harness.report.text.formatting import grouped
from harness.results.stats import FEWEST_SEEDS, mean_interval

METRICS = {"attention_distance": "attention distance", "attention_entropy": "attention entropy"}
TITLE = "How far each layer looks, and how widely"
MOST_DOTS = 1500  # heads of seeds in a panel; more would hide the means
NEAR = 0.3  # of the way from layer to layer: how far variants are set apart, all together


def draw(about: Context) -> Drawing | None:
    """A panel for each metric; None where no cell has read the attention of a trained model."""
    records, panels = table(about.setting), []
    if not any(record["metric"] == "attention_distance" for record in records):
        return None
    for metric, label in METRICS.items():
        shown = [record for record in records if record["metric"] == metric]
        lines = read(shown, "layer", "mean", about.look, single="heads_by_seed" if dotted(shown) else "")
        apart = min(APART, NEAR / len({record["layer"] for record in shown} or {0}))
        panels.append(Panel(lines, "layer", label, metric.removeprefix("attention_"), f"{TITLE}: {label}", whole=True,
                            apart=apart, level=Level(1.0), zero=True))  # fmt: skip
    return drawing(f"{about.prefix}attention", TITLE, caption(about.setting, records), records, panels)


def table(setting: Setting) -> list[Record]:
    """For each variant, metric and layer: the mean over heads, its interval over seeds, the heads to four digits."""
    records: list[Record] = []
    for variant, metric in product(setting.variants, METRICS):
        rows = setting.named(metric, variant)
        rows = rows[rows["value"].notna() & rows["layer"].str.fullmatch(r"\d{1,4}")]
        for layer, mine in rows.groupby(rows["layer"].astype(int)):
            heads = {
                seed: samples or [value]
                for seed, value, samples in zip(mine["seed"], mine["value"], mine["samples"], strict=True)
            }
            mean = mean_interval([sum(each) / len(each) for each in heads.values()])
            records.append({
                "variant": variant, "metric": metric, "layer": layer, **interval("mean", mean), "seeds": mean.n,
                "heads_by_seed": {seed: [float(f"{head:.4g}") for head in heads[seed]]
                                  for seed in sorted(heads, key=by_number)},
            })  # fmt: skip
    return records


def dotted(shown: Table) -> bool:
    """Whether heads are few enough to be drawn."""
    return sum(len(heads) for record in shown for heads in record["heads_by_seed"].values()) <= MOST_DOTS


def caption(setting: Setting, records: Table) -> str:
    distances = [record for record in records if record["metric"] == "attention_distance"]
    counts = set(setting.named("attention_distance")["n"].dropna())
    images = f" of {grouped(counts.pop(), 0)} test images" if len(counts) == 1 else " of test images"
    drawn = any(record["low"] is not None for record in distances)
    vertical = "vertical lines: 95 % t intervals of the mean over seeds" if drawn else (
        f"no intervals, since none is formed below {FEWEST_SEEDS} seeds")  # fmt: skip
    several = any(record["seeds"] > 1 for record in distances)
    over = "heads and seeds" if several else "the heads of one seed"
    dots = f"dots are heads{' of all seeds' * several}" if dotted(distances) else "heads are too many to be drawn"
    return (
        f"1 is uniform attention, on every grid: lower looks nearer, or at fewer patches. Read in the real forward"
        f"{images}: the mean distance from a patch to where it looks, over that of uniform attention; the entropy of "
        f"its attention over ln N. Prefix tokens are left out. Marks: means over {over}, {dots}; {vertical}."
    )
