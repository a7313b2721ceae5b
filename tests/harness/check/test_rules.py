"""All rules on every registered variant and setting, and every rule seen to catch a variant that breaks it."""

import re

import pytest

from harness.check.cases import CASES, violation
from harness.check.program import specs_of
from harness.check.rules import RULES
from variants import names, register, registry

from . import bad

SUMS = ["sp_sa+swin", "psa+sp_sa+cswin", "gpsa[init=normal]+rpe_2d", "swin+rpe_2d[extent=2,mode=bias]",
        "rpe_1d+rpe_2d[values=True]+swin[window=2]", "gpsa+window", "sp_sa+window",
        "sp_sa[scope=network]+rpe_2d[factorized=True]", "no_content+psa+swin", "cswin+uniform",
        "position_only+rpe_2d[mode=bias,values=True]", "rope_mixed+sp_sa+swin", "cswin+lepe",
        "neighborhood+irpe[on=qkv]+decomposed", "swin+log_cpb[hidden=16]+cosine",
        "lookhere+rel_bias+sp_sa"]  # fmt: skip
SPECS = [spec for name in names() for spec in specs_of(name)] + SUMS


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_variant_keeps_to_every_rule(rule, spec):
    assert violation(rule, spec) is None


def test_the_settings_are_tried_one_at_a_time():
    assert specs_of("psa") == ["psa", "psa[init=convit]", "psa[init=normal]"]
    assert specs_of("gpsa[gate=3]") == ["gpsa[gate=3]"]
    assert {"rpe_2d[extent=2]", "rpe_2d[values=True]", "sp_sa[scope=network]", "swin[window=3]"} <= set(SPECS)


def test_one_case_is_never_square_and_one_has_a_class_token():
    assert {case.grid for case in CASES} == {(4, 4), (3, 5)}
    assert {case.prefix for case in CASES} == {0, 1}
    assert {case.layer % 2 for case in CASES} == {0, 1}  # windows are shifted in odd layers


@pytest.fixture
def registered(monkeypatch):
    """Registers a class under a name, for one test."""
    for name in ("_classes", "_families", "_home"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    return lambda name, cls: register(name, family="bad")(cls)


@pytest.mark.parametrize(("rule", "cls", "says"), bad.ALL.values(), ids=bad.ALL)
def test_a_bad_variant_is_caught_by_the_rule_meant_for_it(registered, rule, cls, says):
    registered("bad_one", cls)
    rules = {rule.__name__: rule for rule in RULES}
    sentence = violation(rules[rule], "bad_one")
    assert sentence is not None
    assert re.search(says, sentence), sentence


def test_every_rule_is_seen_to_fail():
    assert {rule for rule, _, _ in bad.ALL.values()} == {rule.__name__ for rule in RULES}


def test_every_rule_says_in_one_line_what_it_wants():
    lines = [rule.__doc__.partition("\n")[0] for rule in RULES]
    assert all(line.endswith(".") and len(line) < 120 for line in lines)
    assert len(set(lines)) == len(RULES)
