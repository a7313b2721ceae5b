"""All biases over the offset: the equations by loops, planted errors, the backends, sums, and how they start."""

import pytest

from variants import build, families

from . import mutants
from .agreement import SQUARE, WIDE, agrees_with_eager, agrees_with_equation, at, on, rejected
from .biases import EQUATIONS

TABLES = ["rel_bias", "rel_bias[extent=2]", "rel_bias[init=beit,resampling=geometric]"]
LEVIT = ["levit"]
STEPS = ["t5", "t5[axes=both]", "t5[buckets=8,max_distance=6]", "t5[axes=both,buckets=8,max_distance=3]"]
FAR = ["t5[axes=euclidean]", "t5[axes=euclidean,buckets=5,max_distance=4]"]
FUNCTIONS = ["log_cpb[hidden=5]", "log_cpb[extent=2,hidden=5]", "crossformer[hidden=4]"]
DISTANCES = ["alibi_2d", "kerple", "kerple[kernel=power]", "fire[hidden=8]"]
WIDTHS = ["gaussian"]
VIEWS = [f"lookhere[directions={word}]" for word in ("halves", "corners", "triangles", "diagonals", "eighths")]
SPECS = [*TABLES, *LEVIT, *STEPS, *FAR, *FUNCTIONS, *DISTANCES, *WIDTHS, *VIEWS, "lookhere[first=0.25,last=2]"]
SUMS = [
    "swin[window=2]+rel_bias[extent=2]",
    "sp_sa[hidden=3]+alibi_2d",
    "rel_bias+log_cpb[hidden=3]+gaussian",
    "lookhere[directions=triangles]+levit+rpe_2d",
    "t5[axes=both]+kerple+cswin[stripe=2]",
    "crossformer[hidden=3]+fire[hidden=8]+window[height=1,width=2]",
    "gpsa[init=normal]+alibi_2d",
]


@pytest.mark.proof("the equation by loops", "{spec}")
@at("prefix", 0, 1)
@on(SQUARE, WIDE)
@pytest.mark.parametrize("spec", SPECS)
def test_a_bias_is_the_equation(spec, grid, prefix):
    agrees_with_equation(spec, grid, prefix)


@pytest.mark.parametrize("spec", SUMS)
def test_a_sum_is_the_equations_together(spec):
    agrees_with_equation(spec, WIDE, 1, layer=1)


RECOMPUTED = [*STEPS, *FAR, *FUNCTIONS, *DISTANCES, *WIDTHS, *VIEWS, "rel_bias[extent=2]"]


@pytest.mark.parametrize("spec", RECOMPUTED)
def test_at_another_resolution_what_is_not_resampled_is_the_equation_too(spec):
    agrees_with_equation(spec, (2, 6), trained_at=SQUARE)


@pytest.mark.parametrize("spec", SPECS)
def test_a_bias_is_the_equation_on_a_line_of_patches(spec):
    agrees_with_equation(spec, (1, 5), 1)


SAYS = {
    "rel_bias": "resampled", "rel_bias[resampling=geometric]": "resampled", "rel_bias[extent=3]": "clipped",
    "levit": "resampled", "crossformer": "recomputed", "log_cpb": "recomputed", "t5": "rescaled, clipped",
    "t5[axes=both]": "clipped", "t5[axes=euclidean]": "clipped", "alibi_2d": "recomputed", "kerple": "recomputed",
    "fire": "rescaled", "gaussian": "recomputed", "lookhere": "recomputed", "swin+log_cpb+cosine": "fixed, recomputed",
}  # fmt: skip


@pytest.mark.parametrize(("spec", "words"), SAYS.items(), ids=SAYS)
def test_what_each_says_of_a_new_resolution(spec, words):
    assert build(spec, 24, 4, grid=SQUARE).resolution_rule() == words


def test_every_bias_has_an_equation():
    assert set(families()["biases"]) <= set(EQUATIONS)


# Errors on purpose. What is even in the offset does not mind its sign, what knows the distance alone not its axes.

EITHER_WAY = ("table read query minus key", "columns of the table flipped", "sign flipped", "rows flipped")
ANY_AXIS = ("axes of the table swapped", "axes swapped")
IN_THE_TABLE = {
    **dict.fromkeys([*TABLES, *STEPS, *FUNCTIONS], ()),
    **dict.fromkeys([*LEVIT, *WIDTHS], EITHER_WAY),
    **dict.fromkeys([*FAR, *DISTANCES], EITHER_WAY + ANY_AXIS),
}
IN_THE_OFFSETS = {
    **dict.fromkeys(FUNCTIONS, ()),
    **dict.fromkeys(WIDTHS, EITHER_WAY),
    **dict.fromkeys(DISTANCES, EITHER_WAY + ANY_AXIS),
}


def _planted(errors, minded):
    return [
        (spec, name, error) for spec, right in minded.items() for name, error in errors.items() if name not in right
    ]


FAILING = [
    *_planted(mutants.IN_THE_TABLE, IN_THE_TABLE),
    *_planted(mutants.IN_THE_OFFSETS, IN_THE_OFFSETS),
    *((spec, "no bias", mutants.DROPPED["no bias"]) for spec in SPECS),
    *((spec, "no kept", mutants.DROPPED["no kept"]) for spec in VIEWS),
    *((spec, "prefix not neutral", mutants.class_token_not_neutral) for spec in SPECS),
    *((spec, "prefix cut off", mutants.class_token_cut_off) for spec in VIEWS),
]


@pytest.mark.parametrize(("spec", "plant"), [pytest.param(s, e, id=f"{s}: {name}") for s, name, e in FAILING])
def test_loops_reject_a_planted_error(spec, plant, monkeypatch):
    plant(monkeypatch)
    with rejected():
        agrees_with_equation(spec, SQUARE, 1)


@at("prefix", 0, 1)
@pytest.mark.parametrize("spec", [*SPECS, *SUMS])
def test_the_backend_of_auto_gives_eagers_output_and_gradients(spec, prefix):
    agrees_with_eager(spec, WIDE, prefix, "auto")
