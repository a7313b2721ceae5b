"""Binarised priors: how accurate the trained models stay with a mask in the prior's place, and what the mask saves.

From the rows of python -m harness.binarize, whose variants are named "sp_sa kept 25 % by mass, prior 1". Accuracies are
means over seeds; times are those of the fastest backend that was tried, over the same layers as trained.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report import ends, svg
from harness.report.chart import SIZE, Drawing, axes
from harness.report.palette import FAINT, HUES, MARKERS, PAPER, THEME, Look
from harness.report.quantity import Quantity, mean, ratio
from harness.report.rows import side
from harness.report.study import Setting
from harness.report.words import HARD, listing, plural, points, significant, tick
from harness.stats import Estimate, aa_floor, median_interval, paired_difference, ratio_resolved

NAME = re.compile(r"(.+) kept ([0-9.e-]+) %(?: by (deviation|mass))?(, prior 1)?")
TITLE = "Binarised priors of {}"
HEADER = [
    "arm", "kept_offsets", "by", "prior", "test_px", "attended_pairs", "top1_mean", "top1_low", "top1_high",
    "top1_by_seed", "finetuned_mean", "finetuned_low", "finetuned_high", "finetuned_by_seed", "dense_gmac",
    "attended_gmac", "gathered_gmac", "time_ratio", "time_ratio_low", "time_ratio_high", "backend",
]  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """One way to make a prior binary: `keep` in % of the offsets; `by` is "" where all are kept."""

    name: str
    spec: str
    keep: float
    by: str
    ones: bool

    @property
    def inside(self) -> str:
        return "1" if self.ones else "its values"


@dataclass(frozen=True)
class Time:
    """The fastest backend's time over that of the trained layers at one resolution; floor: what no ratio resolves."""

    ratio: Quantity
    backend: str
    floor: float | None
    samples: tuple[float, ...]

    def below(self, other: Time | None) -> bool:
        """Whether it is resolved to be faster than the layers as trained, and than another one of the same rounds."""
        against = [self.samples]
        if other is not None and len(other.samples) == len(self.samples):
            against.append(tuple(one / base for one, base in zip(self.samples, other.samples, strict=True)))
        found = [median_interval(samples) for samples in against if samples]
        return bool(found) and all(one.center < 1 and ratio_resolved(one, self.floor) for one in found)


@dataclass(frozen=True)
class Binarised:
    """All that is shown of one variant: sentences and figures."""

    variant: str
    sentences: list[tuple[str, str]]
    drawings: list[Drawing]


def arm(name: str) -> Arm | None:
    """The arm of a row's variant; None for any other name."""
    match = NAME.fullmatch(name)
    return None if match is None else Arm(name, match[1], float(match[2]), match[3] or "", match[4] is not None)


def binarised(setting: Setting, prefix: str) -> list[Binarised]:
    """One for each variant whose prior was made binary and has a number."""
    rows = setting.rows[setting.rows["metric"].str.startswith("kept_")]
    arms = [one for name in dict.fromkeys(rows["variant"]) if (one := arm(str(name)))]
    found = []
    for number, spec in enumerate(dict.fromkeys(one.spec for one in arms), start=1):
        mine = sorted((a for a in arms if a.spec == spec), key=lambda a: (-a.keep, a.by, a.ones))
        curve = Curves(setting, spec, mine)
        if curve.top1:
            drawings = [draw(curve, f"{prefix}kept-{number}")]
            found.append(Binarised(spec, curve.sentences(), drawings))
    return found


class Curves:
    """The numbers of one variant's arms: accuracies by arm's name, times by (arm's name, resolution)."""

    def __init__(self, setting: Setting, spec: str, arms: Sequence[Arm]):
        self.setting, self.spec, self.arms = setting, spec, list(arms)
        self.trained = seeds(setting.named("top1", spec), setting.train_px)
        self.plain = mean(list(self.trained.values()), "not trained")
        self.top1, self.tuned = self._accuracy("kept_top1"), self._accuracy("kept_finetuned_top1")
        self.epochs = next((e for e in setting.named("kept_finetuned_top1")["epoch"][::-1] if e), "")
        self.times = self._times()

    def _accuracy(self, metric: str) -> dict[str, tuple[Quantity, dict[str, float]]]:
        rows = self.setting.named(metric)
        if metric == "kept_finetuned_top1" and len(rows):
            rows = rows[rows["epoch"] == rows["epoch"].iloc[-1]]  # those of other lengths are not mixed with it
        found = {}
        for one in self.arms:
            by_seed = seeds(rows[rows["variant"] == one.name], self.setting.train_px)
            if by_seed:
                found[one.name] = mean(list(by_seed.values()), ""), by_seed
        return found

    def _times(self) -> dict[tuple[str, str], Time]:
        every = self.setting.named("kept_ratio")
        every = every[every["value"].notna() & every["variant"].isin([one.name for one in self.arms])]
        if every.empty:
            return {}
        every = every[every["cell"] == every["cell"].iloc[-1]]  # one run's rounds
        floors = self.setting.named("kept_aa_ratio", self.spec)
        found = {}
        for (name, px), rows in every.groupby(["variant", "test_px"], sort=False):
            fastest = rows.loc[[rows["value"].idxmin()]]
            again = floors[(floors["test_px"] == px) & (floors["cell"] == rows["cell"].iloc[0])]
            aa = ratio(again, "no A/A ratio")
            floor = aa_floor(Estimate(aa.value, aa.low, aa.high, aa.n, 0.95)) if aa.value is not None else None
            row = fastest.iloc[0]
            found[str(name), str(px)] = Time(ratio(fastest, ""), str(row["backend"]), floor, tuple(row["samples"]))
        return found

    @property
    def sizes(self) -> list[str]:
        """The resolutions that were timed, by growing side."""
        return sorted({px for _, px in self.times}, key=lambda px: (side(px), px))

    def grid(self, px: str) -> str:
        rows = self.setting.rows[self.setting.rows["test_px"] == px]
        return str(rows["grid"].iloc[0]) if len(rows) else px

    def number(self, metric: str, name: str, px: str) -> float | None:
        """The mean over seeds of an exact number, or of one seed's."""
        rows = self.setting.named(metric, name)
        rows = rows[rows["value"].notna() & (rows["test_px"] == px)]
        return float(rows["value"].mean()) if len(rows) else None

    def series(self) -> list[tuple[str, list[Arm]]]:
        """Named lines of the accuracy, each with its arms by growing share; what keeps all ends each of its form."""
        found = []
        for ones in (False, True):
            for by in sorted({one.by for one in self.arms if one.by}) or [""]:
                mine = [one for one in self.arms if one.ones == ones and one.by in (by, "") and one.name in self.top1]
                if mine:
                    words = ", ".join(filter(None, [f"by {by}" if by else "", "prior 1" if ones else "prior inside"]))
                    found.append((words, sorted(mine, key=lambda one: one.keep)))
        return found

    def sentences(self) -> list[tuple[str, str]]:
        """For each share of the offsets what is left of the accuracy; for each grid whether it pays in time."""
        found = []
        for keep in dict.fromkeys(one.keep for one in self.arms):
            parts = [self._sentence(one) for one in self.arms if one.keep == keep and one.name in self.top1]
            if parts:
                found.append((f"{tick(keep)}{HARD}% of the offsets", f"{'; '.join(parts)}."))
        for px in self.sizes:
            found.append((f"{self.grid(px)} grid", self._time_sentence(px)))
        return found

    def _sentence(self, one: Arm) -> str:
        left = self._change(self.top1[one.name][1])
        how = ", ".join(filter(None, [f"by {one.by}" if one.by else "", "prior 1" if one.ones else "prior inside"]))
        pairs = self.number("kept_pairs", one.name, self.setting.train_px)
        words = f"{how}"
        words += f" ({significant(pairs)}{HARD}% of the pairs)" if pairs is not None and one.keep < 100 else ""
        words += f" {left}" if left else f" {self.top1[one.name][0].value or 0.0:.2f}{HARD}%"
        tuned = self._change(self.tuned[one.name][1]) if one.name in self.tuned else ""
        return words + (f", fine-tuned {tuned}" if tuned else "")

    def _change(self, by_seed: dict[str, float]) -> str:
        """The mean paired difference to the trained model over the seeds of both, with its interval, in words."""
        found = paired_difference(by_seed, self.trained)
        if found is None:
            return ""
        one = found.estimate
        ends = f"{points(one.low)} to {points(one.high)}" if one.low is not None and one.high is not None else ""
        return f"{points(one.center)} points ({ends or 'no interval'}, {plural(one.n, 'seed')})"

    def _time_sentence(self, px: str) -> str:
        here = [(one, self.times[one.name, px]) for one in self.arms if (one.name, px) in self.times and one.keep < 100]
        control = next((self.times.get((one.name, px)) for one in self.arms if one.keep == 100 and one.ones), None)
        paying = [(one, time) for one, time in here if time.below(control if one.ones else None)]
        dropped = "" if control is None else (
            f" Dropping the prior without a mask gives {significant(control.ratio.value or 0.0)}.")  # fmt: skip
        if not here:
            return f"no mask was timed.{dropped}"
        if not paying:
            best = min(here, key=lambda pair: pair[1].ratio.value or 9.0)
            lowest = significant(best[1].ratio.value or 0.0)
            return f"no mask pays beyond what is resolved; the lowest ratio is {lowest}.{dropped}"
        best = min(paying, key=lambda pair: pair[1].ratio.value or 9.0)
        keeps = listing([f"{tick(keep)}{HARD}%" for keep in sorted({one.keep for one, _ in paying})])
        backends = listing(list(dict.fromkeys(time.backend for _, time in paying)))
        return (
            f"{plural(len(paying), 'mask')} of {len(here)} {'pays' if len(paying) == 1 else 'pay'}, with {keeps} of "
            f"the offsets ({backends}); the lowest ratio is {significant(best[1].ratio.value or 0)}.{dropped}"
        )


def seeds(rows: pd.DataFrame, px: str) -> dict[str, float]:
    """The values at the training resolution by seed, the newest of each."""
    rows = rows[rows["value"].notna() & rows["test_px"].isin([px, ""])]
    return dict(zip(rows["seed"], rows["value"].astype(float), strict=True))


def draw(curves: Curves, name: str) -> Drawing:
    """Accuracy against the share of offsets; beside it the time ratios, where there are any."""
    title = TITLE.format(curves.spec)
    panels = [_accuracy(curves, f"{name}-top1", title)]
    if curves.times:
        panels.append(_time(curves, f"{name}-time", title))
    return Drawing(name, "\n".join(panels), title, caption(curves), HEADER, table(curves), [], len(panels))


def _look(order: int) -> Look:
    hue = HUES[order % len(HUES)]
    return Look(hue, THEME[hue][0], MARKERS[order % len(MARKERS)])


def _accuracy(curves: Curves, name: str, title: str) -> str:
    series = curves.series()
    look = {words: _look(order) for order, (words, _) in enumerate(series)}
    with svg.style():
        figure, ax = _figure()
        lasts = []
        for order, (words, arms) in enumerate(series):
            shift = 1 + 0.012 * (order - (len(series) - 1) / 2)
            tuned = [one for one in arms if one.name in curves.tuned]
            _line(ax, tuned, curves.tuned, look[words], shift, hollow=True)
            _line(ax, arms, curves.top1, look[words], shift, hollow=False)
            lasts.append((words, 100 * shift, curves.top1[arms[-1].name][0].value or 0.0))
        if curves.plain.value is not None:
            ax.axhline(curves.plain.value, color=FAINT, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=0)
        _finish(ax, curves, "top-1 accuracy, %")
        ends.name(ax, lasts, look)
        return svg.inline(figure, name, f"{title}: accuracy")


def _line(ax: Axes, arms: Sequence[Arm], values: dict[str, tuple[Quantity, dict[str, float]]], look: Look,
          shift: float, hollow: bool) -> None:  # fmt: skip
    xs, each = [one.keep * shift for one in arms], [values[one.name][0] for one in arms]
    mark: dict[str, Any] = {"markerfacecolor": PAPER if hollow else look.color}
    mark["markeredgecolor"] = look.color if hollow else PAPER
    for x, one in zip(xs, each, strict=True):
        if one.low is not None and one.high is not None:
            ax.plot([x, x], [one.low, one.high], color=look.color, linewidth=1.1, alpha=0.5, zorder=2)
    ax.plot(xs, [one.value or 0.0 for one in each], color=look.color, linewidth=1.5, marker=look.marker, markersize=5.5,
            markeredgewidth=0.9, linestyle=(0, (4, 2.5)) if hollow else "-", zorder=3, **mark)  # fmt: skip


def _time(curves: Curves, name: str, title: str) -> str:
    """A line for each grid and each form, the faster way to choose; with the prior inside all kept is as trained."""
    look: dict[str, Look] = {}
    with svg.style():
        figure, ax = _figure()
        lasts = []
        for order, px in enumerate(curves.sizes):
            word = curves.grid(px)
            look[word] = _look(order)
            for ones in (False, True):
                best: dict[float, Quantity] = {} if ones else {100.0: Quantity(1.0)}
                for one in curves.arms:
                    time = curves.times.get((one.name, px))
                    if time is not None and one.ones == ones and time.ratio.value is not None:
                        before = best.get(one.keep)
                        if before is None or time.ratio.value < (before.value or 9.0):
                            best[one.keep] = time.ratio
                xs = sorted(best)
                ys = [best[x].value or 0.0 for x in xs]
                for x in xs:
                    low, high = best[x].low, best[x].high
                    if low is not None and high is not None:
                        ax.plot([x, x], [low, high], color=look[word].color, linewidth=1.1, alpha=0.5, zorder=2)
                ax.plot(xs, ys, color=look[word].color, linewidth=1.5, marker=look[word].marker, markersize=5,
                        markeredgecolor=PAPER, markeredgewidth=0.8, zorder=3,
                        linestyle=(0, (4, 2.5)) if ones else "-")  # fmt: skip
                if ones and xs:
                    lasts.append((word, xs[-1], ys[-1]))
        ax.axhline(1.0, color=FAINT, linewidth=1.0, zorder=1)
        _finish(ax, curves, "time / time of the trained layers")
        ends.name(ax, lasts, look)
        return svg.inline(figure, name, f"{title}: time")


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE)
    ax = figure.add_axes((0.12, 0.14, 0.55, 0.83))
    ax.set_xscale("log")
    return figure, ax


def _finish(ax: Axes, curves: Curves, y: str) -> None:
    ax.margins(x=0.06, y=0.08)
    axes(ax, "offsets kept, % (log scale)", y)
    keeps = sorted({one.keep for one in curves.arms})
    ax.set_xticks(keeps, [tick(keep) for keep in keeps])
    ax.minorticks_off()
    ax.autoscale_view()


def caption(curves: Curves) -> str:
    tuned = ""
    if curves.tuned:
        tuned = (
            f" Dashed, hollow: after {curves.epochs} epochs of fine-tuning, the rate chosen on the validation split; "
            "what keeps all was fine-tuned as well, for comparison."
        )
    timed = ""
    if curves.times:
        timed = (
            " Right: below 1 is faster. Time of the layers with the prior, masked, by the fastest backend, over that "
            "of the same layers as trained, on the masks of the first seed, in interleaved rounds; the fastest is read "
            "off the same rounds. Solid: prior inside, dashed: prior 1, whose 100 % shows what dropping the prior "
            "saves without any mask. Vertical lines: 95 % bootstrap intervals, each for itself."
        )
    return (
        "Further up is more accurate. The trained prior, thresholded for each head and layer: only so many of the "
        "offsets are attended. prior inside: the learned values act on what is left; prior 1: a mask alone. by "
        "deviation: the offsets with the largest |prior - 1|; by mass: those with the most attention. Dotted line: as "
        f"trained. Vertical lines: 95 % t intervals over seeds, from three seeds on.{tuned}{timed}"
    )


def table(curves: Curves) -> list[list[object]]:
    """A line for each arm and resolution."""
    train = curves.setting.train_px
    found: list[list[object]] = []
    for one in curves.arms:
        for px in dict.fromkeys([train, *curves.sizes]):
            line: list[object] = [one.name, one.keep, one.by, one.inside, px, curves.number("kept_pairs", one.name, px)]
            for values in (curves.top1, curves.tuned):
                quantity, by_seed = values.get(one.name, (Quantity(), {})) if px == train else (Quantity(), {})
                each = " ".join(f"{seed}:{value!r}" for seed, value in by_seed.items())
                line += [quantity.value, quantity.low, quantity.high, each]
            line += [curves.number(m, one.name, px) for m in ("kept_dense_gmac", "kept_gmac", "kept_executed_gmac")]
            time = curves.times.get((one.name, px))
            line += [None] * 4 if time is None else [time.ratio.value, time.ratio.low, time.ratio.high, time.backend]
            found.append(line)
    return found
