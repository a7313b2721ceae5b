"""The committed numbers of papers: every one with its source, in the sizes and the specs that there are here."""

import re

import pytest

from harness.backbone.sizes import SIZES
from harness.report.study import published
from variants.registry import canonical

KNOWN = published.read()
FAMILIES = ["DeiT", "ConViT", "SP-ViT", "iRPE", "Swin", "SwinV2", "CSWin", "NAT", "CPVT", "RoPE", "LV-ViT", "CaiT"]
TAGS = {"paper", "readme", "timm", "figure", "second-hand", "unreviewed"}


def test_there_are_numbers_of_every_family():
    models = " ".join(one.model for one in KNOWN)
    for family in FAMILIES:
        assert family in models
    assert len(KNOWN) > 400


@pytest.mark.parametrize("one", KNOWN, ids=lambda one: f"{one.model}@{one.test_px}")
def test_a_row_has_the_shape_and_says_where_it_is_from(one):
    assert one.tag in TAGS
    assert re.search(r"arXiv \d{4}\.\d{5}|README|timm 1|quotes", one.source)
    assert 30 < float(one.top1) < 100 or one.dataset == "cifar100"
    assert not one.top5 or float(one.top5) > float(one.top1)
    assert one.test_px.isdecimal()
    assert one.finetuned in ("0", "1")
    assert not one.variant or canonical(one.variant) == one.variant
    assert one.size in ("", *SIZES)
    assert bool(one.size) == bool(one.variant) or one.model.startswith(("DeiT-S + iRPE", "SP-ViT-L"))


def test_no_model_is_told_twice_by_one_source():
    told = [(one.model, one.train_px, one.test_px, one.finetuned, one.source, one.note, one.dataset) for one in KNOWN]
    assert {key for key in told if told.count(key) > 1} == set()


@pytest.mark.parametrize(
    ("model", "px", "top1"),
    [("SP-ViT-S", "384", "85.1"), ("SP-ViT-M", "224", "84.9"), ("ConViT-S", "224", "81.3"), ("DeiT-S", "224", "79.854"),
     ("DeiT-S + iRPE-QK", "224", "81.1"), ("Swin-B", "384", "84.5"), ("CSWin-T", "224", "82.8"),
     ("NAT-Base", "224", "84.3"),     ("LV-ViT-S", "384", "84.4"), ("ViT-B mixed RoPE + APE", "384", "84.3")],
)  # fmt: skip
def test_well_known_numbers_are_there(model, px, top1):
    assert top1 in {one.top1 for one in KNOWN if (one.model, one.test_px) == (model, px)}
