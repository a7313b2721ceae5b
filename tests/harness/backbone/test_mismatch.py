"""Weights of another model are refused in one sentence, whose remedy works; the model stays as it was."""

import argparse

import pytest
import torch
from safetensors.torch import save_file

from harness.backbone import create
from harness.backbone.mismatch import mismatch
from harness.backbone.weights import load

OWN = {"spec": "sp_sa", "img_size": 8, "patch_size": 2, "in_chans": 1, "num_classes": 10}
PLANTED = {
    "classes": ({"num_classes": 5}, "its head.weight has 5 classes and the model's 10; build .* num_classes=5 and "
                "load it, then give it a new head for 10: model.head = "),
    "image": ({"img_size": 16}, r"its pos_embed is 1x64x64 and the model's 1x16x64: 8x8 patches and 4x4; build the "
              r"model with img_size=16 and load it, then resample .*: model.set_grid\(\(4, 4\)\)"),
    "oblong image": ({"img_size": (8, 10)}, r"its pos_embed is 1x20x64 .*; build the model with the img_size"),
    "patch": ({"patch_size": 4, "img_size": 16}, "its patch_embed.proj.weight has 4 px a patch and the model's 2; .*"
              "patch_size of the weights"),
    "channels": ({"in_chans": 3}, "its patch_embed.proj.weight has 3 channels and the model's 1; .*in_chans"),
    "size": ({"size": "tiny"}, "it has 12 blocks and the model 4; .*size of the weights"),
    "variant": ({"spec": "rpe_2d"}, "it lacks blocks.0.attn.relation.* more; it has blocks.0.attn.relation.tables.0 "
                "and 1 more, which the model has not; build the model with the spec"),
    "position": ({"pos_embed": "none"}, "it lacks pos_embed; build the model with the spec and the settings"),
}  # fmt: skip


def model_of(**other):
    given = OWN | other
    return create(given.pop("spec"), seed=0, **given)


@pytest.mark.parametrize(("other", "says"), PLANTED.values(), ids=PLANTED)
def test_another_models_weights_are_one_sentence_and_change_nothing(tmp_path, other, says):
    model = model_of()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(model_of(**other).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=f"holds the weights of another model than sp_sa: {says}") as found:
        load(model, tmp_path / "other.safetensors")
    assert "\n" not in str(found.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_remedies_work(tmp_path):
    images = torch.randn(2, 1, 8, 8)
    torch.save(model_of(img_size=16).state_dict(), tmp_path / "larger.pth")
    model = model_of(img_size=16)
    load(model, tmp_path / "larger.pth")
    model.set_grid((4, 4))
    assert model.eval()(images).shape == (2, 10)
    assert mismatch(model_of(), model.state_dict()) is None
    torch.save(model_of(num_classes=5).state_dict(), tmp_path / "fewer.pth")
    model = model_of(num_classes=5)
    load(model, tmp_path / "fewer.pth")
    model.head = torch.nn.Linear(model.head.in_features, 10)
    assert model.eval()(images).shape == (2, 10)


def test_tables_of_another_grid_are_named_where_there_is_no_position_embedding(tmp_path):
    torch.save(model_of(spec="rpe_2d", pos_embed="none", img_size=16).state_dict(), tmp_path / "larger.pth")
    with pytest.raises(
        ValueError, match=r"tables.0 is 1x16x15x15 and the model's 1x16x7x7; build .*set_grid\(\(4, 4\)"
    ):
        load(model_of(spec="rpe_2d", pos_embed="none"), tmp_path / "larger.pth")


def test_a_late_class_token_still_absorbs_its_position(tmp_path):
    early, late = model_of(spec="sa", class_token="input"), model_of(spec="sa", class_token="late")
    state = early.state_dict()
    assert mismatch(late, state) is None
    state["pos_embed"] = torch.cat([state["pos_embed"], state["pos_embed"][:, :1]], dim=1)  # two entries too many
    assert "pos_embed" in mismatch(late, state).differs


def test_a_legacy_file_is_read_and_one_that_holds_objects_is_refused(tmp_path):
    source, model = model_of(), create("sp_sa", seed=1, img_size=8, patch_size=2, in_chans=1, num_classes=10)
    torch.save(source.state_dict(), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    load(model, tmp_path / "legacy.pth")
    assert torch.equal(model.head.weight, source.head.weight)
    for legacy in (True, False):
        torch.save({"state_dict": print}, tmp_path / "objects.pth", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(
            ValueError, match=r"it holds Python objects other than tensors.*save the tensors alone"
        ) as e:
            load(model, tmp_path / "objects.pth")
        assert "\n" not in str(e.value)
        assert "written by" not in str(e.value)
        assert "weights_only" not in str(e.value)
    assert "(builtins.print)" in str(e.value)


def test_what_holds_no_tensors_by_name_or_is_cut_off_is_a_sentence(tmp_path):
    model = model_of()
    for content in ([1, 2], {"a": 1}, {"state_dict": argparse.Namespace()}):
        torch.save(content, tmp_path / "odd.pth")
        with pytest.raises(ValueError, match=r"no checkpoint that can be read: it .*holds"):
            load(model, tmp_path / "odd.pth")
    torch.save(model.state_dict(), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "legacy.pth").read_bytes()
    for cut in (0, 4, 3000, len(whole) // 2, len(whole) - 10):
        (tmp_path / "cut.pth").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="no checkpoint that can be read: it is cut off"):
            load(model, tmp_path / "cut.pth")
    with pytest.raises(ValueError, match=r"the checkpoint .* is a folder; name"):
        load(model, tmp_path)
