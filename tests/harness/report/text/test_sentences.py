"""The sentences made of params; the committed studies' own words are what they must give."""

import pytest

from harness.report.text import sentences

PROOF = {
    "proofs": [{"variant": "sa", "oracles": {"the equation by loops": 1e-9, "timm's Attention": 1e-6}},
               {"variant": "swin", "oracles": {"the equation by loops": 2.5e-9}}],
    "proved": "2026-11-25", "current": True,
}  # fmt: skip


@pytest.mark.parametrize(("params", "words"), [
    ({"rule": "recomputed", "position": "resampled"}, "sp_sa recomputed; position embedding resampled"),
    ({"rule": "rescaled, clipped"}, "sp_sa rescaled, clipped"),
    ({"transfer": "zero-shot", "position": "recomputed"}, "position embedding recomputed"),
    ({"mlp_hidden": 272}, ""),
    ({}, ""),
])  # fmt: skip
def test_what_is_done_at_another_resolution(params, words):
    assert sentences.at_another_resolution("sp_sa", params) == words


def test_a_proof_names_its_oracles_its_day_and_its_source():
    words = ("sa: the equation by loops (within 1e-09); timm's Attention (within 1e-06); "
             "swin: the equation by loops (within 2.5e-09); proved 2026-11-25 on this source")  # fmt: skip
    assert sentences.proof(PROOF) == words
    assert sentences.proof(PROOF | {"current": False}) == words.replace("this source", "an earlier source")
    assert sentences.proof({}) == ""


def test_the_others():
    assert sentences.pairing({"mlp_hidden": 272}) == "paired by data only: its MLPs are 272 wide"
    assert sentences.pairing({"rule": "fixed"}) == ""
    assert sentences.spared({"spared": ["gate", "relation.table"]}) == (
        "beside all 1-D parameters, pos_embed and cls_token: gate, relation.table")  # fmt: skip
    assert sentences.spared({"spared": []}).endswith(": none of the attention")
    assert sentences.spared({}) == sentences.body({}) == ""
    assert sentences.body({"body": "own"}) == "as published: the size's own body"
    assert sentences.mask({"by": "mass", "ones": True}) == "by mass, prior 1"
    assert sentences.mask({"by": "", "ones": False}) == "prior inside"


def test_parts_are_headings():
    names = ("corruption", "severity")
    assert sentences.part({"corruption": "noise", "severity": 2, "seed": 1}, names) == ("Noise", "severity 2")
    assert sentences.part({}, names) == ()
    assert sentences.part({"corruption": ["x"], "severity": None}, names) == ("['x']",)
