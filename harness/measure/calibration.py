"""Calibration: whether the probabilities of a trained model may be believed; it reads what the training kept.

    nll = -mean log p_y        brier = mean sum_c (p_c - [c = y])^2        ece = sum_b |B_b| / n |acc(B_b) - conf(B_b)|

nll and Brier score are proper: the true probabilities, and no others, minimise them (Brier, Verification of forecasts,
1950; Gneiting and Raftery, Strictly proper scoring rules, 2007). ece is the expected calibration error of the predicted
class with BINS bins of equal mass, images in the order of their confidence (Naeini, Cooper and Hauskrecht, 2015; Guo et
al., arXiv 1706.04599, with bins of equal width; equal mass by Nixon et al., arXiv 1904.01685). It is biased upwards
where images are few, for all variants alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from harness.measure.subject import Subject

BINS = 15
FROM_PROBABILITIES = True  # of the test split, which the training keeps: no weights are needed


def images(n: int) -> float:
    """How many image forwards it takes, at most."""
    return n


def measure(subject: Subject) -> Iterator[dict[str, Any]]:
    """nll (nat), brier and ece (%) on the test split at the training size."""
    logs, labels = subject.log_probabilities, subject.data.test_y
    n = len(labels)
    yield {"metric": "nll", "value": nll(logs, labels), "unit": "nat", "n": n}
    yield {"metric": "brier", "value": brier(logs.exp(), labels), "unit": "1", "n": n}
    yield {"metric": "ece", "value": 100 * ece(logs.exp(), labels), "unit": "%", "n": n}


def nll(logs: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood in nat of log-probabilities [n, classes] and labels [n]."""
    return -float(logs.gather(1, labels[:, None]).mean())


def brier(probabilities: Tensor, labels: Tensor) -> float:
    """Brier's score over all classes, 0 to 2, of probabilities [n, classes]."""
    right = probabilities.gather(1, labels[:, None])[:, 0]
    return float((1 - 2 * right + probabilities.square().sum(dim=1)).mean())  # without a table of one and zero


def ece(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error of the predicted class, 0 to 1; bins of equal mass, fewer where images are fewer.

    Sizes of bins differ by one image at most.
    """
    confidence, guess = probabilities.max(dim=1)
    order = confidence.argsort(stable=True)
    gap = (guess == labels).to(confidence.dtype)[order] - confidence[order]
    return float(sum(part.sum().abs() for part in gap.tensor_split(min(bins, len(gap)))) / len(gap))
