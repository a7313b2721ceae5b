"""What every metric is: unit, group, which way is better, how it is written, which column it has; all others read it.

To add a measurement, add its line to METRICS; a group of its own that is told in `GROUPS` has its table on the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

UP, DOWN = "up", "down"
PERCENT = (0.0, 100.0)  # the ends of a share of whole images, and of a gap between two shares
WORKS = {"": "inference", "train_": "training", "latency_": "latency"}  # what is timed: prefix of its metrics, group


@dataclass(frozen=True)
class Heading:
    """The heading of a metric's column: `over` heads several columns; "{baseline}" stands for the baseline's name.

    printed: whether the column is among those that LaTeX and Markdown have. judged: whether its numbers are resolved
    from the baseline's, or not.
    """

    over: str
    title: str
    unit: str = ""
    printed: bool = False
    judged: bool = False


@dataclass(frozen=True)
class Metric:
    """A metric as rows name it.

    unit: of the rows' values. group: what a failed measurement of it explains, a part of the page. kind: of the cells
    that yield it. about: what the number is, for a tooltip. better: UP, DOWN, or "" where neither is. trained: it is of
    trained weights. timed: it is comparable within one run's rounds alone. shares: it is the percentage of whole
    images. digits: decimals, None for three significant digits. apart: the params that tell two numbers of the same
    metric apart. heading: its column, None where it has none.
    """

    name: str
    unit: str
    group: str
    kind: str
    about: str
    better: str = ""
    trained: bool = False
    timed: bool = False
    shares: bool = False
    digits: int | None = None
    apart: tuple[str, ...] = ()
    heading: Heading | None = None

    @property
    def within(self) -> tuple[float, float]:
        """What a mean of it can be: every metric in % is a share, or a gap between two."""
        return PERCENT if self.unit == "%" else (-math.inf, math.inf)


@dataclass(frozen=True)
class Group:
    """A group of metrics that has a table of means over seeds on the page.

    how: the text over the table; "{images}" stands for " of 360 test images". paired: whether each mean is followed by
    its paired difference to the baseline.
    """

    title: str
    how: str
    paired: bool = True


PAIRS = (
    " In brackets: 95 % t intervals over seeds. Differences are means over paired seeds; their intervals hold together "
    "for all variants of a column."
)
GROUPS: Mapping[str, Group] = {
    "shift": Group(
        "Shift consistency",
        "Higher is steadier. The share of predictions{images} that stay the same when the image moves by a pixel or by "
        "a patch, over the four directions; the border is repeated. In brackets: 95 % t intervals over seeds.",
        paired=False,
    ),
    "calibration": Group(
        "Calibration",
        f"Lower is better. How well the probabilities{{images}} say how often a model is right.{PAIRS}",
    ),
    "symmetry": Group(
        "What symmetry allows",
        "The highest top-1 that a variant can have on this task, with any weights: pictures that it cannot tell apart "
        "have one answer, so this is the share of their most frequent label. Computed from the model alone; training "
        "need not get there.",
        paired=False,
    ),
    "corruption": Group(
        "Accuracy on corrupted images",
        f"Higher is more robust. Top-1 of the same weights{{images}}, corrupted after training.{PAIRS}",
    ),
}


# What most metrics of trained weights are: a percentage of whole images, of which more is better.
_percent = partial(Metric, unit="%", group="accuracy", kind="training", better=UP, trained=True, shares=True, digits=2)
_latency = partial(Metric, group="latency", kind="speed", timed=True)
_training = partial(Metric, group="accuracy", kind="training", better=DOWN, trained=True)
_calibration = partial(Metric, group="calibration", kind="calibration", better=DOWN, trained=True, digits=3)
_saliency = partial(Metric, group="saliency", kind="saliency", trained=True)
_binarized = partial(Metric, group="binarized", kind="binarized", better=DOWN)
_times = partial(_binarized, kind="binarized-times")
_map = partial(Metric, group="maps", kind="maps", trained=True, digits=2)

STAY, AREA, COVERED = "Predictions that stay", "Probability of the chosen class", "On the object"
TIMES = "\N{MULTIPLICATION SIGN} {baseline}"


def _speed(prefix: str, group: str, over: str, batch: str, step: str = "") -> list[Metric]:
    """The metrics of what is timed in batches: inference, or a `step` of training, whose columns are not printed."""
    metric = partial(Metric, group=group, kind="speed", timed=True)
    paper = not step
    return [
        metric(f"{prefix}images_per_s", "1/s", about=step or "batch size over the median time of an iteration; MFU",
               better=UP, heading=Heading(over, "Images/s", printed=paper)),
        metric(f"{prefix}ratio", "1", about=step or "median over interleaved rounds of time over the baseline's",
               better=DOWN, digits=2, heading=Heading(over, "Time", TIMES, printed=True, judged=True)),
        metric(f"{prefix}peak_mib", "MiB", about=f"peak memory of a {batch}", better=DOWN,
               heading=Heading(over, "Peak", "MiB", printed=paper)),
        metric(f"{prefix}aa_ratio", "1", about="time of a second copy of the baseline over the baseline's"),
        metric(f"{prefix}mfu", "1", about="share of a matmul's rate that the model's multiply-adds reach", better=UP),
        metric(f"{prefix}ceiling_gmac_per_s", "GMAC/s", about="rate of a matmul in the same rounds"),
        Metric(f"{prefix}parity", "1", group, "speed", "largest relative difference from the plain formula", DOWN),
    ]  # fmt: skip


def _maps(kind: str, unit: str) -> list[Metric]:
    """What the maps over offsets of a kind say, layer by layer."""
    return [
        _map(f"{kind}_min", unit, about="the least value of all heads"),
        _map(f"{kind}_max", unit, about="the largest value of all heads"),
        _map(f"{kind}_radius", "patch", about="root mean square distance"),
        _map(f"{kind}_anisotropy", "1", about="0 is round, 1 is a line"),
        _map(f"{kind}_complementarity", "1",
             about="mean correlation of the pairs of heads; lower is more complementary"),
        _map(f"{kind}_complementarity_chance", "1",
             about="heads turned over and rolled at random; samples: ends of 95 % of the draws"),
    ]  # fmt: skip


METRICS: Mapping[str, Metric] = {metric.name: metric for metric in [
    Metric("params", "1", "size", "cost", "trainable parameters", DOWN,
           heading=Heading("Model", "Params", printed=True)),
    Metric("gmac", "GMAC", "size", "cost", "multiply-adds of the forward pass at the training resolution", DOWN,
           heading=Heading("Model", "GMACs", "per image", printed=True)),
    Metric("attended_gmac", "GMAC", "size", "costs", "multiply-adds where the attended pairs alone count", DOWN),
    Metric("undecayed", "1", "size", "cost", "parameters of the attention that are spared the weight decay"),
    *_speed("", "inference", "Inference", "batch"),
    _latency("latency_ms", "ms", about="median time of a single image", better=DOWN,
             heading=Heading("Inference", "Latency", "ms")),
    _latency("latency_ratio", "1", about="time of a single image over the baseline's", better=DOWN, digits=2),
    _latency("latency_aa_ratio", "1", about="time of a second copy of the baseline over the baseline's"),
    *_speed("train_", "training", "Training", "training batch",
            "as for inference, of a step: forward, backward and update"),
    _training("loss", "nat", about="mean training loss of an epoch"),
    _training("train_s", "s", about="seconds of training since its start"),
    _percent("val_top1", about="of the validation split"),
    Metric("tuned_lr", "1", "tuning", "tuning", "the learning rate that the variant is trained with"),
    _percent("tuning_top1", group="tuning", kind="tuning", shares=False, trained=False,
             about="of the validation split, after a training at one of the learning rates", apart=("lr",)),
    Metric("tuning_s", "s", "tuning", "tuning", "seconds of that training", apart=("lr",)),
    _percent("top1", about="of the test split, over seeds, with its 95 % t interval",
             heading=Heading("Top-1 accuracy", "Mean", "%", printed=True)),
    _percent("top5", about="of the test split: the right class is among the five most probable"),
    _percent("finetuned_top1", group="finetuning", kind="fine-tuning",
             about="of the test split, after fine-tuning at its resolution"),
    _percent("shift_px_consistency", group="shift", kind="shift", shares=False,
             about="mean over seeds, over the four directions", heading=Heading(STAY, "By a pixel", "%")),
    _percent("shift_patch_consistency", group="shift", kind="shift", shares=False,
             about="mean over seeds, over the four directions", heading=Heading(STAY, "By a patch", "%")),
    _calibration("nll", "nat", about="mean negative log-likelihood of the labels",
                 heading=Heading("Negative log-likelihood", "Mean", "nats")),
    _calibration("brier", "1", about="mean squared distance of the probabilities from the labels",
                 heading=Heading("Brier score", "Mean")),
    _calibration("ece", "%", about="mean gap between confidence and accuracy, over bins of confidence", digits=2,
                 heading=Heading("Expected calibration error", "Mean", "%")),
    _percent("symmetry_top1", group="symmetry", kind="symmetry", shares=False, about="the highest that it can be",
             heading=Heading("Top-1", "At most", "%")),
    _percent("corrupted_top1", group="corruption", kind="corruption", apart=("corruption", "severity"),
             about="of the corrupted test split, mean over seeds", heading=Heading("Top-1", "Mean", "%")),
    _saliency("deletion", "1", better=DOWN, digits=3, heading=Heading(AREA, "Deletion"),
              about="area under the probability while patches go, the most relevant first; low is good"),
    _saliency("insertion", "1", better=UP, digits=3, heading=Heading(AREA, "Insertion"),
              about="the same while patches come, the most relevant first; high is good"),
    _saliency("random_deletion", "1", digits=3, heading=Heading(AREA, "Random order"),
              about="the same while patches go in random orders; their insertion has the same expectation"),
    _saliency("coverage", "%", better=UP, digits=1, heading=Heading(COVERED, "Coverage", "%"),
              about="share of the relevance that lies on the object"),
    _saliency("object_area", "%", digits=1, heading=Heading(COVERED, "Object", "%"),
              about="share of the image that the object takes: coverage by chance"),
    _map("attention_distance", "1", about="mean distance of attention over that of uniform attention"),
    _map("attention_entropy", "1", about="mean entropy of attention over that of uniform attention"),
    _map("attention_prefix", "1", about="share of attention that patches give to prefix tokens"),
    _map("gate", "1", about="share of the position's softmax in a head's attention"),
    *_maps("attention", "1"), *_maps("prior", "1"), *_maps("kept", "1"),
    *_maps("bias", "nat"), *_maps("position", "nat"), *_maps("keys", "nat"),
    _percent("kept_top1", group="binarized", kind="binarized", about="of the test split, a mask in the prior's place"),
    _percent("kept_finetuned_top1", group="binarized", kind="binarized", about="the same after fine-tuning"),
    _binarized("kept_pairs", "%", about="pairs that are attended, mean over heads and layers"),
    _binarized("kept_dense_gmac", "GMAC", about="multiply-adds of all pairs, as eager computes them"),
    _binarized("kept_gmac", "GMAC", about="multiply-adds of the attended pairs alone"),
    _times("kept_executed_gmac", "GMAC", about="multiply-adds of the pairs that gathering computes"),
    _times("kept_ratio", "1", about="time of the masked layers over that of the trained ones", timed=True, digits=2),
    _times("kept_aa_ratio", "1", about="time of a second copy of the trained layers over theirs", better="",
           timed=True),
    _times("kept_plain_ms", "ms", about="time of the layers as trained"),
]}  # fmt: skip
TRAINED = frozenset(metric.name for metric in METRICS.values() if metric.trained)
TIMED = frozenset(metric.name for metric in METRICS.values() if metric.timed)
SHARES = frozenset(metric.name for metric in METRICS.values() if metric.shares)
APART = {metric.name: metric.apart for metric in METRICS.values() if metric.apart}
TRAINING = ("training", "fine-tuning", "binarized")  # the kinds of cells that train, and test what they trained
# The kinds that read what a training left, each by the module of that name in harness/measure.
MEASUREMENTS = tuple(
    dict.fromkeys(metric.kind for metric in METRICS.values() if metric.trained and metric.kind not in TRAINING)
)


def of_group(group: str) -> tuple[Metric, ...]:
    """The metrics of a group, in their order."""
    return tuple(metric for metric in METRICS.values() if metric.group == group)


def of_kind(kind: str) -> tuple[str, ...]:
    """The names of the metrics that a kind of cell yields, the one that stands for all first."""
    return tuple(metric.name for metric in METRICS.values() if metric.kind == kind)


def unit_of(name: str) -> str:
    """The unit of a metric. Raises ValueError for one that is not in METRICS."""
    if name not in METRICS:
        raise ValueError(f"there is no metric {name!r}; add its line to METRICS in harness/results/metrics.py")
    return METRICS[name].unit


def follows_training(group: str) -> bool:
    """Whether all metrics of a group are measured on trained weights after the training, which explains their gaps."""
    return group != "accuracy" and bool(members := of_group(group)) and all(metric.trained for metric in members)
