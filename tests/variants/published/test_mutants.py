"""The oracles of loops reject planted errors: the comparison that passes without one fails with it."""

from itertools import chain

import pytest

from . import mutants
from .agreement import SQUARE, agrees_with_equation, at, rejected

OFFSETS = ["sp_sa[hidden=4]", "sp_sa[form=linear]", "sp_sa[combine=add,hidden=4]", "psa", "gpsa"]
TABLES = [
    "sp_sa[hidden=4]", "sp_sa[form=table]", "psa", "gpsa", "rpe_1d", "rpe_1d[mode=bias]", "rpe_2d", "rpe_2d[mode=bias]",
    "rpe_2d[extent=3]", "rpe_2d[factorized=True]", "rpe_1d[values=True]",
]  # fmt: skip
SOFTMAX = [
    "sa", "sp_sa[hidden=4]", "psa", "rpe_1d", "rpe_1d[mode=bias]", "rpe_2d", "rpe_2d[mode=bias]", "swin[window=2]",
    "cswin[stripe=1]", "window[width=1,height=2]", "swin[window=3]+rpe_2d[extent=3,mode=bias]",
]  # fmt: skip
DROPPED = {
    "no prior": ["sp_sa[hidden=4]", "sp_sa[form=table]"],
    "no bias": ["psa", "sp_sa[combine=add]", "rpe_1d[mode=bias]", "rpe_2d[mode=bias]"],
    "no keys": ["rpe_1d", "rpe_2d", "rpe_2d[factorized=True]"],
    "no values": ["rpe_1d[values=True]", "rpe_2d[values=True]", "rpe_2d[mode=bias,values=True]"],
    "no groups": ["swin[window=2]", "cswin[stripe=1]", "gpsa+swin[window=2]"],
    "no kept": ["window[width=1,height=2]", "psa+window[width=1,height=1]"],
}
CLASS_TOKEN = {
    mutants.class_token_not_neutral: ["sp_sa[hidden=4]", "psa", "gpsa", "rpe_1d", "rpe_2d", "rpe_2d[mode=bias]"],
    mutants.class_token_cut_off: ["swin[window=2]", "cswin[stripe=1]", "window[width=1,height=2]", "gpsa+window"],
}


def _planted(specs, errors):
    return [pytest.param(spec, plant, id=f"{spec}: {name}") for spec in specs for name, plant in errors.items()]


@pytest.mark.parametrize(
    ("spec", "plant"),
    [
        *_planted(OFFSETS, mutants.IN_THE_OFFSETS),
        *_planted(TABLES, mutants.IN_THE_TABLE),
        *_planted([*SOFTMAX, "gpsa"], mutants.IN_THE_ATTENTION),
        *_planted(SOFTMAX, mutants.IN_THE_SOFTMAX),
        *(pytest.param(s, mutants.DROPPED[name], id=f"{s}: {name}") for name, specs in DROPPED.items() for s in specs),
    ],
)
def test_loops_reject_a_planted_error(spec, plant, monkeypatch):
    plant(monkeypatch)
    with rejected():
        agrees_with_equation(spec, SQUARE)


@pytest.mark.parametrize(
    ("spec", "plant"),
    [pytest.param(s, plant, id=f"{s}: {plant.__name__}") for plant, specs in CLASS_TOKEN.items() for s in specs],
)
def test_loops_reject_a_class_token_that_is_not_neutral(spec, plant, monkeypatch):
    plant(monkeypatch)
    with rejected():
        agrees_with_equation(spec, SQUARE, prefix=1)


@pytest.mark.parametrize(
    "spec", sorted({*OFFSETS, *TABLES, *SOFTMAX, *chain(*DROPPED.values(), *CLASS_TOKEN.values())})
)
@at("prefix", 0, 1)
def test_without_the_error_the_same_comparison_passes(spec, prefix):
    agrees_with_equation(spec, SQUARE, prefix)
