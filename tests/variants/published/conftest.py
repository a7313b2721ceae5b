"""What the proofs share: timm's attention is its plain formula; and the badges that they leave.

`pytest tests/variants/published --badges results/parity/badges.jsonl` writes a row for each variant that a test marked
with `proof(oracle, variant)` names: the largest relative difference, the number of comparisons, the oracles and
tolerances.
"""

from pathlib import Path

import pytest
from timm.layers import config, set_fused_attn

from harness.results import provenance, source, store
from variants.registry import names, parse

from . import agreement

PROOFS: dict[str, dict[str, list[tuple[float, float]]]] = {}  # variant -> oracle -> comparisons


@pytest.fixture(scope="package", autouse=True)
def _plain_timm():
    before = config._USE_FUSED_ATTN
    set_fused_attn(False)
    yield
    set_fused_attn(before > 0, experimental=before > 1)


def pytest_addoption(parser):
    parser.addoption("--badges", type=Path, help="write what the proofs prove to this file of rows")


def pytest_configure(config):
    chosen = config.option.keyword or config.option.markexpr not in ("", "not slow")  # the latter: pyproject's own
    spread = getattr(config.option, "numprocesses", None)
    if config.getoption("--badges", default=None) and (chosen or spread):
        raise pytest.UsageError("--badges records all proofs in one process; leave out -k, -m and -n")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    proof = item.get_closest_marker("proof")
    if proof and call.when == "call":
        oracle, variant = proof.args
        name = parse(variant.format(**getattr(item, "callspec", item).params) if "{" in variant else variant)[0].name
        PROOFS.setdefault(name, {}).setdefault(oracle, []).extend(agreement.COMPARED)
    if call.when == "teardown":
        agreement.COMPARED.clear()
    return report


def pytest_sessionfinish(session, exitstatus):
    path = session.config.getoption("--badges", default=None)
    if path is not None and exitstatus == 0:
        store.write(path, [badge(name, PROOFS[name]) for name in names() if name in PROOFS])


def badge(name, oracles):
    """The row of one variant."""
    compared = [pair for pairs in oracles.values() for pair in pairs]
    oracles = {oracle: pairs for oracle, pairs in oracles.items() if pairs}  # not those of what is not installed
    tolerances = {oracle: max(tolerance for _, tolerance in pairs) for oracle, pairs in oracles.items()}
    return {
        "study": "parity", "variant": name, "backend": "eager", "device": "cpu", "precision": "float64",
        "metric": "parity", "value": max(difference for difference, _ in compared), "unit": "1", "n": len(compared),
        "params": {"oracles": tolerances}, "source_hash": source.of_classes(part.cls for part in parse(name)),
        "code": provenance.code(), "machine": provenance.machine(), "versions": provenance.versions(),
        "when": provenance.now(),
    }  # fmt: skip
