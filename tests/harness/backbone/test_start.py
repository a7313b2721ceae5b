"""Studies that start from weights: the same logits where everything fits, resampled where it does not, else refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from harness.backbone import start as module
from harness.backbone.start import start, weights
from harness.backbone.vit import create
from harness.jobs.experiment import START
from harness.presets import digits
from harness.results import source
from tests.support.cells import experiment, work

BODY = {"img_size": 8, "patch_size": 2, "in_chans": 3, "num_classes": 10}
OURS = {"size": "nano", "class_token": "input", **BODY}


@pytest.fixture(scope="module")
def reference():
    """A small model of timm's with weights that differ everywhere from those it was made with."""
    torch.manual_seed(0)
    model = VisionTransformer(**BODY, embed_dim=64, depth=2, num_heads=4).eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@pytest.fixture
def file(reference, tmp_path):
    save_file(reference.state_dict(), tmp_path / "weights.safetensors")
    return str(tmp_path / "weights.safetensors")


def started(file, spec="sa", **settings):
    weights.cache_clear()
    model = create(spec, **(OURS | settings), seed=5).eval()
    start(model, weights(file))
    return model


@torch.no_grad()
def test_plain_attention_has_timms_logits(reference, file):
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(started(file)(images), reference(images))


@torch.no_grad()
def test_a_start_that_forgot_the_attention_would_be_seen(reference, file, monkeypatch):
    images, true = torch.randn(2, 3, 8, 8), module.resampled
    monkeypatch.setattr(module, "_added", lambda name: ".attn." in name)
    monkeypatch.setattr(module, "resampled", lambda state, *rest: {
        name: tensor for name, tensor in true(state, *rest).items() if ".attn." not in name
    })  # fmt: skip
    assert (started(file)(images) - reference(images)).abs().max() > 1e-2


@pytest.mark.parametrize("spec", ["sp_sa", "psa", "rpe_2d", "swin", "rope_mixed", "lepe"])
def test_a_variant_keeps_its_own_initial_values_and_takes_all_others(reference, file, spec):
    own, model, theirs = (
        create(spec, **OURS, seed=5).state_dict(),
        started(file, spec).state_dict(),
        reference.state_dict(),
    )
    for name, tensor in model.items():
        assert torch.equal(tensor, theirs[name] if name in theirs else own[name]), name
    assert set(theirs) <= set(model)


def test_the_variant_of_a_study_that_is_saved_starts_the_next_one(tmp_path):
    first = create("sp_sa", **OURS, seed=1)
    save_file(first.state_dict(), tmp_path / "sp_sa.safetensors")
    second = started(str(tmp_path / "sp_sa.safetensors"), "sp_sa").state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.state_dict().items())


@torch.no_grad()
def test_another_grid_is_resampled_as_timm_does(reference, file):
    bigger = VisionTransformer(**(BODY | {"img_size": 12}), embed_dim=64, depth=2, num_heads=4).eval()
    state = timm.models.vision_transformer.checkpoint_filter_fn(reference.state_dict(), bigger)
    bigger.load_state_dict(state)
    images = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(started(file, img_size=12)(images), bigger(images))


@torch.no_grad()
def test_a_table_of_another_grid_is_resampled_with_the_rest(tmp_path):
    first = create("rel_bias", **OURS, seed=1).eval()
    names = [name for name, _ in first.blocks[0].attn.named_parameters() if not name.startswith(("qkv", "proj"))]
    torch.nn.init.normal_(first.blocks[0].attn.get_parameter(names[0]))
    save_file(first.state_dict(), tmp_path / "rel_bias.safetensors")
    second = started(str(tmp_path / "rel_bias.safetensors"), "rel_bias", img_size=12)
    first.set_grid((6, 6))
    images = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(second(images), first(images))


@torch.no_grad()
def test_grey_images_and_another_patch_follow_timm(reference, file):
    kernel = reference.patch_embed.proj.weight
    grey = started(file, in_chans=1).patch_embed.proj.weight
    torch.testing.assert_close(grey, timm.models.adapt_input_conv(1, kernel))
    model = started(file, patch_size=4, img_size=16, in_chans=1)
    expected = timm.layers.resample_patch_embed(timm.models.adapt_input_conv(1, kernel), [4, 4])
    torch.testing.assert_close(model.patch_embed.proj.weight, expected)
    assert model(torch.randn(2, 1, 16, 16)).shape == (2, 10)


def test_a_head_for_other_classes_stays_fresh(reference, file):
    model, fresh = started(file, num_classes=7), create("sa", **(OURS | {"num_classes": 7}), seed=5)
    assert torch.equal(model.head.weight, fresh.head.weight)
    assert torch.equal(model.norm.weight, reference.norm.weight)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": "micro"}, "choose --size"),
        ({"class_token": "none"}, "cls_token"),
        ({"pos_embed": "none"}, "pos_embed"),
        ({"mlp_hidden": 96}, "mlp"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(file, settings, words):
    with pytest.raises(ValueError, match=words) as error:
        started(file, **settings)
    assert "\n" not in str(error.value)


def test_weights_of_a_variant_do_not_start_another(tmp_path):
    save_file(create("sp_sa", **OURS).state_dict(), tmp_path / "sp_sa.safetensors")
    with pytest.raises(ValueError, match=r"cannot start sa: it has blocks\.0\.attn\.relation"):
        started(str(tmp_path / "sp_sa.safetensors"))


def test_as_many_patches_of_another_grid_are_refused(tmp_path):
    """4 x 4 patches are as many as 2 x 8: taken as they are, patches would have positions of other rows."""
    save_file(create("sa", **OURS).state_dict(), tmp_path / "square.safetensors")
    with pytest.raises(
        ValueError, match=r"of 16 patches, which may be 4 x 4 or the model's 2 x 8; choose an image size"
    ):
        started(str(tmp_path / "square.safetensors"), img_size=(4, 16))
    assert started(str(tmp_path / "square.safetensors"), img_size=(4, 14)).grid == (2, 7)


def test_numbers_that_are_not_finite_are_refused(reference, tmp_path):
    state = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    state["norm.bias"][3] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match=r"holds numbers in norm\.bias that are not finite"):
        started(str(tmp_path / "nan.safetensors"))


def test_heads_of_timms_model_are_compared(reference, monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: reference)
    with pytest.raises(ValueError, match="has 4 heads a layer and sa 2; choose --num-heads 4"):
        started("timm:vit_tiny_patch16_224", num_heads=2)


def test_only_a_study_that_starts_from_weights_depends_on_how_they_are_read(file, monkeypatch):
    one = experiment(measure=("accuracy",))
    begun = replace(one, study=replace(one.study, init_from=file))
    assert one.key(["sa"]) != begun.key(["sa"])
    before = one.key(["sa"]), begun.key(["sa"])
    true = source.digest

    def changed(modules):
        named = [*modules]
        return true(named) + "changed" * (START in named)

    monkeypatch.setattr(source, "digest", changed)
    assert (one.key(["sa"]) == before[0], begun.key(["sa"]) == before[1]) == (True, False)
    assert START.replace(".", "/") + ".py" not in source.executed("harness.jobs.kinds.training")


def test_timms_names_are_asked_of_timm(reference, monkeypatch):
    asked = []
    monkeypatch.setattr(timm, "create_model", lambda name, **given: asked.append((name, given)) or reference)
    assert torch.equal(started("timm:vit_tiny_patch16_224.augreg_in21k").head.weight, reference.head.weight)
    assert asked == [("vit_tiny_patch16_224.augreg_in21k", {"pretrained": True})]


def test_a_name_that_timm_does_not_have_and_a_hub_that_is_not_reached(monkeypatch):
    with pytest.raises(ValueError, match=r"timm has no model 'vit_tinny'; print its names"):
        started("timm:vit_tinny")

    def unreachable(*_, **__):
        raise OSError("We couldn't connect to the hub\nand more")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(ValueError, match=r"the weights of .* cannot be had: OSError: We couldn't"):
        started("timm:vit_tiny_patch16_224")


def test_a_study_is_known_by_the_contents_of_its_weights_and_not_by_their_place(file, tmp_path):
    def hashed(path):
        return replace(digits(), init_from=str(path)).recipe_hash

    elsewhere, other = tmp_path / "same.safetensors", tmp_path / "other.safetensors"
    elsewhere.write_bytes(Path(file).read_bytes())
    save_file({"head.bias": torch.zeros(10)}, other)
    assert hashed(file) == hashed(elsewhere)
    assert len({hashed(file), hashed(other), digits().recipe_hash, hashed("timm:vit"), hashed("timm:deit")}) == 5
    with pytest.raises(ValueError, match=r"nowhere\.pth cannot be read: No such file or directory; name a"):
        hashed("nowhere.pth")
    with pytest.raises(ValueError, match="leave out one of the two"):
        replace(digits(), init_from=file, match="params")


def test_trainings_of_a_study_start_there(tmp_path):
    body = {"size": "nano", "img_size": 8, "patch_size": 2, "in_chans": 1, "num_classes": 10, "class_token": "none"}
    save_file(create("sa", **body, seed=9).state_dict(), tmp_path / "start.safetensors")
    one = experiment(measure=("accuracy",), init_from=str(tmp_path / "start.safetensors"), class_token="none",
                     spatial_layers=None)  # fmt: skip
    kept = create("sa", **body, seed=9).state_dict()
    for variant in ("sa", "psa"):
        state = one.model(variant, 3).state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in kept.items())
    again = replace(one, study=replace(one.study, init_from=None))
    assert work(one, ["sa"], tmp_path / "a") == work(again, ["sa"], tmp_path / "b") == ["sa seed 0"]
    (first,), (second,) = ([*(tmp_path / name).glob("weights/*.safetensors")] for name in "ab")
    assert first.name != second.name
    assert first.read_bytes() != second.read_bytes()
