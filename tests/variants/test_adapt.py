"""adapt: models of timm and of transformers carry a variant, and are otherwise what they were."""

import copy
import io

import pytest
import timm
import torch
from timm.layers import Attention as TimmAttention
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from torch import nn

import variants
from variants import Unsupported, adapt, fold, keep_terms
from variants.adapt import OfTimm

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
SMALL = {"img_size": 64, "depth": 2, "embed_dim": 32, "num_heads": 4, "num_classes": 5}
TIMM = {  # what each has that the others do not: its arguments
    "deit_tiny_patch16_224": {},
    "deit_tiny_distilled_patch16_224": {},  # two prefix tokens, a second head
    "vit_base_patch16_siglip_224": {},  # no prefix token, pooled by attention
    "vit_medium_patch16_reg4_gap_256": {"qk_norm": True},  # registers, norms of q and k
    "vit_small_patch14_reg4_dinov2": {"img_size": 56, "init_values": 0.5},  # layer scale
    "vit_small_patch16_dinov3": {},  # rotary, halves turned, layer scale
    "eva_giant_patch14_224": {"img_size": 56},  # biases of q and v apart
    "eva02_base_patch14_224": {"img_size": 56},  # three projections, rotary
    "vit_base_patch16_rope_mixed_224": {},  # a rotation for each layer
    "vit_small_patch16_224": {"scale_attn_norm": True, "proj_bias": False},
}


def drawn(model, std=0.2):
    """The model in eval mode with random weights everywhere: what starts at zero or near it hides what is lost."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = noise * std + ("norm" in name and name.endswith("weight"))
    return model.eval()


def made(name, **changed):
    return drawn(timm.create_model(name, **{**SMALL, **TIMM.get(name, {}), **changed}))


def images(model, batch=2, size=None):
    side = size or model.patch_embed.img_size
    return torch.randn(batch, 3, *side, generator=torch.Generator().manual_seed(2))


def away(model):
    """What the variant brought, away from its start."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if ".spatial." in name:
            parameter.data += 0.5 * torch.randn(parameter.shape, generator=generator)
    return model


def keeps_its_logits(model, x, changed=lambda adapted: adapted):
    with torch.no_grad():
        before = model(x)
        after = changed(adapt(copy.deepcopy(model), "sp_sa"))(x)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    return before


@pytest.mark.parametrize("name", TIMM)
def test_a_start_as_plain_attention_gives_the_logits(name):
    model = made(name)
    before = keeps_its_logits(model, images(model))
    assert before.std() > 1e-2
    adapted = away(adapt(model, "sp_sa", layers=1))
    assert (adapted(images(model)) - before).abs().max() > 1e-3


def without(name):
    """An error to plant: a part of the model that the layer forgets."""

    def plant(model):
        for block in model.blocks:
            if name == "num_prefix_tokens":
                block.attn.num_prefix_tokens = 0
            elif isinstance(getattr(block.attn, name), nn.Parameter):
                getattr(block.attn, name).data.zero_()
            else:
                setattr(block.attn, name, nn.Identity())
        return model

    return plant


@pytest.mark.parametrize(("name", "part"), [
    ("vit_medium_patch16_reg4_gap_256", "q_norm"), ("vit_medium_patch16_reg4_gap_256", "k_norm"),
    ("eva_giant_patch14_224", "q_bias"), ("eva_giant_patch14_224", "v_bias"), ("vit_small_patch16_224", "norm"),
])  # fmt: skip
def test_a_part_that_is_forgotten_is_seen(name, part):
    model = made(name)
    with pytest.raises(AssertionError, match="not close"):
        keeps_its_logits(model, images(model), without(part))


def test_a_rotation_that_is_forgotten_is_seen(monkeypatch):
    model = drawn(made("vit_small_patch16_dinov3"), std=0.5)
    keeps_its_logits(model, images(model))
    monkeypatch.setattr(OfTimm, "_turned", lambda self, x, rope: x)
    with pytest.raises(AssertionError, match="not close"):
        keeps_its_logits(model, images(model))


def by_hand(model, spec, x, grid, order=(0, 1)):
    """The model with another forward in its attentions: a layer of `build` that has a copy of the model's weights."""
    other = copy.deepcopy(model)
    shared = {}
    for layer, block in enumerate(other.blocks):
        ours = variants.build(spec, 32, 4, grid=grid, layer=layer, depth=len(other.blocks), shared=shared)
        ours.load_state_dict(block.attn.state_dict(), strict=False)
        ours.relation.load_state_dict(model.blocks[order[layer]].attn.spatial.relation.state_dict())
        block.attn = ours
        block.attn.forward = lambda x, ours=ours, **_: type(ours).forward(ours, x, grid)
    other.patch_embed._forward_pre_hooks.clear()
    return other(x)


@pytest.mark.parametrize("spec", ["sp_sa", "rpe_2d", "swin+rel_bias", "sp_sa[scope=network]", "lookhere"])
def test_the_variant_is_the_layer_that_build_makes(spec):
    model = away(adapt(made("deit_tiny_distilled_patch16_224"), spec))
    x = images(model)
    torch.testing.assert_close(model(x), by_hand(model, spec, x, (4, 4)), rtol=1e-5, atol=1e-5)
    if spec == "sp_sa":
        with pytest.raises(AssertionError, match="not close"):
            torch.testing.assert_close(model(x), by_hand(model, spec, x, (4, 4), (1, 0)), rtol=1e-5, atol=1e-5)


def test_the_names_of_the_weights_stay():
    plain = made("eva02_base_patch14_224")
    adapted = adapt(copy.deepcopy(plain), "sp_sa", layers=1)
    assert {name for name in adapted.state_dict() if ".spatial." not in name} == set(plain.state_dict())
    assert {name[:20] for name in adapted.state_dict() if ".spatial." in name} == {"blocks.0.attn.spatia"}
    left = adapted.load_state_dict(plain.state_dict(), strict=False)
    assert not left.unexpected_keys
    assert all(".spatial.relation." in name for name in left.missing_keys)
    other = adapt(copy.deepcopy(plain), "sp_sa", layers=1)
    other.load_state_dict(away(adapted).state_dict())
    x = images(plain)
    assert torch.equal(other(x), adapted(x))
    assert not torch.equal(other(x), plain(x))


def test_copies_and_files_are_models_of_their_own():
    model = away(adapt(made("deit_tiny_patch16_224", dynamic_img_size=True), "sp_sa"))
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        place = other.blocks[0].attn.place
        assert place is other.blocks[1].attn.place is not model.blocks[0].attn.place
        wide = images(model, size=(32, 128))
        truth = other(wide)
        model(images(model))
        assert torch.equal(model(wide), truth)
        assert place.grid_of(17) == (2, 8)
        assert model.blocks[0].attn.place is not place


def test_modes_and_gradients():
    model = adapt(made("vit_medium_patch16_reg4_gap_256"), "sp_sa", layers=1)
    model.train()(images(model)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.blocks[0].attn.spatial.training
    assert not model.eval().blocks[0].attn.spatial.training
    assert not adapt(made("deit_tiny_patch16_224").eval(), "sp_sa").blocks[0].attn.spatial.training


def test_a_write_to_a_weight_is_seen_at_once():
    """LeViT and TinyViT of timm keep the biases of their first evaluation."""
    model = adapt(made("deit_tiny_patch16_224"), "rel_bias").eval()
    x = images(model)
    with torch.no_grad():
        before = model(x)
        away(model)
        after = model(x)
        assert (after - before).abs().max() > 1e-3
        with keep_terms(model):
            torch.testing.assert_close(model(x), after)


def test_dropouts_are_those_of_the_model():
    """With a rate of the weights, of the output, or of paths the model and ours draw the same masks."""
    x = torch.randn(2, 17, 32)
    for rates in ({"attn_drop": 0.4}, {"proj_drop": 0.4}, {"attn_drop": 0.2, "proj_drop": 0.3}):
        host = TimmAttention(32, num_heads=4, qkv_bias=True, **rates)
        host.fused_attn = False  # torch's fused kernel draws in its own order
        model = made("deit_tiny_patch16_224", depth=1, attn_drop_rate=rates.get("attn_drop", 0.0))
        model.blocks[0].attn = copy.deepcopy(host)
        adapted = adapt(model, "sp_sa").train().blocks[0].attn
        torch.manual_seed(4)
        truth = host.train()(x)
        torch.manual_seed(4)
        torch.testing.assert_close(adapted(x), truth, rtol=1e-5, atol=1e-5)
        torch.manual_seed(5)
        assert (adapted(x) - truth).abs().max() > 1e-2


def test_grids_are_those_of_the_images():
    """2x8 patches are as many as 4x4 and other offsets; the position embedding is the model's matter."""
    model = away(adapt(made("deit_tiny_patch16_224", dynamic_img_size=True), "sp_sa"))
    for size, grid in (((64, 64), (4, 4)), ((32, 128), (2, 8)), ((48, 80), (3, 5)), ((64, 64), (4, 4))):
        x = images(model, size=size)
        torch.testing.assert_close(model(x), by_hand(model, "sp_sa", x, grid), rtol=1e-5, atol=1e-5)
    x = images(model, size=(32, 128))
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(model(x), by_hand(model, "sp_sa", x, (4, 4)), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"30 tokens, 1 of them before.* give 17 for 4x4 patches"):
        model.blocks(torch.randn(1, 30, 32))


def test_a_new_input_size_and_a_new_head():
    model = adapt(made("vit_small_patch16_dinov3"), "rel_bias")
    model.set_input_size(img_size=(48, 80))
    model.reset_classifier(3)
    assert model(images(model)).shape == (2, 3)
    assert model.blocks[0].attn.place.grid_of(5 + 15) == (3, 5)
    model.set_grad_checkpointing()
    model.train()(images(model)).sum().backward()
    assert model.blocks[0].attn.spatial.relation.tables[0].grad is not None


def test_one_graph_for_each_size():
    torch._dynamo.reset()
    model = away(adapt(made("deit_tiny_patch16_224", dynamic_img_size=True), "sp_sa", layers=1))
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for size in ((64, 64), (32, 128), (64, 64)):
        torch.testing.assert_close(compiled(images(model, size=size)), model(images(model, size=size)))


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "eva02_base_patch14_224"])
def test_an_exported_graph_holds_for_any_batch(name):
    model = away(adapt(made(name, depth=1), "swin+rel_bias"))
    batch = ({0: torch.export.Dim("batch", min=1, max=64)},)
    exported = torch.export.export(model, (images(model),), dynamic_shapes=batch).module()
    for number in (1, 5):
        torch.testing.assert_close(exported(images(model, number)), model(images(model, number)), rtol=1e-4, atol=1e-4)


def test_half_precision():
    model = adapt(made("eva02_base_patch14_224").bfloat16(), "sp_sa")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model(images(model).bfloat16()).dtype == torch.bfloat16


def test_a_model_inside_another():
    inner = made("deit_tiny_patch16_224")
    both = adapt(nn.Sequential(copy.deepcopy(inner), nn.Identity()), "sp_sa")
    assert both.no_weight_decay() == {f"0.blocks.{i}.attn.spatial.relation.function.b1" for i in range(2)}
    torch.testing.assert_close(both(images(inner)), inner(images(inner)), rtol=1e-5, atol=1e-5)


def test_what_a_recipe_does_not_decay_timm_does_not():
    model = adapt(made("deit_tiny_patch16_224"), "rel_bias")
    groups = create_optimizer_v2(copy.deepcopy(model), "adamw", weight_decay=0.1).param_groups
    decayed = {tuple(p.shape) for group in groups if group["weight_decay"] for p in group["params"]}
    assert tuple(model.blocks[0].attn.spatial.relation.tables[0].shape) not in decayed
    assert "pos_embed" in model.no_weight_decay()


@pytest.mark.parametrize("spec", ["rel_bias", "rope_mixed", "sp_sa", "sp_sa[scope=network]", "gpsa"])
def test_layer_decay_gives_a_term_the_rate_of_its_layer(spec):
    """What all layers share has the first one's; timm trains its own shared positions at the head's (findings)."""
    model = adapt(timm.create_model("deit_tiny_patch16_224", **SMALL | {"depth": 3}), spec)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = param_groups_layer_decay(model, 0.05, model.no_weight_decay(), layer_decay=0.5)
    rates = {names[id(parameter)]: group["lr_scale"] for group in groups for parameter in group["params"]}
    own = {name: rate for name, rate in rates.items() if ".spatial." in name}
    assert own
    for name, rate in own.items():
        assert rate == rates[f"blocks.{name.split('.')[1]}.mlp.fc1.weight"]
    assert {name.split(".")[1] for name in own} == ({"0"} if "network" in spec else {"0", "1", "2"})
    assert len({rates[f"blocks.{k}.mlp.fc1.weight"] for k in range(3)}) == 3


def test_seeds_decide_and_nothing_else_is_drawn():
    torch.manual_seed(7)
    plain, stream = made("deit_tiny_patch16_224"), torch.get_rng_state()
    first, second = (adapt(copy.deepcopy(plain), "rel_bias") for _ in range(2))
    assert torch.equal(torch.get_rng_state(), stream)
    tables = [model.blocks[0].attn.spatial.relation.tables[0] for model in (first, second)]
    assert torch.equal(*tables)
    torch.manual_seed(8)
    assert not torch.equal(adapt(plain, "rel_bias").blocks[0].attn.spatial.relation.tables[0], tables[0])


@pytest.mark.parametrize(("name", "spec", "sentence"), [
    ("levit_128s", "sp_sa", "LevitDistilled holds 0 models of a known kind; adapt wants one of timm's VisionTransf"),
    ("tiny_vit_5m_224", "sp_sa", "TinyVit holds 0 .*transformers' ViTModel"),
    ("deit_tiny_patch16_224", "cosine", "cosine projects q and k in a way of its own.*build it anew"),
    ("deit_tiny_patch16_224", "psa[init=convit]", "would write over the model's weights.*init=local"),
    ("deit_tiny_patch16_224", "sp_as", "there is no variant 'sp_as'; did you mean 'sp_sa'"),
    ("vit_small_patch16_dinov3", "rpe_2d", "has rotary embeddings already.*choose a prior"),
    ("vit_small_patch16_dinov3", "rope_mixed", "has rotary embeddings already.*choose a prior"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_sentence(name, spec, sentence):
    model = timm.create_model(name) if "vit_5m" in name or "levit" in name else made(name)
    before = set(model.state_dict())
    with pytest.raises(ValueError, match=sentence):
        adapt(model, spec)
    assert set(model.state_dict()) == before


class Subclass(timm.models.VisionTransformer):
    """It may order its tokens in another way."""


@pytest.mark.parametrize(("changed", "sentence"), [
    ({"patch_drop_rate": 0.5}, "patch_drop_rate=0.5 leaves tokens without a grid"),
    ({"attn_layer": "diff"}, "2 blocks and 0 attentions of a known kind"),
    ({"block_fn": timm.models.vision_transformer.ParallelThingsBlock}, "2 blocks and 4 attentions"),
])  # fmt: skip
def test_a_model_of_another_kind_is_refused(changed, sentence):
    with pytest.raises(Unsupported, match=sentence):
        adapt(made("vit_small_patch16_224", scale_attn_norm=False, proj_bias=True, **changed), "sp_sa")


def test_more_that_is_refused():
    with pytest.raises(Unsupported, match=r"Subclass holds 0 models .*\(no subclass\)"):
        adapt(Subclass(depth=1), "sp_sa")
    model = made("deit_tiny_patch16_224")
    for layers in (0, 3, 1.0, True):
        with pytest.raises(ValueError, match=f"layers={layers} does not fit a model of 2 layers; choose 1 to 2"):
            adapt(model, "sp_sa", layers=layers)
    with pytest.raises(Unsupported, match=r"LePE adds to what the attention mixes, so a dropout of 0\.1"):
        adapt(made("deit_tiny_patch16_224", attn_drop_rate=0.1), "lepe")
    adapt(model, "sp_sa")
    with pytest.raises(Unsupported, match="carries a variant; adapt a fresh model"):
        adapt(model, "sp_sa")
    with pytest.raises(Unsupported, match="no attn_mask and is not causal"):
        model(images(model), is_causal=True)
    with pytest.raises(Unsupported, match="no attn_mask"):
        model(images(model), attn_mask=torch.ones(17, 17, dtype=torch.bool))
    other = made("deit_tiny_patch16_224")
    other.blocks[1].attn.scale = 1.0
    with pytest.raises(Unsupported, match=r"scales its scores by 1, a variant by 1/sqrt\(8\)"):
        adapt(other, "sp_sa")


def of_transformers(kind, **more):
    """A small model of transformers with a head, and its images."""
    library = pytest.importorskip("transformers", minversion="5", reason="transformers 5 is not installed")
    config = getattr(library, f"{kind}Config")(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32, patch_size=8,
        **more,
    )  # fmt: skip
    return drawn(getattr(library, f"{kind}ForImageClassification")(config), std=0.3)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["ViT", "DeiT", "Dinov2", "Dinov2WithRegisters"])
def test_models_of_transformers(kind, attention):
    model = of_transformers(kind, attn_implementation=attention)
    x = torch.randn(2, 3, 32, 32)
    before = model(x).logits
    adapted = adapt(copy.deepcopy(model), "sp_sa")
    torch.testing.assert_close(adapted(x).logits, before, rtol=1e-5, atol=1e-5)
    assert {name for name in adapted.state_dict() if ".spatial." not in name} == set(model.state_dict())
    after = away(adapted)(x).logits
    assert (after - before).abs().max() > 1e-4
    torch.testing.assert_close(fold(adapted)(x).logits, after, rtol=1e-5, atol=1e-5)
    with pytest.raises(Unsupported, match=r"output_attentions=True.*attention\.spatial\.weights"):
        adapted(x, output_attentions=True)


@pytest.mark.parametrize("kind", ["ViT", "Dinov2"])
def test_transformers_at_another_size(kind):
    model, wide = of_transformers(kind), torch.randn(2, 3, 16, 64)
    before = model(wide, interpolate_pos_encoding=True).logits
    adapted = adapt(model, "sp_sa")
    torch.testing.assert_close(adapted(wide, interpolate_pos_encoding=True).logits, before, rtol=1e-5, atol=1e-5)
    place = next(module.place for module in adapted.modules() if hasattr(module, "place"))
    assert place.grid_of(17) == (2, 8)


def test_transformers_prefix_tokens_are_counted():
    """One too few is no grid any more."""
    model = of_transformers("Dinov2WithRegisters")
    adapted = adapt(model, "sp_sa")
    next(module.place for module in adapted.modules() if hasattr(module, "place")).prefix -= 1
    with pytest.raises(ValueError, match="are of no image"):
        adapted(torch.randn(1, 3, 32, 32))
