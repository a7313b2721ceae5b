"""The one ViT: timm's numbers, every factor, every grid."""

import pytest
import timm
import torch

from harness.backbone.sizes import Size
from harness.backbone.vit import create

SMALL = {"img_size": 8, "patch_size": 2, "in_chans": 1, "num_classes": 10}


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_sa_reproduces_timm_with_timms_weights(size):
    reference = timm.create_model(f"deit_{size}_patch16_224").eval()
    torch.nn.init.normal_(reference.head.weight, std=0.02)
    torch.nn.init.normal_(reference.cls_token)
    model = create("sa", size=size, img_size=224, patch_size=16, num_classes=1000, class_token="input").eval()
    model.load_state_dict(reference.state_dict())
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(model(images), reference(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("size", "params"), [("tiny", 5_717_416), ("small", 22_050_664), ("base", 86_567_656)])
def test_parameters_of_deit(size, params):
    with torch.device("meta"):
        model = create("sa", size=size, img_size=224, patch_size=16, num_classes=1000, class_token="input")
    assert sum(p.numel() for p in model.parameters()) == params


def test_sp_sa_adds_what_the_paper_says():
    """Hidden units of C/H a head add 4C + H parameters to a layer."""
    with torch.device("meta"):
        plain, spatial = (
            sum(p.numel() for p in create(spec, size="small", img_size=224, patch_size=16, num_classes=10).parameters())
            for spec in ("sa", "sp_sa[hidden=64]")
        )
    assert spatial - plain == 10 * (4 * 384 + 6)


@pytest.mark.parametrize("spec", ["sp_sa", "sp_sa[form=linear]", "sp_sa[form=table]", "sp_sa[combine=add]"])
def test_sp_sa_is_sa_at_initialisation(spec):
    images = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        plain, spatial = (create(s, **SMALL, seed=5).eval()(images) for s in ("sa", spec))
    torch.testing.assert_close(spatial, plain, atol=1e-6, rtol=0)


def test_one_seed_gives_every_variant_the_same_shared_weights():
    plain = create("sa", **SMALL, seed=5).state_dict()
    for spec in ("sp_sa", "psa", "gpsa", "rpe_1d", "swin", "sp_sa[scope=network]+cswin"):
        state = create(spec, **SMALL, seed=5).state_dict()
        assert all(torch.equal(state[name], value) for name, value in plain.items()), spec
    other = create("sa", **SMALL, seed=6).state_dict()
    assert not torch.equal(other["head.weight"], plain["head.weight"])


@pytest.mark.parametrize("class_token", ["late", "input", "none"])
@pytest.mark.parametrize("pos_embed", ["learned", "sincos", "none"])
@pytest.mark.parametrize(
    "spec", ["sa", "sp_sa", "gpsa", "rpe_1d", "rpe_2d[factorized=True]", "swin", "cswin", "window"]
)
def test_every_factor_on_grids_that_are_not_square(spec, class_token, pos_embed):
    factors = {"class_token": class_token, "pos_embed": pos_embed, "peg": True, "drop_path": 0.1}
    model = create(spec, img_size=(6, 10), patch_size=2, in_chans=2, num_classes=7, **factors)
    out = model(torch.randn(2, 2, 6, 10))
    assert out.shape == (2, 7)
    out.sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert model(torch.randn(2, 2, 8, 4)).isfinite().all()
    model.set_grid((4, 4))
    assert model(torch.randn(2, 2, 8, 8)).isfinite().all()


def test_set_grid_keeps_the_function_and_resizes_the_tables():
    model = create("rpe_2d[mode=bias]", img_size=8, patch_size=2, in_chans=1, num_classes=10).eval()
    images = torch.randn(2, 1, 12, 16)
    with torch.no_grad():
        before = model(images)
        model.set_grid((6, 8))
        torch.testing.assert_close(model(images), before)
    assert model.blocks[0].attn.relation.tables[0].shape == (4, 11, 15)
    assert model.pos_embed.shape == (1, 48, 64)


def test_the_position_embedding_starts_at_the_scale_that_was_asked_for():
    for std in (0.02, 0.5, 1.0):
        assert float(create("sa", **SMALL, pos_std=std).pos_embed.detach().std()) == pytest.approx(std, rel=0.1)
    assert float(create("sa", **SMALL).pos_embed.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_the_late_class_token_joins_after_the_spatial_layers():
    model = create("sp_sa", **SMALL)
    seen = []
    for block in model.blocks:
        block.register_forward_hook(lambda _, inputs, out: seen.append(out.shape[1]))
    model(torch.randn(1, 1, 8, 8))
    assert seen == [16, 16, 17, 17]
    assert [len(block.attn.relation.state_dict()) > 0 for block in model.blocks] == [True, True, False, False]


def test_a_late_class_token_absorbs_timms_position_entry():
    early = create("sa", **SMALL, class_token="input", seed=1)
    late = create("sa", **SMALL, seed=2)
    state = early.state_dict()
    late.load_state_dict(state)
    torch.testing.assert_close(late.cls_token, early.cls_token + early.pos_embed[:, :1])
    torch.testing.assert_close(late.pos_embed, early.pos_embed[:, 1:])
    assert state["pos_embed"].shape[1] == 17


def test_the_class_token_sees_every_patch_and_pooling_too():
    for token in ("late", "input", "none"):
        model = create("sa", **SMALL, class_token=token).double()
        images = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
        model(images).square().sum().backward()
        assert (images.grad != 0).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"img_size": 9}, "9x9 px cannot be cut into patches of 2 px; choose a size such as 8"),
        ({"img_size": 1}, "cannot be cut"),
        ({"patch_size": 0}, "cannot be cut"),
        ({"size": "huge"}, "no size 'huge'; choose nano, micro, tiny"),
        ({"size": Size(width=65, num_heads=4, depth=4)}, "a width of 65 cannot be shared by 4 heads"),
        ({"num_heads": 5}, "cannot be shared by 5 heads"),
        ({"spatial_layers": 4}, "4 spatial layers do not fit 4 layers with class_token=late; choose 0 to 3"),
        ({"spatial_layers": -1}, "do not fit"),
        ({"class_token": "early"}, "class_token='early' is not available; choose late, input, none"),
        ({"pos_embed": "rope"}, "choose learned, sincos, none"),
        ({"size": Size(width=66, num_heads=3, depth=2), "pos_embed": "sincos"}, "a width that 4 divides"),
        ({"num_classes": 0}, "at least 1"),
        ({"drop_path": 1.0}, "is no rate"),
        ({"backend": "turbo"}, "no backend 'turbo'"),
    ],
)
def test_each_mistake_is_a_sentence(change, says):
    with pytest.raises(ValueError, match=says):
        create("sa", **(SMALL | change))


def test_an_image_that_the_patch_does_not_divide_is_refused_at_the_forward_too():
    with pytest.raises(ValueError, match="7x8 px cannot be cut"):
        create("sa", **SMALL)(torch.randn(1, 1, 7, 8))


def test_published_weight_decay_exemptions():
    model = create("sp_sa", **SMALL)
    assert "blocks.0.attn.relation.function.b1" in model.no_weight_decay()
    assert {"pos_embed", "cls_token"} <= model.no_weight_decay()
    assert {*model.no_weight_decay()} - {name for name, _ in model.named_parameters()} == {"dist_token"}


@pytest.mark.parametrize(
    ("spec", "factors"),
    [
        ("sp_sa", {}),
        ("rpe_2d", {}),
        ("decomposed", {"backend": "sdpa"}),
        ("swin", {"pos_embed": "sincos"}),
        ("gpsa", {"pos_embed": "none", "class_token": "late", "spatial_layers": 1}),
    ],
)
def test_one_compiled_model_takes_images_of_several_sizes_without_a_graph_break(spec, factors):
    model = create(spec, size="nano", **SMALL, **factors).eval()
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        for px in (8, 12, 16):
            images = torch.randn(2, 1, px, px)
            torch.testing.assert_close(compiled(images), model(images))
