"""Calibration: against loops in plain Python and known answers, with planted errors; from kept probabilities alone."""

import itertools
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.jobs.kinds.measured import Measured
from harness.jobs.kinds.training import Trained
from harness.measure import calibration
from harness.measure.subject import Subject
from harness.results import store
from harness.training.loop import answers
from tests.support.cells import experiment, work


def drawn(n=200, classes=4, seed=0):
    """Log-probabilities, float64 [n, classes], and labels [n]."""
    draw = torch.Generator().manual_seed(seed)
    logs = (2 * torch.randn(n, classes, generator=draw, dtype=torch.float64)).log_softmax(dim=1)
    return logs, torch.randint(0, classes, (n,), generator=draw)


def by_loops(probabilities, labels, bins=15):
    """nll, Brier score and ece, an image at a time."""
    n, nll, brier, told = len(labels), 0.0, 0.0, []
    for row, label in zip(probabilities, labels, strict=True):
        nll -= math.log(row[label]) / n
        brier += sum((p - (c == label)) ** 2 for c, p in enumerate(row)) / n
        told.append((max(row), float(row.index(max(row)) == label)))
    told.sort(key=lambda pair: pair[0])
    ece, start = 0.0, 0
    for b in range(bins):
        size = n // bins + (b < n % bins)
        inside = told[start : start + size]
        start += size
        if inside:
            confidence, right = (sum(pair[i] for pair in inside) / size for i in (0, 1))
            ece += size / n * abs(right - confidence)
    return nll, brier, ece


def ours(logs, labels):
    return (
        calibration.nll(logs, labels),
        calibration.brier(logs.exp(), labels),
        calibration.ece(logs.exp(), labels),
    )


@pytest.mark.parametrize("n", [7, 15, 200, 211])
def test_all_three_are_what_loops_say(n):
    logs, labels = drawn(n)
    expected = by_loops(logs.exp().tolist(), labels.tolist())
    assert ours(logs, labels) == pytest.approx(expected, rel=1e-12)
    others = ours(logs, labels.roll(1))  # an error on purpose: the labels of other images
    assert all(abs(one - other) > 1e-3 for one, other in zip(expected, others, strict=True))
    flipped = ours(logs.roll(1, dims=1), labels)  # another: the classes moved
    assert all(abs(one - other) > 1e-3 for one, other in zip(expected[:2], flipped[:2], strict=True))


def test_a_model_that_is_sure_and_wrong_has_the_worst_scores_and_one_that_is_right_none():
    sure = torch.eye(3, dtype=torch.float64)[torch.tensor([0, 1, 2, 0])]
    wrong, right = torch.tensor([1, 2, 0, 2]), torch.tensor([0, 1, 2, 0])
    assert calibration.ece(sure, wrong) == 1.0
    assert calibration.brier(sure, wrong) == 2.0
    assert calibration.ece(sure, right) == calibration.brier(sure, right) == 0.0
    assert calibration.nll(sure.clamp(min=1e-300).log(), right) == 0.0


def test_uniform_probabilities_have_the_entropy_and_are_calibrated_where_a_share_is_right():
    logs = torch.full((40, 4), 0.25, dtype=torch.float64).log()
    labels = torch.arange(40) % 4
    assert calibration.nll(logs, labels) == pytest.approx(math.log(4))
    assert calibration.brier(logs.exp(), labels) == pytest.approx(0.75**2 + 3 * 0.25**2)
    assert calibration.ece(logs.exp(), labels, bins=10) == pytest.approx(0.0)  # of four in a bin one is right


def two_classes(confidences, hits):
    """Probabilities [n, 2] of the class 0 with these confidences, and labels: 0 where it hits."""
    first = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([first, 1 - first], dim=1), torch.tensor([0 if hit else 1 for hit in hits])


def test_perfectly_calibrated_bins_have_no_error():
    confidences = [c for c in (0.6, 0.7, 0.8, 0.9, 1.0) for _ in range(10)]
    hits = [k < round(10 * c) for c in (0.6, 0.7, 0.8, 0.9, 1.0) for k in range(10)]
    probabilities, labels = two_classes(confidences, hits)
    assert calibration.ece(probabilities, labels, bins=5) == pytest.approx(0.0, abs=1e-12)
    assert calibration.ece(probabilities, labels.flip(0), bins=5) > 0.05  # the same hits elsewhere


def test_fifteen_bins_of_equal_mass_by_hand_on_32_images():
    """32 = 2 bins of 3 and 13 of 2, the least confident images first; every second image is right."""
    confidences = [0.51 + 0.48 * (k / 31) ** 2 for k in range(32)]
    hits = [k % 2 == 0 for k in range(32)]
    edges = [0, 3, 6, *range(8, 33, 2)]
    assert len(edges) == 16
    expected = sum(abs(sum(hits[a:b]) - sum(confidences[a:b])) for a, b in itertools.pairwise(edges)) / 32
    order = random.Random(0).sample(range(32), 32)
    probabilities, labels = two_classes([confidences[k] for k in order], [hits[k] for k in order])
    assert calibration.ece(probabilities, labels) == pytest.approx(expected)
    widths = sum(abs(sum(hits[k] - confidences[k] for k in range(32) if int((confidences[k] - 0.5) * 30) == b))
                 for b in range(15)) / 32  # fmt: skip  # an error on purpose: bins of equal width
    assert abs(widths - expected) > 1e-3


def test_ties_stay_in_the_order_of_the_images():
    probabilities, labels = two_classes([0.75] * 8, [1, 1, 0, 0, 1, 1, 1, 1])
    assert calibration.ece(probabilities, labels, bins=2) == pytest.approx((1.0 + 1.0) / 8)
    assert calibration.ece(probabilities, labels, bins=4) == pytest.approx((0.5 + 1.5 + 0.5 + 0.5) / 8)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibration")
    one = experiment(measure=("accuracy", "calibration"))
    assert work(one, ["sp_sa"], folder) == ["sp_sa seed 0", "sp_sa seed 0 calibration"]
    return folder, one


def subject(one, folder, kept=True):
    cell = Trained(one, "sp_sa", 0)
    where = cell.log_probabilities(folder) if kept else Path("nowhere")
    return Subject(one.data, one.image, 2, 0, lambda: one.model("sp_sa"), one.shown, cell.weights(folder), where,
                   cell.snapshots(folder))  # fmt: skip


def test_what_the_training_kept_says_what_the_model_says(study):
    folder, one = study
    kept, asked = (list(calibration.measure(subject(one, folder, kept))) for kept in (True, False))
    assert kept == asked  # whichever of the two is there, the figure is the same
    _, own, labels = answers(subject(one, folder).model, one.shown("test", one.image))
    assert kept[0]["value"] == pytest.approx(calibration.nll(own.double(), labels), abs=1e-3)
    assert kept[1]["value"] == pytest.approx(calibration.brier(own.double().exp(), labels), abs=1e-3)
    assert subject(one, folder).log_probabilities.exp().sum(dim=1).numpy() == pytest.approx(np.ones(360), abs=1e-12)
    rows = store.load(folder)
    found = rows[rows["kind"] == "calibration"].set_index("metric")["value"]
    assert found.to_dict() == {fact["metric"]: fact["value"] for fact in kept}
    top1 = rows[rows["metric"] == "top1"]["value"].item()
    right = subject(one, folder).log_probabilities.argmax(dim=1) == one.data.test_y
    assert 100 * float(right.double().mean()) == pytest.approx(top1, abs=0.3)  # float16 makes ties


def test_kept_probabilities_are_enough_where_the_weights_are_gone(study, tmp_path):
    folder, one = study
    trained = Trained(one, "sp_sa", 0)
    cell = Measured(one, trained, "calibration")
    for file in (trained.path(folder), trained.log_probabilities(folder)):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert work(one, ["sp_sa"], tmp_path) == [cell.name]
    assert not (tmp_path / "weights").exists()
    assert store.load(cell.path(tmp_path))["value"].tolist() == store.load(cell.path(folder))["value"].tolist()
    trained.log_probabilities(tmp_path).unlink()  # neither: the training is to be done again
    cell.path(tmp_path).unlink()
    assert trained.missing(tmp_path, [trained, cell])
    assert not cell.served(tmp_path)
