"""Provenance: what a formula was proved against is said from params, and by the note in studies recorded before."""

import pytest

from harness.report.pages import appendix
from tests.support import rows as made

PARAMS = {
    "proofs": [{"variant": "psa", "oracles": {"the equation by loops": 1e-09, "convit.MHSA": 1e-09}}],
    "proved": "2026-11-25", "current": True,
}  # fmt: skip
SENTENCE = "psa: the equation by loops (within 1e-09); convit.MHSA (within 1e-09); proved 2026-11-25 on this source"


def of(tmp_path, **how):
    """A study of which psa's plain formula was proved."""
    proof = made.row("psa", "parity", 1.5e-15, backend="eager", device="cpu", precision="float64", **how)
    return made.take(tmp_path, [*made.study(["sa", "psa"]), proof])


@pytest.mark.parametrize("how", [{"params": PARAMS}, {"note": SENTENCE}])
def test_a_proof_is_told_by_params_or_else_by_the_note(how, tmp_path):
    study = of(tmp_path, **how)
    assert appendix.proved(study) == {"psa": SENTENCE}
    assert ("psa", "eager cpu float64", SENTENCE, "1.5e\N{MINUS SIGN}15") in appendix.parity(study)


def test_params_that_prove_nothing_are_no_proof(tmp_path):
    study = of(tmp_path, params={"proofs": []})
    assert SENTENCE not in str(appendix.parity(study))
    plain = {words for variant, where, words, _ in appendix.parity(study) if where.startswith("sdpa")}
    assert plain == {"the plain formula, in this run"}


def test_an_entry_of_a_recipe_without_a_value_is_none_and_one_that_is_missing_a_dash(tmp_path):
    rows = [made.row("sa", "top1", 90.0, seed=0), made.row("sa", "top1", 91.0, seed=1, recipe_hash="other")]
    recipe = made.RECIPE | {"aa": "", "amp": False, "mixup": None}
    found = appendix.recipes(made.take(tmp_path, rows, {made.HASH: recipe, "other": made.RECIPE}))
    entries = dict(found.entries)
    assert entries["aa"] == ["none", "\N{EM DASH}"]
    assert entries["amp"][0] == "no"
    assert entries["mixup"][0] == "none"
    assert "" not in [cell for cells in entries.values() for cell in cells]
