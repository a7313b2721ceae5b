"""Captions: what to see in a figure, and how it was measured."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.analysis import crossover as overtake
from harness.report.analysis.ablation import Factor
from harness.report.analysis.learning import Learning, device
from harness.report.analysis.low_data import Group
from harness.report.analysis.summary import Summary
from harness.report.analysis.timing import Condition, Times
from harness.report.figures.convergence import floor, lines
from harness.report.figures.tradeoff import GMAC, THROUGHPUT, axes_of
from harness.report.figures.transfer import Curve, dots, finetune_epochs
from harness.report.study.study import Setting
from harness.report.text.formatting import grouped, plural, tick
from harness.results.stats import FEWEST_SEEDS

MARKS = "Large marks are means over seeds, faint dots single seeds"
FRONT = (
    "The dashed line is each panel's Pareto front of the means; where intervals overlap, the order along it is not "
    "settled."
)


def tradeoff(found: list[Summary], condition: Condition | None) -> str:
    costs = axes_of(found)
    timed = THROUGHPUT in costs
    cheap = "further left is cheaper"
    better = cheap if not timed else "further right is faster" if len(costs) == 1 else (
        f"further right is faster in images/s, {cheap} in GMACs and parameters")  # fmt: skip
    rounds = max((s.inference.images_per_s.n for s in found if s.inference.images_per_s.low is not None), default=0)
    horizontal = (
        f"; horizontal lines: 95 % bootstrap interval of the median over {rounds} interleaved rounds"
        if rounds and timed else ""
    )  # fmt: skip
    measured = f" Throughput measured on {condition.words()}." if timed and condition and condition.words() else ""
    counted = " GMACs are counted on one image's forward pass; they are not time." if GMAC in costs else ""
    return (
        f"Further up is more accurate, {better}. {MARKS}{_vertical(found)}{horizontal}. {FRONT}"
        f"{measured}{counted}{_images(found)}"
    )


def transfer(setting: Setting, curves: list[Curve], times: Times | None) -> str:
    trained = (
        f" Trained at {setting.train_px} px only (dotted line);" if setting.train_px else " Trained at one resolution;"
    )
    drawn = any(point.top1.low is not None for curve in curves for point in curve.points + curve.finetuned)
    vertical = ", vertical lines 95 % t intervals, set apart sideways to be told apart" if drawn else _none_drawn()
    single = ", faint dots single seeds" if dots(curves) else ", single seeds are too many to be drawn"
    zero = "at the other resolutions the same weights are tested as they are: zero-shot, without fine-tuning."
    epochs = finetune_epochs(setting)
    if any(curve.finetuned for curve in curves):
        zero = (
            "solid lines test the same weights as they are at the other resolutions: zero-shot. Dashed lines and "
            f"hollow marks: after fine-tuning at that resolution{f' for {_epochs(epochs)}' if epochs else ''}."
        )
    marks = f"Marks are means over seeds{single}{vertical}."
    return f"A flat line transfers, a falling one does not.{trained} {zero} {marks}{_times(times)}"


def _times(times: Times | None) -> str:
    if times is None or not times.by_variant:
        return ""
    of = f"in a batch of {times.batch}" if times.batch not in ("", "1") else "alone"
    on = f" on {times.where}" if times.where else ""
    every = [ms for by_px in times.by_variant.values() for ms in by_px.values()]
    drawn = (
        "; vertical lines: 95 % bootstrap intervals of the median" if any(ms.low is not None for ms in every) else ""
    )
    return f" Below: the time of an image {of} at inference{on}{drawn}."


def convergence(setting: Setting, found: list[Learning], by: str) -> str:
    every = [point for one in found for point in (one.by_epoch if by == "epoch" else one.by_second)]
    if not every:
        return ""
    means = "Lines are means over seeds" + (", faint lines single seeds" if lines(found) else "")
    drawn = any(point.top1.low is not None for point in every)
    vertical = "; vertical lines: 95 % t intervals, at a few epochs" if drawn else _none_drawn()
    counts = set(setting.named("val_top1")["n"].dropna())
    split = f" on {grouped(counts.pop(), 0)} images of the validation split" if len(counts) == 1 else (
        " on the validation split")  # fmt: skip
    cut = floor(found)
    below = any(point.top1.center < cut for point in every)
    axis = f" The axis begins at {tick(cut)} %; the first epochs below it are in the CSV." if below else ""
    if by == "epoch":
        return f"Further left is learned in fewer epochs. Accuracy{split}. {means}{vertical}.{axis}"
    where = device(setting)
    return (
        f"Further left is learned in less time. The same accuracies against the seconds that training alone took till "
        f"then{f' on {where}' if where else ''}, validation not counted; means over seeds. Trainings are not timed in "
        f"interleaved rounds: small differences of time are noise, the table's ratios are not.{axis}"
    )


def reached(setting: Setting, targets: list[float]) -> str:
    asked = "" if setting.reach else (
        f" The targets are the two largest multiples of 5 % that the mean of {setting.baseline} ends at or above."
        if len(targets) > 1
        else f" The target is the largest multiple of 5 % that the mean of {setting.baseline} ends at or above."
    )  # fmt: skip
    return (
        "The first validated epoch at which the accuracy on the validation split is at the target or above, and the "
        "seconds of training till its end: means over the seeds that reach it. In brackets: 95 % t intervals, where "
        f"all seeds do.{asked}"
    )


def ablation(factors: Sequence[Factor], baseline: str) -> str:
    every = [arm for factor in factors for arm in factor.arms]
    drawn = any(arm.summary.difference and arm.summary.difference.estimate.low is not None for arm in every)
    lines = "; lines: simultaneous 95 % intervals over all variants of a table, some wider than the figure"
    lines = lines if drawn else _none_drawn()
    return (
        f"Right of 0 is more accurate than {baseline}. Large marks are the mean over paired seeds of the difference to "
        f"{baseline}, faint dots single seeds{lines}. Hollow marks are not resolved. Two arms whose intervals overlap "
        "are not told apart here."
    )


def low_data(group: Group) -> str:
    found = [s for member in group.members for s in member.found]
    dots = ", faint dots single seeds" if any(s.seeds for s in found) else ""
    drawn = any(s.top1.low is not None for s in found)
    vertical = ", vertical lines 95 % t intervals, set apart sideways" if drawn else _none_drawn()
    return (
        f"A line that falls less to the left needs fewer images. Each share is a part of the larger ones, every class "
        f"cut alike, and all are trained for the same number of updates. Marks are means over seeds{dots}{vertical}."
        f"{_images(found)}"
    )


def low_data_difference(group: Group) -> str:
    drawn = any(s.difference and s.difference.estimate.low is not None for m in group.members for s in m.found)
    vertical = "; vertical lines: simultaneous 95 % intervals over the variants of a share" if drawn else _none_drawn()
    return (
        f"Above 0 is more accurate than {group.baseline} with the same images. Mean over seeds that both trained "
        f"with, of the difference seed by seed{vertical}. Hollow marks are not resolved."
    )


def _epochs(number: str) -> str:
    return f"{number} epoch{'' if number == '1' else 's'}"


def overtaking(found: list[overtake.Curve], baseline: str) -> str:
    rounds = sorted({point.speed.images_per_s.n for curve in found for point in curve.points} - {0})
    over = f" over {' to '.join(dict.fromkeys(str(n) for n in (rounds[0], rounds[-1])))} rounds" if rounds else ""
    batches = list(dict.fromkeys(point.condition.batch for curve in found for point in curve.points))
    batch = f" Batch {' and '.join(batches)}." if all(batches) and batches else ""
    measured = any(point.speed.peak_mib.value is not None for curve in found for point in curve.points)
    peaks = f" Peak memory is one number a run, relative to {baseline}'s; below 1 takes less." if measured else ""
    return (
        f"Below 1 is faster than {baseline}. The band is what {baseline} differs from itself at that resolution, the "
        f"A/A floor; hollow marks are not resolved. Vertical lines: 95 % bootstrap intervals of the median{over}, set "
        f"apart sideways.{batch}{peaks}"
    )


def _vertical(found: list[Summary]) -> str:
    drawn = any(s.top1.low is not None for s in found)
    return "; vertical lines: 95 % t interval of the mean" if drawn else _none_drawn()


def _none_drawn() -> str:
    return f"; no intervals of accuracy, since none is formed below {FEWEST_SEEDS} seeds or without spread"


def _images(found: list[Summary]) -> str:
    images = {s.images for s in found if s.images}
    if len(images) != 1:
        return ""
    number = images.pop()
    return f" Accuracy on {grouped(number, 0)} test {'image' if number == 1 else 'images'}."


def seeds_words(found: list[Summary]) -> str:
    """Which seeds took part."""
    every = list(dict.fromkeys(seed for s in found for seed in s.seeds if seed))
    if not every:
        return ""
    return f"{plural(len(every), 'seed')} ({', '.join(every)})" if len(every) <= 12 else plural(len(every), "seed")
