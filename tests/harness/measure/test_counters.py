"""Other counters: torch's own agrees with ours to the unit, and the guide's table has what they say."""

import importlib.metadata
import runpy

import pytest
import torch
from torch import nn

from harness.measure import cost
from tests.support import markdown
from tests.support.paths import ROOT

COUNTERS = runpy.run_path(str(ROOT / "examples" / "counters.py"))
TORCH, SPECS = "torch FlopCounterMode", ["sa", "sp_sa", "rpe_2d"]


def table():
    """By counter: its version and what the guide says of each spec."""
    rows = markdown.table(markdown.section(markdown.read("harness/README.md"), "What other counters say"))
    return {row[0]: row[1:] for row in rows}


def norms(model, tokens):
    """The multiply-adds that ours counts and torch's does not: five a normalised element."""
    return sum(5 * tokens * norm.normalized_shape[0] for norm in model.modules() if isinstance(norm, nn.LayerNorm))


@pytest.mark.parametrize("spec", SPECS)
def test_torch_counts_the_same_and_the_table_says_so(spec):
    model, images = COUNTERS["deit_s"](spec), torch.zeros(1, 3, 224, 224)
    flops = COUNTERS["COUNTERS"][TORCH][1](model, images)
    assert flops / 2 + norms(model, 197) == round(1e9 * cost.count(model, images))
    assert flops / 2 + norms(model, 196) != round(1e9 * cost.count(model, images))
    column = 1 + SPECS.index(spec)
    assert table()[TORCH][column] == f"{flops / 1e9:.3f}"
    assert table()["harness.measure.cost"][column] == f"{cost.count(model, images):.3f}"


def test_every_counter_is_in_the_table_with_the_version_that_was_asked():
    assert list(table()) == list(COUNTERS["COUNTERS"])
    for name, (package, _) in COUNTERS["COUNTERS"].items():
        assert bool(table()[name][0]) == bool(package)


def test_fvcore_misses_the_fused_attention():
    """As the table says of the version that it names."""
    said = table()["fvcore"]
    if importlib.metadata.version("fvcore") != said[0]:
        pytest.skip(f"the table is of fvcore {said[0]}")
    found = COUNTERS["counted"]("sa", ["fvcore", "harness.measure.cost"])
    assert f"{found['fvcore']:.3f}" == said[1]
    assert round(1e9 * (found["harness.measure.cost"] - found["fvcore"])) == 12 * 2 * 197**2 * 384
