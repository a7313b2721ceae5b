"""The table of metrics: it knows every metric of the committed studies, with the unit that their rows have."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from harness.results import metrics
from harness.results.metrics import DOWN, METRICS, UP

RESULTS = Path(__file__).parents[3] / "results"


def strangers(units):
    """The (metric, unit) that the table does not have."""
    return {(name, unit) for name, unit in units if name not in METRICS or METRICS[name].unit != unit}


def test_every_metric_of_the_committed_studies_has_its_unit():
    units = set()
    for file in RESULTS.rglob("*.jsonl"):
        units |= {(row["metric"], row["unit"]) for row in map(json.loads, file.read_text().splitlines())}
    assert len(units) > 50
    assert strangers(units) == set()
    assert strangers({("top1", "1"), ("top2", "%"), ("loss", "nat")}) == {("top1", "1"), ("top2", "%")}


def test_each_metric_is_whole():
    for name, metric in METRICS.items():
        assert metric.name == name
        assert all((metric.unit, metric.group, metric.kind, metric.about))
        assert metric.better in (UP, DOWN, "")
        assert not (metric.timed and metric.trained)
        assert not metric.shares or metric.unit == "%"


def test_every_group_with_a_table_has_columns():
    for name, group in metrics.GROUPS.items():
        assert any(metric.heading for metric in metrics.of_group(name)), name
        assert all((group.title, group.how))


def test_a_metric_that_is_not_in_the_table_is_refused_with_a_remedy():
    assert metrics.unit_of("top1") == "%"
    with pytest.raises(ValueError, match="there is no metric 'top2'; add its line"):
        metrics.unit_of("top2")


def test_what_follows_training():
    assert [name for name in ("accuracy", "size", "inference", "shift", "maps", "saliency", "calibration", "nothing")
            if metrics.follows_training(name)] == ["shift", "maps", "saliency", "calibration"]  # fmt: skip


@pytest.mark.parametrize("kind", metrics.MEASUREMENTS)
def test_a_measurement_of_trained_models_is_a_module_of_its_name(kind):
    module = import_module(f"harness.measure.{kind}")
    assert callable(module.measure)
    assert module.images(10) > 0


def test_a_metric_of_trained_weights_makes_its_kind_a_measurement():
    assert set(metrics.MEASUREMENTS) == {"shift", "calibration", "corruption", "maps", "saliency", "symmetry"}
    kinds = {metric.kind for metric in metrics.METRICS.values() if metric.trained}
    assert kinds == {*metrics.MEASUREMENTS, *metrics.TRAINING}
