"""The numbers of binarised priors: accuracies, pairs and times of each arm, and the sentences that say what is left.

From the rows of python -m harness.binarize, whose params say how a prior was made binary. Accuracies are means over
seeds; times are those of the fastest backend that was tried, over the same layers as trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness.report.analysis.quantity import Quantity, mean, timed
from harness.report.study.rows import side
from harness.report.study.study import Setting
from harness.report.text.formatting import HARD, listing, plural, points, significant, tick
from harness.report.text.sentences import mask
from harness.results.metrics import PERCENT, of_group
from harness.results.stats import aa_floor, median_interval, paired_difference, ratio_resolved

HEADER = [
    "arm", "kept_offsets", "by", "prior", "test_px", "attended_pairs", "top1_mean", "top1_low", "top1_high",
    "top1_by_seed", "finetuned_mean", "finetuned_low", "finetuned_high", "finetuned_by_seed", "dense_gmac",
    "attended_gmac", "gathered_gmac", "time_ratio", "time_ratio_low", "time_ratio_high", "backend",
]  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """One way to make a prior binary: `keep` in % of the offsets; `by` is "" where all are kept. `name`: its rows'."""

    name: str
    spec: str
    keep: float
    by: str
    ones: bool

    @property
    def inside(self) -> str:
        return "1" if self.ones else "its values"

    @property
    def words(self) -> str:
        return mask({"by": self.by, "ones": self.ones})


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


def arms(setting: Setting) -> dict[str, list[Arm]]:
    """By the variant whose prior was made binary its arms: what keeps most first."""
    rows = setting.rows[setting.rows["metric"].isin([metric.name for metric in of_group("binarized")])]
    found: dict[str, dict[str, Arm]] = {}
    for name, params in zip(rows["variant"], rows["params"], strict=True):
        if params.keys() >= {"spec", "keep", "by", "ones"} and isinstance(params["keep"], int | float):
            one = Arm(name, params["spec"], float(params["keep"]), params["by"], params["ones"])
            found.setdefault(one.spec, {})[name] = one
    return {spec: sorted(each.values(), key=lambda a: (-a.keep, a.by, a.ones)) for spec, each in found.items()}


class Curves:
    """The numbers of one variant's arms: accuracies by arm's name, times by (arm's name, resolution)."""

    def __init__(self, setting: Setting, spec: str, arms: Sequence[Arm]):
        self.setting, self.spec, self.arms = setting, spec, list(arms)
        self.trained = setting.by_seed("top1", spec)
        self.plain = mean(list(self.trained.values()), "not trained", within=PERCENT)
        tuned = setting.named("kept_finetuned_top1")["epoch"]
        self.epochs = str(tuned.iloc[-1]) if len(tuned) else ""  # those of other lengths are not mixed with it
        self.top1 = self._accuracy("kept_top1")
        self.tuned = self._accuracy("kept_finetuned_top1", self.epochs)
        self.times = self._times()

    def _accuracy(self, metric: str, epoch: str | None = None) -> dict[str, tuple[Quantity, dict[str, float]]]:
        each = {one.name: self.setting.by_seed(metric, one.name, epoch=epoch) for one in self.arms}
        return {
            name: (mean(list(by_seed.values()), "", within=PERCENT), by_seed)
            for name, by_seed in each.items()
            if by_seed
        }

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
        floors, found = self.setting.named("kept_aa_ratio", self.spec), {}
        for (name, px), rows in self._ratios().groupby(["variant", "test_px"], sort=False):
            fastest = rows.loc[[rows["value"].idxmin()]]
            again = floors[(floors["test_px"] == px) & (floors["cell"] == rows["cell"].iloc[0])]
            aa = timed(again, "no A/A ratio").estimate
            row = fastest.iloc[0]
            found[str(name), str(px)] = Time(
                timed(fastest, ""), row["backend"], None if aa is None else aa_floor(aa), tuple(row["samples"])
            )
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
                    found.append((mask({"by": by, "ones": ones}), sorted(mine, key=lambda one: one.keep)))
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
        mean, by_seed = self.top1[one.name]
        pairs = self.number("kept_pairs", one.name, self.setting.train_px)
        of_pairs = f" ({significant(pairs)}{HARD}% of the pairs)" if pairs is not None and one.keep < 100 else ""
        left = self._change(by_seed) or f"{mean.value or 0.0:.2f}{HARD}%"
        tuned = self._change(self.tuned[one.name][1]) if one.name in self.tuned else ""
        return f"{one.words}{of_pairs} {left}{f', fine-tuned {tuned}' if tuned else ''}"

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
        lowest = significant(min(time.ratio.value or 9.0 for _, time in paying or here))
        if not paying:
            return f"no mask pays beyond what is resolved; the lowest ratio is {lowest}.{dropped}"
        keeps = listing([f"{tick(keep)}{HARD}%" for keep in sorted({one.keep for one, _ in paying})])
        backends = listing(list(dict.fromkeys(time.backend for _, time in paying)))
        return (
            f"{plural(len(paying), 'mask')} of {len(here)} {'pays' if len(paying) == 1 else 'pay'}, with {keeps} of "
            f"the offsets ({backends}); the lowest ratio is {lowest}.{dropped}"
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
