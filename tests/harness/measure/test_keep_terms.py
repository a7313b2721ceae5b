"""Where a model is only asked, batch after batch, its layers compute their terms once a grid."""

import pytest
import torch

from harness.backbone import create
from harness.measure.attention import heads
from harness.measure.rollout import curve
from harness.measure.shift import consistency
from harness.training.loop import answers

BATCHES = [(torch.randn(2, 1, 16, 16), torch.zeros(2, dtype=torch.long)) for _ in range(3)]


def curves(model, batches):
    for images, labels in batches[:1]:
        curve(model, images, labels, torch.arange(16).expand(2, -1))


@pytest.mark.parametrize("ask", [answers, heads, curves, lambda *given: consistency(*given, {"pixel": 1})])
def test_terms_are_computed_once_and_not_kept_afterwards(ask):
    model = create("sp_sa", size="micro", img_size=16, patch_size=4, in_chans=1, num_classes=4)
    relation, calls = model.blocks[0].attn.relation, []
    compute = relation.terms
    relation.terms = lambda *given: calls.append(given) or compute(*given)
    ask(model, BATCHES)
    assert len(calls) == 1
    with torch.no_grad():
        model(BATCHES[0][0])
    assert len(calls) == 2
