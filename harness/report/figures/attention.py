"""Attention distance and entropy by layer: a dot a head, a line through the means, intervals over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.report.figures.style import line_ends, svg
from harness.report.figures.style.chart import SIZE, Drawing, axes
from harness.report.figures.style.palette import FAINT, PAPER, Look
from harness.report.study.rows import by_number
from harness.report.study.study import Setting
from harness.report.text.formatting import grouped
from harness.results.stats import FEWEST_SEEDS, Estimate, mean_interval

METRICS = {"attention_distance": "attention distance", "attention_entropy": "attention entropy"}
TITLE = "How far each layer looks, and how widely"
MOST_DOTS = 1500  # heads of seeds in a panel; more would hide the means


@dataclass(frozen=True)
class Seen:
    """Of a variant: metric -> layer -> seed -> the value of each head."""

    variant: str
    heads: Mapping[str, Mapping[int, Mapping[str, Sequence[float]]]]

    def mean(self, metric: str, layer: int) -> Estimate:
        """The mean over heads, its interval over seeds."""
        return mean_interval([sum(heads) / len(heads) for heads in self.heads[metric][layer].values()])


def seen(setting: Setting) -> list[Seen]:
    """One per variant whose attention was read."""
    found = []
    for variant in setting.variants:
        by_metric: dict[str, dict[int, dict[str, Sequence[float]]]] = {}
        for metric in METRICS:
            rows = setting.named(metric, variant)
            rows = rows[rows["value"].notna() & rows["layer"].str.fullmatch(r"\d{1,4}")]
            by_layer: dict[int, dict[str, Sequence[float]]] = {}
            for layer, seed, value, heads in zip(
                rows["layer"], rows["seed"], rows["value"], rows["samples"], strict=True
            ):
                by_layer.setdefault(int(layer), {})[str(seed)] = heads or [float(value)]
            by_metric[metric] = {layer: by_layer[layer] for layer in sorted(by_layer)}
        if by_metric["attention_distance"]:
            found.append(Seen(variant, by_metric))
    return found


def draw(setting: Setting, found: Sequence[Seen], look: dict[str, Look], name: str) -> Drawing:
    """A panel for each metric."""
    panels, missed = [], []
    for metric, label in METRICS.items():
        panel, left = _panel(found, look, metric, label, f"{name}-{metric.removeprefix('attention_')}")
        panels.append(panel)
        missed += left
    lines: list[list[object]] = []
    for one in found:
        for metric in METRICS:
            for layer, by_seed in one.heads[metric].items():
                e = one.mean(metric, layer)
                heads = " ".join(
                    f"{seed}:{'/'.join(f'{head:.4g}' for head in by_seed[seed])}"
                    for seed in sorted(by_seed, key=by_number)
                )
                lines.append([one.variant, metric, layer, e.center, e.low, e.high, e.n, heads])
    header = ["variant", "metric", "layer", "mean", "low", "high", "seeds", "heads_by_seed"]
    return Drawing(name, "".join(panels), TITLE, caption(setting, found), header, lines, missed, len(panels))


def caption(setting: Setting, found: Sequence[Seen]) -> str:
    counts = set(setting.named("attention_distance")["n"].dropna())
    images = f" of {grouped(counts.pop(), 0)} test images" if len(counts) == 1 else " of test images"
    drawn = any(one.mean("attention_distance", at).low is not None for one in found
                for at in one.heads["attention_distance"])  # fmt: skip
    vertical = "vertical lines: 95 % t intervals of the mean over seeds" if drawn else (
        f"no intervals, since none is formed below {FEWEST_SEEDS} seeds")  # fmt: skip
    dots = "dots are heads of all seeds" if _dotted(found, "attention_distance") else "heads are too many to be drawn"
    return (
        f"1 is uniform attention, on every grid: lower looks nearer, or at fewer patches. Read in the real forward"
        f"{images}: the mean distance from a patch to where it looks, over that of uniform attention; the entropy of "
        f"its attention over ln N. Prefix tokens are left out. Marks: means over heads and seeds, {dots}; {vertical}."
    )


def _dotted(found: Sequence[Seen], metric: str) -> bool:
    every = (heads for one in found for by_seed in one.heads[metric].values() for heads in by_seed.values())
    return sum(len(heads) for heads in every) <= MOST_DOTS


def _panel(found: Sequence[Seen], look: dict[str, Look], metric: str, label: str, name: str) -> tuple[str, list[str]]:
    known = [one for one in found if one.heads[metric]]
    layers = sorted({layer for one in known for layer in one.heads[metric]})
    width, lasts = min(0.3, 0.05 * len(known)), []
    with svg.style():
        figure = Figure(figsize=SIZE)
        ax = figure.add_axes((0.12, 0.14, 0.60, 0.83))
        ax.axhline(1.0, color=FAINT, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=0)
        for order, one in enumerate(known):
            shift = width * (order / max(1, len(known) - 1) - 0.5) if len(known) > 1 else 0.0
            lasts.append((one.variant, *_line(ax, one, metric, shift, look[one.variant], _dotted(found, metric))))
        ax.margins(x=0.04, y=0.05)
        axes(ax, "layer", label)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
        if len(layers) == 1:
            ax.set_xticks(layers)
        ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
        missed = line_ends.name(ax, lasts, look)
        return svg.inline(figure, name, f"{TITLE}: {label}"), missed


def _line(ax: Axes, one: Seen, metric: str, shift: float, look: Look, dotted: bool) -> tuple[float, float]:
    """The means and the heads; returns the last mean's place."""
    xs, ys = [], []
    for layer, by_seed in one.heads[metric].items():
        x, mean = layer + shift, one.mean(metric, layer)
        if dotted:
            dots = [head for heads in by_seed.values() for head in heads]
            ax.scatter([x] * len(dots), dots, color=look.color, s=9, alpha=0.3, linewidth=0, zorder=2)
        if mean.low is not None and mean.high is not None:
            ax.plot([x, x], [mean.low, mean.high], color=look.color, linewidth=1.6, alpha=0.7, zorder=3)
        xs.append(x)
        ys.append(mean.center)
    ax.plot(
        xs, ys, color=look.color, linewidth=1.1, alpha=0.9, marker=look.marker, markersize=6, markeredgecolor=PAPER,
        markeredgewidth=0.8, zorder=4,
    )  # fmt: skip
    return xs[-1], ys[-1]
