"""Which failure explains which gap: that of the same group of metrics, of the training, or of what was refused."""

import pytest

from harness.report.analysis.quantity import UNMEASURED, Untried
from harness.report.analysis.summary import failure
from tests.support import rows as made

GROUPS = ("accuracy", "size", "inference", "training", "latency", "finetuning", "shift", "maps", "saliency",
          "calibration", "corruption")  # fmt: skip


def explained(tmp_path, *rows, measured=()):
    """The groups whose gaps of psa the failures explain."""
    setting = made.take(tmp_path, [*made.accuracy(["sa"], range(3), [8]), *measured, *rows]).settings[0]
    return {group for group in GROUPS if not isinstance(failure(setting, "psa", group), Untried)}


def null(metric, **columns):
    return made.row("psa", metric, None, note=f"no {metric}", **({"seed": 0, "test_px": 8} | columns))


PARAMS = made.row("psa", "params", 1000.0, seed=None)


@pytest.mark.parametrize(("metric", "group"), [
    ("shift_px_consistency", "shift"), ("deletion", "saliency"), ("attention_distance", "maps"), ("ece", "calibration"),
    ("corrupted_top1", "corruption"), ("images_per_s", "inference"), ("train_ratio", "training"), ("gmac", "size"),
    ("latency_ms", "latency"), ("finetuned_top1", "finetuning"),
])  # fmt: skip
def test_a_failure_explains_its_own_group_alone(tmp_path, metric, group):
    assert explained(tmp_path / "measured", null(metric), measured=[PARAMS]) == {group}
    if group != "size":
        assert explained(tmp_path / "alone", null(metric)) == {group}


def test_a_failed_training_explains_what_was_to_follow_it(tmp_path):
    after = {"accuracy", "finetuning", "shift", "maps", "saliency", "calibration", "corruption"}
    assert explained(tmp_path, null("top1"), measured=[PARAMS]) == after


def test_what_was_refused_explains_everything(tmp_path):
    assert explained(tmp_path, null("params", seed=None)) == set(GROUPS)


def test_a_metric_that_nobody_knows_explains_nothing(tmp_path):
    assert explained(tmp_path, null("wobble"), measured=[PARAMS]) == set()


def test_the_own_failure_comes_before_that_of_the_training(tmp_path):
    setting = made.take(tmp_path, [*made.accuracy(["sa"], range(3), [8]), null("ece"), null("top1")]).settings[0]
    assert failure(setting, "psa", "calibration") == "no ece"
    assert failure(setting, "psa", "corruption") == "no top1"
    assert failure(setting, "sa", "shift") is UNMEASURED
