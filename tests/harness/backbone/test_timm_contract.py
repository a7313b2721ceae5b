"""What timm's ViTs offer, of each model that is registered with timm; timm's own tests, where TIMM_TESTS names them.

pip download timm==1.0.31 --no-deps --no-binary :all: && tar xf timm-1.0.31.tar.gz
TIMM_TESTS=timm-1.0.31/tests pytest tests/harness/backbone/test_timm_contract.py  # takes half an hour
"""

import os
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from xml.etree import ElementTree

import pytest
import timm
import torch
from timm.models import group_parameters
from timm.models._hub import save_for_hf
from torch import nn

from harness.backbone import contract, timm_models
from harness.backbone.contract import TimmViT
from harness.backbone.vit import ViT, create
from tests.support.mutants import noticed
from tests.support.paths import ROOT

NAMES = timm.list_models(module="timm_models")
TINY = "spatial_vit_tiny_patch16_224"
TOKEN_HEAD = "sp_vit_small_patch16_224"
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2, "num_classes": 5}
TOKENS = ("late", "input", "none")


def small(name=TINY, **given):
    """A model of that name that is quick: 4 blocks of 32 channels, of which 2 carry the variant; nothing is zero."""
    model = timm.create_model(name, **(SMALL | given)).eval()
    scatter(model)
    return model


def scatter(model):
    for parameter in model.parameters():
        if parameter.device.type != "meta":
            nn.init.normal_(parameter, std=0.2)


def images(height=32, width=32, channels=3, n=2):
    return torch.randn(n, channels, height, width)


# --- the forward in steps


def steps_are_the_forward(name, **given):
    """To the bit: the forward, its two steps, and the ViT of which this one is."""
    model = small(name, **given)
    _, size, spec = next(entry for entry in FAMILIES if name.startswith(entry[0]))
    plain = create(
        given.get("variant", spec), img_size=32, patch_size=8, num_classes=5,
        size=contract.replace(contract.size_of(size), width=32, depth=4, num_heads=2),
        **{k: v for k, v in given.items() if k in ("class_token", "pos_embed", "peg", "precision")},
    ).eval()  # fmt: skip
    assert type(plain) is ViT
    plain.load_state_dict(model.state_dict())
    for height, width in ((32, 32), (48, 24)):
        batch = images(height, width)
        with torch.no_grad():
            whole = model(batch)
            assert torch.equal(whole, model.forward_head(model.forward_features(batch)))
            assert torch.equal(whole, plain(batch))


FAMILIES = [(family, size, spec) for family, (size, spec) in timm_models.FAMILIES.items()]


@pytest.mark.parametrize("name", NAMES)
def test_head_of_features_is_the_forward_to_the_bit(name):
    steps_are_the_forward(name)


@pytest.mark.parametrize("class_token", TOKENS)
@pytest.mark.parametrize("given", [
    {"pos_embed": "learned", "peg": True}, {"pos_embed": "sincos"}, {"pos_embed": "none", "variant": "swin"},
    {"precision": "bfloat16"},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", [TINY, TOKEN_HEAD])
def test_head_of_features_is_the_forward_of_every_factor(name, class_token, given):
    steps_are_the_forward(name, class_token=class_token, **given)


def test_another_forward_is_noticed(monkeypatch):
    true = TimmViT.embed
    with monkeypatch.context() as patch, noticed():
        patch.setattr(TimmViT, "embed", lambda self, batch, box: (true(self, batch)[0].flip(1), true(self, batch)[1]))
        steps_are_the_forward(TINY)
    with monkeypatch.context() as patch, noticed():
        patch.setattr(TimmViT, "head_of", lambda self, tokens: self.head(self._pooled(tokens)))
        steps_are_the_forward(TOKEN_HEAD)
    with monkeypatch.context() as patch, noticed():
        patch.setattr(TimmViT, "_cast", lambda self, like: contract.nullcontext())
        steps_are_the_forward(TINY, precision="bfloat16")


# --- pooling and heads


def pooled_as_said(class_token, pool):
    model = small(class_token=class_token, global_pool=pool)
    with torch.no_grad():
        tokens = model.forward_features(images())
        found = model.forward_head(tokens, pre_logits=True)
    prefix = 0 if class_token == "none" else 1
    assert tokens.shape == (2, prefix + 16, 32)
    for image in range(2):
        patches = tokens[image, prefix:]
        wanted = {
            "": tokens[image],
            "token": tokens[image, 0],
            "avg": sum(patches) / 16,
            "max": patches.max(0).values,
            "avgmax": (sum(patches) / 16 + patches.max(0).values) / 2,
        }[pool]
        torch.testing.assert_close(found[image], wanted)
    assert model(images()).shape == ((2, prefix + 16, 5) if pool == "" else (2, 5))
    model.reset_classifier(0)
    assert torch.equal(model.forward_head(tokens), found)


@pytest.mark.parametrize("class_token", TOKENS)
@pytest.mark.parametrize("pool", contract.POOLS)
def test_pooling(class_token, pool):
    if (class_token, pool) == ("none", "token"):
        for wrong in (ValueError, AssertionError):  # timm asserts
            with pytest.raises(wrong, match="global_pool='token' is not available with no class token; choose 'avg'"):
                small(class_token="none", global_pool="token")
    else:
        pooled_as_said(class_token, pool)


def test_a_class_token_among_the_pooled_is_noticed(monkeypatch):
    true = contract.global_pool_nlc
    monkeypatch.setattr(contract, "global_pool_nlc", lambda x, pool, prefix: true(x, pool, prefix, True))
    for pool in ("avg", "max", "avgmax"):
        with noticed():
            pooled_as_said("late", pool)


def heads_are_reset(name):
    model = small(name)
    heads = ["head", "aux_head"] if "sp_vit" in name or "lv_vit" in name else ["head"]
    batch = images()
    with torch.no_grad():
        pre = model.forward_head(model.forward_features(batch), pre_logits=True)
        model.reset_classifier(0)
        assert model.num_classes == 0
        assert not [key for key in model.state_dict() if "head" in key]
        assert torch.equal(model(batch), pre)
        assert torch.equal(small_of_no_classes(name, model)(batch), pre)
    model.to(torch.float64).reset_classifier(7)
    assert [key for key in model.state_dict() if "head" in key] == [
        f"{h}.{k}" for h in heads for k in ("weight", "bias")
    ]
    assert model.get_classifier() is model.head
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model(batch.double()).shape == (2, 7)
    assert not any(module.training for module in model.modules())
    assert model.global_pool == "token"
    model.to("meta").reset_classifier(3, "avg")
    assert model.head.weight.device.type == "meta"
    assert model.global_pool == "avg"


def small_of_no_classes(name, like):
    model = small(name, num_classes=0)
    model.load_state_dict(like.state_dict())
    return model


@pytest.mark.parametrize("name", NAMES)
def test_reset_classifier(name):
    heads_are_reset(name)


def test_a_forgotten_token_head_is_noticed(monkeypatch):
    def forgetful(self, num_classes, global_pool=None):
        aux = self.aux_head
        true(self, num_classes, global_pool)
        self.aux_head = aux

    true = TimmViT.reset_classifier
    monkeypatch.setattr(TimmViT, "reset_classifier", forgetful)
    heads_are_reset(TINY)
    with noticed():
        heads_are_reset(TOKEN_HEAD)


def test_dropout_stands_where_its_rate_says():
    plain = small()
    for rate, place in (("drop_rate", "head_drop"), ("pos_drop_rate", "pos_drop")):
        model = small(**{rate: 0.5})
        model.load_state_dict(plain.state_dict())
        batch = images()
        assert torch.equal(model(batch), plain(batch))
        model.train()
        seen = []
        getattr(model, place).register_forward_hook(
            lambda _, __, out, seen=seen: seen.append(float((out == 0).float().mean()))
        )
        model(batch)
        assert 0.3 < seen[0] < 0.7


# --- intermediates


def intermediates_are_the_blocks_outputs(class_token, norm=False, fmt="NCHW"):
    """Compared with what hooks see of the blocks, on a grid that is not square."""
    model, batch, seen = small(class_token=class_token), images(48, 24), []
    hooks = [block.register_forward_hook(lambda _, __, out: seen.append(out)) for block in model.blocks]
    with torch.no_grad():
        final, found = model.forward_intermediates(batch, norm=norm, output_fmt=fmt, return_prefix_tokens=True)
        for hook in hooks:
            hook.remove()
        assert torch.equal(final, model.forward_features(batch))
        prefixes = {"late": [0, 0, 1, 1], "input": [1] * 4, "none": [0] * 4}[class_token]
        for out, prefix, entry in zip(seen, prefixes, found, strict=True):
            wanted = model.norm(out) if norm else out
            patches = wanted[:, prefix:]
            assert patches.shape == (2, 18, 32)
            if class_token != "none":  # timm's gives no pairs then
                entry, before = entry
                assert torch.equal(before, wanted[:, :prefix])
            if fmt == "NCHW":
                assert entry.shape == (2, 32, 6, 3)
                assert entry.is_contiguous()
                for y in range(6):
                    for x in range(3):
                        assert torch.equal(entry[:, :, y, x], patches[:, y * 3 + x])
            else:
                assert torch.equal(entry, patches)


@pytest.mark.parametrize("class_token", TOKENS)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("fmt", ["NCHW", "NLC"])
def test_intermediates(class_token, norm, fmt):
    intermediates_are_the_blocks_outputs(class_token, norm, fmt)


def test_wrong_intermediates_are_noticed(monkeypatch):
    true, join = TimmViT.forward_intermediates, TimmViT._with_tokens
    with monkeypatch.context() as patch, noticed():  # the norm is forgotten
        patch.setattr(TimmViT, "forward_intermediates", lambda self, x, norm, **given: true(self, x, **given))
        intermediates_are_the_blocks_outputs("late", norm=True)
    with monkeypatch.context() as patch, noticed():  # the class token stands last
        patch.setattr(TimmViT, "_with_tokens", lambda self, x: join(self, x).roll(-1, dims=1))
        intermediates_are_the_blocks_outputs("late")
        steps_are_the_forward(TINY)
    with monkeypatch.context() as patch, noticed():  # rows and columns are swapped
        true_embed = TimmViT.embed
        patch.setattr(TimmViT, "embed", lambda self, x, box=None: (true_embed(self, x)[0], self.grid_of(x)[::-1]))
        intermediates_are_the_blocks_outputs("none")


@pytest.mark.parametrize("name", NAMES)
def test_choice_of_intermediates(name):
    model, batch = small(name), images()
    with torch.no_grad():
        final, all_of_them = model.forward_intermediates(batch)
        same = {None: [0, 1, 2, 3], 1: [3], 3: [1, 2, 3], (0, -1): [0, 3], (-3,): [1]}
        for indices, numbers in same.items():
            chosen = model.forward_intermediates(batch, indices=indices, intermediates_only=True)
            assert len(chosen) == len(numbers)
            assert all(torch.equal(one, all_of_them[number]) for one, number in zip(chosen, numbers, strict=True))
        named = model.forward_intermediates(batch, indices=[1, 3], output_dict=True, return_prefix_tokens=True)
    assert set(named) == {"image_features", "image_intermediates", "image_intermediates_prefix"}
    assert torch.equal(named["image_features"], final)
    late = "lv_vit" not in name
    assert [prefix.shape[1] for prefix in named["image_intermediates_prefix"]] == [1 - late, 1]
    assert [info["num_chs"] for info in model.feature_info] == [32] * 4
    assert [info["reduction"] for info in model.feature_info] == [8] * 4
    assert all(isinstance(model.get_submodule(info["module"]), nn.Module) for info in model.feature_info)


def stops_early(model):
    ran = []
    for number, block in enumerate(model.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    final, found = model.forward_intermediates(images(), indices=[1], stop_early=True, output_fmt="NLC")
    assert ran == [0, 1]
    assert torch.equal(final, model.norm(found[0]))


def test_stop_early(monkeypatch):
    stops_early(small())
    true = TimmViT.forward_intermediates
    monkeypatch.setattr(
        TimmViT, "forward_intermediates", lambda self, x, stop_early=False, **given: true(self, x, **given)
    )
    with noticed():
        stops_early(small())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"indices": 5}, "indices=5 are not all among the 4 blocks; choose 1 to 4 for the last ones"),
        ({"indices": [0, 4]}, r"or a list of 0 to 3"),
        ({"output_fmt": "NHWC"}, "output_fmt='NHWC' is not available; choose NCHW or NLC"),
    ],
)
def test_wrong_intermediates_are_a_sentence(given, says):
    for wrong in (ValueError, AssertionError):
        with pytest.raises(wrong, match=says):
            small().forward_intermediates(images(), **given)


# --- features_only and pruning


@pytest.mark.parametrize("name", NAMES)
def test_features_only(name):
    whole = small(name, num_classes=0)
    features = timm.create_model(name, features_only=True, **SMALL).eval()
    assert features.feature_info.channels() == [32] * 3
    assert features.feature_info.reduction() == [8] * 3
    kept = {key: value for key, value in whole.state_dict().items() if not key.startswith("norm.")}
    features.model.load_state_dict(kept)
    batch = images(48, 24)
    with torch.no_grad():
        for one, other in zip(features(batch), whole.forward_intermediates(batch, 3)[1], strict=True):
            assert one.shape == (2, 32, 6, 3)
            assert torch.equal(one, other)
    first = timm.create_model(name, features_only=True, out_indices=(0, 1), **SMALL)
    assert [out.shape for out in first(batch)] == [(2, 32, 6, 3)] * 2
    sum(out.sum() for out in first(batch)).backward()
    assert [key for key, parameter in first.named_parameters() if parameter.grad is None] == []


def pruned_keeps_what_it_needs(name, class_token="late"):
    model, batch = small(name, class_token=class_token), images()
    with torch.no_grad():
        _, taps = model.forward_intermediates(batch)
        whole = model(batch)
    for last in range(4):
        pruned = deepcopy(model)
        assert pruned.prune_intermediate_layers([last]) == [last]
        (tap,) = pruned.forward_intermediates(batch, indices=[last], intermediates_only=True)
        assert torch.equal(tap, taps[last])
        assert len(pruned.blocks) == last + 1
        assert pruned.num_classes == 0
        pruned.forward_features(batch).sum().backward()
        assert [key for key, parameter in pruned.named_parameters() if parameter.grad is None] == []
        prefix = int(class_token == "input" or (class_token == "late" and last >= 2))
        assert pruned.num_prefix_tokens == prefix
        assert pruned(batch).shape == (2, 16 + prefix, 32)
        pruned.reset_classifier(3, "avg")
        assert pruned(batch).shape == (2, 3)
    kept = deepcopy(model)
    kept.prune_intermediate_layers([3], prune_head=False)
    assert torch.equal(kept(batch), whole)
    bare = deepcopy(model)
    bare.prune_intermediate_layers([1], prune_norm=True)
    assert torch.equal(bare.forward_intermediates(batch, output_fmt="NLC")[0][:, bare.num_prefix_tokens :],
                       model.forward_intermediates(batch, [1], output_fmt="NLC")[1][0])  # fmt: skip


@pytest.mark.parametrize("class_token", TOKENS)
@pytest.mark.parametrize("name", [TINY, TOKEN_HEAD])
def test_prune(name, class_token):
    pruned_keeps_what_it_needs(name, class_token)


def test_a_class_token_that_is_left_over_is_noticed(monkeypatch):
    monkeypatch.setattr(TimmViT, "prune_intermediate_layers", with_token_left(TimmViT.prune_intermediate_layers))
    pruned_keeps_what_it_needs(TINY, "input")
    with noticed():
        pruned_keeps_what_it_needs(TINY, "late")


def with_token_left(true):
    def prune(self, *args, **given):
        token = self.cls_token
        found = true(self, *args, **given)
        self.cls_token = token
        return found

    return prune


# --- training


def checkpointing_computes_again(model):
    ran, batch = [], images()
    model.train()

    def gradients():
        ran.clear()
        model.zero_grad()
        model(batch).square().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    model.blocks[1].norm1.register_forward_hook(lambda *_: ran.append(1))
    plain, once = gradients(), len(ran)
    model.set_grad_checkpointing()
    again, twice = gradients(), len(ran)
    assert (once, twice) == (1, 2)
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))
    model.set_grad_checkpointing(False)
    assert len(gradients()) == len(plain)
    assert len(ran) == 1


@pytest.mark.parametrize("name", [TINY, TOKEN_HEAD, "lv_vit_small_patch16_224"])
def test_grad_checkpointing(name, monkeypatch):
    checkpointing_computes_again(small(name))
    monkeypatch.setattr(TimmViT, "set_grad_checkpointing", lambda self, enable=True: None)
    with noticed():
        checkpointing_computes_again(small(name))


def depth_orders_the_groups(model):
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    assert set(groups) == {key for key, _ in model.named_parameters()}
    for key, group in groups.items():
        part = key.split(".")
        if part[0] in ("cls_token", "pos_embed", "patch_embed"):
            assert group == 0, key
        elif part[0] == "blocks":
            assert group == 1 + int(part[1]), key
        else:
            assert group == {"norm": 4, "head": 5, "aux_head": 5}[part[0]], key
    keys = {key for key, _ in model.named_parameters()}
    for key in model.no_weight_decay():  # as timm's own tests: a parameter, or one that this model has not
        assert key in keys or getattr(model, key) is None


@pytest.mark.parametrize("name", NAMES)
def test_parameter_groups(name, monkeypatch):
    depth_orders_the_groups(small(name))
    depth_orders_the_groups(small(name, class_token="none", pos_embed="none", peg=True))
    monkeypatch.setattr(
        TimmViT, "group_matcher", lambda self, coarse=False: {"stem": "^patch_embed", "blocks": r"^blocks\.(\d+)"}
    )
    with noticed():
        depth_orders_the_groups(small(name))


# --- sizes


def resized_as_is(model, px, patch=8):
    """The function on images of the new size stays; what is frozen stays frozen; timm's tools see the size."""
    batch = images(*px)
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    with torch.no_grad():
        before = model(batch)
        model.set_input_size(px)
        torch.testing.assert_close(model(batch), before)
    assert [key for key, parameter in model.named_parameters() if parameter.requires_grad] == [
        "head.weight",
        "head.bias",
    ]
    grid = (px[0] // patch, px[1] // patch)
    assert (model.grid, model.patch_embed.grid_size, model.patch_embed.img_size) == (grid, grid, px)
    assert model.pos_embed.shape[1] == grid[0] * grid[1]
    if contract.note_size is not None:
        assert timm.models.get_model_input_config(model)["input_size"] == (3, *px)


@pytest.mark.parametrize("variant", ["sa", "sp_sa", "rpe_2d[mode=bias]"])
def test_set_input_size(variant, monkeypatch):
    resized_as_is(small(variant=variant), (48, 24))
    monkeypatch.setattr(TimmViT, "set_grid", ViT.set_grid)
    with noticed():
        resized_as_is(small(variant=variant), (48, 24))


def test_set_patch_size_is_timms():
    ours, theirs = small(in_chans=1), timm.layers.PatchEmbed(32, 8, 1, 32)
    theirs.proj.load_state_dict(ours.patch_embed.proj.state_dict())
    ours.set_input_size(patch_size=16)
    theirs.set_input_size(patch_size=16)
    batch = images(channels=1)
    assert torch.equal(ours.patch_embed(batch), theirs(batch))
    assert (ours.grid, ours.patch_size, ours.feature_info[0]["reduction"]) == ((2, 2), 16, 16)
    assert ours(batch).shape == (2, 5)
    stem = small(TOKEN_HEAD)
    stem.set_input_size(64, (16, 16))
    assert stem(images(64, 64)).shape == (2, 5)
    assert stem.patch_embed.proj.kernel_size == (8, 8)


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        (TINY, {"img_size": 33}, "33x33 px cannot be cut into patches of 8 px"),
        (TINY, {"patch_size": (8, 4)}, r"a patch of \(8, 4\) px is not square; choose one number"),
        (TOKEN_HEAD, {"img_size": 30, "patch_size": 5}, "a patch of 5 px is not available; choose an even one"),
    ],
)
def test_a_wrong_size_is_a_sentence_and_changes_nothing(name, given, says):
    model = small(name)
    with pytest.raises(ValueError, match=says):
        model.set_input_size(**given)
    assert model(images()).shape == (2, 5)
    assert model.patch_size == 8


def test_a_strict_size_is_kept_to():
    model = small(dynamic_img_size=False)
    assert model(images()).shape == (2, 5)
    with pytest.raises(
        ValueError, match="48x24 px is not of the training size, 32x32 px; create the model with dynamic"
    ):
        model(images(48, 24))
    model.set_input_size((48, 24))
    assert model(images(48, 24)).shape == (2, 5)


# --- the registry


@pytest.mark.parametrize("name", NAMES)
def test_a_cfg_names_what_the_model_has(name):
    with torch.device("meta"):
        model = timm.create_model(name, in_chans=4, num_classes=7)
    state, cfg = model.state_dict(), model.pretrained_cfg
    px = int(name.rpartition("_")[2])
    assert (cfg["architecture"], cfg["input_size"], cfg["num_classes"]) == (name, (3, px, px), 1000)
    assert cfg is model.default_cfg
    assert state[f"{cfg['first_conv']}.weight"].shape[1] == model.in_chans == 4
    classifier = (cfg["classifier"],) if isinstance(cfg["classifier"], str) else cfg["classifier"]
    assert {key.partition(".")[0] for key in state if "head" in key} == set(classifier)
    assert all(state[f"{one}.weight"].shape[0] == 7 for one in classifier)
    assert model.num_features == model.head_hidden_size == model.embed_dim == state["norm.weight"].shape[0]
    assert timm.is_model(name)
    assert timm.get_pretrained_cfg(name).input_size == (3, px, px)
    assert timm.list_models(f"{name}*", include_tags=True) == [name]
    assert name not in timm.list_models("*vit*", pretrained=True)
    for given in ({}, {"features_only": True}):
        with pytest.raises(ValueError, match=f"{name} has no hosted weights; create it with pretrained=False and load"):
            timm.create_model(name, pretrained=True, **given)
    with pytest.raises(TypeError, match="not_an_argument"):
        timm.create_model(name, not_an_argument=1)


def test_the_families_are_found_by_their_filters():
    assert len(NAMES) == 2 * len(timm_models.FAMILIES) == len(set(NAMES))
    assert timm.list_models("lv_vit*") == [name for name in NAMES if name.startswith("lv_vit")]
    assert timm.list_models("sp_vit*", exclude_filters="*384") == [
        f"sp_vit_{s}_patch16_224" for s in ("large", "medium", "small")
    ]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"attn_drop_rate": 0.1},
            "attn_drop_rate=0.1 is not available: no attention here drops weights; use drop_path_rate",
        ),
        ({"proj_drop_rate": 0.1}, "proj_drop_rate=0.1 is not available: the layers drop whole branches alone"),
        ({"patch_drop_rate": 0.1}, "needs every patch of the grid"),
        ({"dynamic_img_pad": True}, "images are not padded; choose a size that the patch divides"),
        ({"drop_rate": 1.0}, "drop_rate=1.0 is no rate; choose 0 or more and less than 1"),
        ({"pos_drop_rate": -0.1}, "pos_drop_rate=-0.1 is no rate"),
        ({"drop_path_rate": 1.0}, "is no rate"),
        ({"num_classes": -1}, "num_classes=-1 must be at least 0; 0 leaves the head out"),
        ({"global_pool": "map"}, "global_pool='map' is not available; choose 'token', 'avg', 'max', 'avgmax', ''"),
        ({"img_size": 33}, "33x33 px cannot be cut"),
        ({"depth": 1}, "do not fit 1 layers"),
    ],
)
def test_what_cannot_be_had_is_a_sentence(given, says):
    with pytest.raises(ValueError, match=says):
        small(**given)
    zero = {key: 0.0 for key in given if key in contract.ABSENT}
    assert small(**zero)(images()).shape == (2, 5)


def test_a_model_is_on_the_device_and_of_the_type_that_are_named():
    model = timm.create_model(TOKEN_HEAD, device="meta", dtype=torch.bfloat16)
    tensors = [*model.parameters(), *model.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert {tensor.dtype for tensor in tensors if tensor.is_floating_point()} == {torch.bfloat16}


def saved_is_restored(folder, **given):
    model = small(TOKEN_HEAD, variant="swin+rpe_2d[mode=bias]", **given)
    model.set_input_size((48, 32), 16)
    model.reset_classifier(3)
    scatter(model)
    save_for_hf(model, folder)
    again = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    batch = images(48, 32)
    with torch.no_grad():
        assert torch.equal(again(batch), model(batch))
        other, wider = timm.create_model(f"local-dir:{folder}", pretrained=True, img_size=64).eval(), images(64, 64)
        torch.testing.assert_close(other(wider), model(wider))
        assert other.grid == (4, 4)
        adapted = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=2, in_chans=1).eval()
        assert adapted(batch[:, :1]).shape == (2, 2)
    assert torch.equal(adapted.blocks[1].mlp.fc1.weight, model.blocks[1].mlp.fc1.weight)


@pytest.mark.skipif(contract.note_size is None, reason="this timm's exports say no size; install timm>=1.0.31")
def test_a_folder_of_timms_holds_variant_size_and_weights(tmp_path, monkeypatch):
    saved_is_restored(tmp_path / "true")
    with monkeypatch.context() as patch, noticed():
        patch.setattr(timm_models, "fitted", lambda state, _: {key: value + 1 for key, value in state.items()})
        saved_is_restored(tmp_path / "planted")
    true = contract.note_size
    with monkeypatch.context() as patch, noticed():  # the windows of the first grid are forgotten
        patch.setattr(contract, "note_size", lambda model, px, first_grid, **given: true(model, px, **given))
        saved_is_restored(tmp_path / "windows")


@pytest.mark.parametrize("entry_of_the_token", [False, True])
def test_a_file_of_weights_for_another_size_is_resampled(tmp_path, entry_of_the_token):
    model = small(img_size=224, patch_size=16)
    state = model.state_dict()
    if entry_of_the_token:  # as in timm's, where the class token has a position
        state |= {"pos_embed": nn.functional.pad(state["pos_embed"], (0, 0, 1, 0), value=0.5),
                  "cls_token": state["cls_token"] - 0.5}  # fmt: skip
    torch.save(state, tmp_path / "224.pth")
    overlay = {"file": str(tmp_path / "224.pth"), "num_classes": 5}
    given = SMALL | {"img_size": (64, 32), "patch_size": 16}
    other = timm.create_model(TINY, pretrained=True, pretrained_cfg_overlay=overlay, **given).eval()
    batch = images(64, 32)
    with torch.no_grad():
        torch.testing.assert_close(other(batch), model(batch))
    assert other.pos_embed.shape == (1, 8, 32)


def test_fx_takes_blocks_as_a_whole():
    for given in ({}, {"pos_embed": "sincos"}, {"class_token": "input"}, {"dynamic_img_size": False}):
        model, batch = small(**given), images()
        graph = timm.models.create_feature_extractor(model, {"head": "head", "blocks.2": "block"})
        with torch.no_grad():
            found = graph(batch)
            assert torch.equal(found["head"], model(batch))
            wanted = model.forward_intermediates(batch, [2], intermediates_only=True, output_fmt="NLC")[0]
            assert torch.equal(found["block"][:, 1:], wanted)
            with noticed():
                assert torch.equal(found["head"], model(batch + 1))


# --- timm's own tests

SCRIPTED = {"test_model_forward_torchscript", "test_model_forward_fx_torchscript"}  # see the README
WHERE = os.environ.get("TIMM_TESTS", "")
REASON = "set TIMM_TESTS to the folder `tests` of timm's source: pip download timm --no-deps --no-binary :all:"


def outcomes(folder, *options):
    """By outcome the tests of timm's that ran, as (test, name of the model)."""
    shutil.copy(Path(WHERE) / "test_models.py", folder)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.timms_own", "-p", "no:cacheprovider",
               "-W", "ignore", f"--rootdir={folder}", "--junitxml=found.xml", "test_models.py", *options]  # fmt: skip
    paths = os.pathsep.join([str(folder), str(ROOT)])
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, check=False, capture_output=True)
    found = {"passed": set(), "failed": set(), "skipped": set()}
    for case in ElementTree.parse(folder / "found.xml").iter("testcase"):
        test, _, params = case.get("name").partition("[")
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[outcome].add((test, params.rstrip("]").rpartition("-")[2]))
    return found


@pytest.mark.skipif(not WHERE, reason=REASON)
def test_timms_own_tests(tmp_path):
    found = outcomes(tmp_path)
    assert found["failed"] <= {(test, name) for test in SCRIPTED for name in NAMES}
    tests = {test for test, _ in found["passed"]}
    assert len(tests) == 10
    wanted = {(test, name) for test in tests for name in NAMES if name.endswith("224")}
    assert wanted - found["passed"] == {
        ("test_prune_class_token_avg_pool", name) for name in NAMES if "lv_vit" in name and name.endswith("224")
    }  # which is of late class tokens


@pytest.mark.skipif(not WHERE, reason=REASON)
def test_timms_own_tests_notice_a_class_token_that_is_left_over(tmp_path):
    (tmp_path / "planted.py").write_text(
        "from harness.backbone.contract import TimmViT\n"
        "true = TimmViT.prune_intermediate_layers\n"
        "def prune(self, *args, **given):\n"
        "    token = self.cls_token\n"
        "    found = true(self, *args, **given)\n"
        "    self.cls_token = token\n"
        "    return found\n"
        "TimmViT.prune_intermediate_layers = prune\n"
    )
    chosen = f"{TINY} and params_used"
    assert outcomes(tmp_path, "-k", chosen)["failed"] == set()
    assert ("test_prune_intermediate_layers_params_used", TINY) in outcomes(tmp_path, "-p", "planted", "-k", chosen)[
        "failed"
    ]
