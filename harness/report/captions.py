"""Captions: what to see in a figure, and how it was measured."""

from __future__ import annotations

from harness.report import overtaking as overtake
from harness.report.condition import Condition
from harness.report.study import Setting
from harness.report.summary import Summary
from harness.report.transfer import Curve, dots
from harness.report.words import grouped, plural
from harness.stats import FEWEST_SEEDS

MARKS = "Large marks are means over seeds, faint dots single seeds"
FRONT = "The dashed line is the Pareto front of the means; where intervals overlap, the order along it is not settled."


def throughput(found: list[Summary], condition: Condition | None) -> str:
    where = condition.words() if condition else ""
    rounds = max((s.inference.images_per_s.n for s in found if s.inference.images_per_s.low is not None), default=0)
    horizontal = (
        f"; horizontal lines: 95 % bootstrap interval of the median over {rounds} interleaved rounds" if rounds else ""
    )
    measured = f" Throughput measured on {where}." if where else ""
    return (
        f"Further up is more accurate, further right is faster. {MARKS}{_vertical(found)}{horizontal}. {FRONT}"
        f"{measured}{_images(found)}"
    )


def macs(found: list[Summary]) -> str:
    return (
        f"Further up is more accurate, further left is cheaper. {MARKS}{_vertical(found)}. {FRONT} GMACs are counted "
        f"on one image's forward pass; they are not time.{_images(found)}"
    )


def transfer(setting: Setting, curves: list[Curve]) -> str:
    trained = (
        f" Trained at {setting.train_px} px only (dotted line);" if setting.train_px else " Trained at one resolution;"
    )
    drawn = any(point.top1.low is not None for curve in curves for point in curve.points)
    vertical = ", vertical lines 95 % t intervals, set apart sideways to be told apart" if drawn else _none_drawn()
    single = ", faint dots single seeds" if dots(curves) else ", single seeds are too many to be drawn"
    return (
        f"A flat line transfers, a falling one does not.{trained} at the other resolutions the same weights are tested "
        f"as they are: zero-shot, without fine-tuning. Marks are means over seeds{single}{vertical}."
    )


def overtaking(found: list[overtake.Curve], baseline: str) -> str:
    rounds = sorted({point.speed.images_per_s.n for curve in found for point in curve.points} - {0})
    over = f" over {' to '.join(dict.fromkeys(str(n) for n in (rounds[0], rounds[-1])))} rounds" if rounds else ""
    batches = list(dict.fromkeys(point.condition.batch for curve in found for point in curve.points))
    batch = f" Batch {' and '.join(batches)}." if all(batches) and batches else ""
    return (
        f"Below 1 is faster than {baseline}. The band is what {baseline} differs from itself at that resolution, the "
        f"A/A floor; hollow marks are not resolved. Vertical lines: 95 % bootstrap intervals of the median{over}, set "
        f"apart sideways.{batch}"
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
