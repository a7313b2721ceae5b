"""DeiT's distillation token, the auxiliary head and MixToken's box in the model, against timm's and by hand."""

from dataclasses import replace

import pytest
import timm
import torch

from harness.backbone.mismatch import mismatch
from harness.backbone.sizes import size_of
from harness.backbone.vit import ViT, create
from tests.support.mutants import noticed

SMALL = {
    "img_size": 32,
    "patch_size": 8,
    "num_classes": 5,
    "size": replace(size_of("tiny"), width=32, depth=3, num_heads=2),
}


def images(n=2, seed=0):
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def timms():
    torch.manual_seed(1)
    model = timm.create_model(
        "deit_tiny_distilled_patch16_224",
        img_size=32,
        patch_size=8,
        num_classes=5,
        embed_dim=32,
        depth=3,
        num_heads=2,
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def timms_weights_give_timms_logits():
    theirs, ours = timms(), create("sa", class_token="input", distilled=True, **SMALL).eval()
    ours.load_state_dict(theirs.state_dict())
    assert mismatch(ours, theirs.state_dict()) is None
    with torch.no_grad():
        torch.testing.assert_close(ours(images()), theirs(images()), atol=1e-5, rtol=1e-5)
        found = ours.apart(images())
        theirs.distilled_training = True
        theirs.train()
        for mine, own in zip(found[:2], theirs(images()), strict=True):
            torch.testing.assert_close(mine, own, atol=1e-5, rtol=1e-5)


def test_timms_distilled_weights_give_timms_logits(monkeypatch):
    timms_weights_give_timms_logits()
    true = ViT.heads_of
    with monkeypatch.context() as patch, noticed():  # the two heads read each other's token
        patch.setattr(ViT, "heads_of", lambda self, tokens: true(self, tokens[:, [1, 0, *range(2, tokens.shape[1])]]))
        timms_weights_give_timms_logits()


def test_late_tokens_absorb_their_position_entries():
    theirs, ours = timms(), create("sa", class_token="late", distilled=True, spatial_layers=0, **SMALL)
    assert mismatch(ours, theirs.state_dict()) is None
    ours.load_state_dict(theirs.state_dict())
    own = theirs.state_dict()
    assert torch.equal(ours.dist_token, own["dist_token"] + own["pos_embed"][:, 1:2])
    assert torch.equal(ours.pos_embed, own["pos_embed"][:, 2:])
    with torch.no_grad():  # no layer is spatial, so both tokens join before the first one
        torch.testing.assert_close(ours.eval()(images()), theirs(images()), atol=1e-5, rtol=1e-5)


def test_a_distillation_token_wants_a_class_token():
    with pytest.raises(ValueError, match="distilled=True adds a token beside the class token"):
        create("sa", class_token="none", distilled=True, **SMALL)


@pytest.mark.parametrize("class_token", ["late", "input", "none"])
def test_the_heads_say_apart_what_they_say_together(class_token):
    torch.manual_seed(0)
    distilled = class_token != "none"
    model = create("sp_sa", class_token=class_token, distilled=distilled, aux_head=True, **SMALL).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        found, whole = model.apart(images()), model(images())
    assert found.patches.shape == (2, 16, 5)
    pooled = (found.cls + found.dist) / 2 if distilled else found.cls
    torch.testing.assert_close(whole, pooled + found.patches.amax(1) / 2)
    assert (found.dist is not None) == distilled


def a_box_swaps_pixels():
    """With a plain patch embedding, mixing tokens is mixing the pixels of these patches: CutMix on the patch grid."""
    torch.manual_seed(0)
    model = create("rel_bias", class_token="late", aux_head=True, **SMALL).eval()
    box = torch.zeros(4, 4, dtype=torch.bool)
    box[1:3, 2:] = True
    batch = images(3)
    pasted = batch.clone()
    pasted[:, :, 8:24, 16:] = batch.flip(0)[:, :, 8:24, 16:]
    with torch.no_grad():
        found, wanted = model.apart(batch, box), model.apart(pasted)
    torch.testing.assert_close(found.patches, wanted.patches)
    torch.testing.assert_close(found.cls, wanted.cls)


def test_a_box_takes_patches_from_the_mirrored_image(monkeypatch):
    a_box_swaps_pixels()
    true = ViT.embed
    with monkeypatch.context() as patch, noticed():  # rows and columns are swapped
        patch.setattr(ViT, "embed", lambda self, x, box=None: true(self, x, None if box is None else box.mT))
        a_box_swaps_pixels()
