"""The numbers of binarised priors: accuracies, pairs and times of each arm, and the sentences that say what is left.

From the rows of python -m harness.binarize, whose variants are named "sp_sa kept 25 % by mass, prior 1". Accuracies are
means over seeds; times are those of the fastest backend that was tried, over the same layers as trained.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness.report.analysis.quantity import Quantity, mean, ratio
from harness.report.study.rows import side
from harness.report.study.study import Setting
from harness.report.text.formatting import HARD, listing, plural, points, significant, tick
from harness.results.stats import Estimate, aa_floor, median_interval, paired_difference, ratio_resolved

NAME = re.compile(r"(.+) kept ([0-9.e-]+) %(?: by (deviation|mass))?(, prior 1)?")
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


def arm(name: str) -> Arm | None:
    """The arm of a row's variant; None for any other name."""
    match = NAME.fullmatch(name)
    return None if match is None else Arm(name, match[1], float(match[2]), match[3] or "", match[4] is not None)


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

    def _ratios(self) -> pd.DataFrame:
        """The time ratios of one run's rounds, of every backend."""
        every = self.setting.named("kept_ratio")
        every = every[every["value"].notna() & every["variant"].isin([one.name for one in self.arms])]
        return every if every.empty else every[every["cell"] == every["cell"].iloc[-1]]

    @property
    def tried(self) -> list[str]:
        """The backends that were timed."""
        return sorted(set(self._ratios()["backend"]))

    def _times(self) -> dict[tuple[str, str], Time]:
        every = self._ratios()
        if every.empty:
            return {}
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
