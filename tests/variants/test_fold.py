"""fold: a copy with the same logits, in which no relation has a parameter."""

import copy
import io

import pytest
import timm
import torch
from torch import nn

import variants
from harness.backbone import create
from variants import Unsupported, adapt, fold
from variants.attention import Attention
from variants.fold import Table

SUMS = ["swin+log_cpb+cosine", "cswin+lepe", "gpsa+window", "irpe[on=qkv]", "rpe_2d[factorized=True,values=True]",
        "sp_sa[scope=network]", "sp_sa+rel_bias+rel_bias[init=beit]"]  # fmt: skip


def model(spec, **changed):
    """Two layers with random weights everywhere, a class token, patches in a 3x5 grid."""
    torch.manual_seed(0)
    made = create(spec, size="micro", img_size=(12, 20), patch_size=4, num_classes=5, class_token="input", **changed)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.eval()


def agrees(trained, x):
    """The folded copy, once it was seen to give the same logits."""
    folded = fold(trained)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), trained(x), rtol=1e-5, atol=1e-5)
    return folded


@pytest.mark.parametrize("spec", [*variants.names(), *SUMS])
def test_the_logits_stay_and_no_relation_has_a_parameter(spec):
    trained, x = model(spec, num_heads=4), torch.randn(2, 3, 12, 20)
    folded = agrees(trained, x)
    layers = [layer for layer in folded.modules() if isinstance(layer, Attention)]
    assert layers
    for layer in layers:
        assert {name for name, _ in layer.named_parameters()} <= {
            "qkv.weight", "qkv.bias", "proj.weight", "proj.bias"
        }  # fmt: skip
    other = fold(model(spec, num_heads=4))
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(folded.state_dict())
    assert torch.equal(other(x), folded(x))


@pytest.mark.parametrize("term", ["prior", "bias", "keys", "values"])
def test_a_table_of_another_model_is_seen(term, monkeypatch):
    spec = {"prior": "sp_sa", "bias": "log_cpb", "keys": "rpe_2d", "values": "rpe_2d[values=True]"}[term]
    true = Table.terms

    def wrong(self, *args):
        found = true(self, *args)
        return type(found)(**{**vars(found), term: tuple(table.flip(-1) for table in getattr(found, term))})

    x = torch.randn(2, 3, 12, 20)
    agrees(model(spec), x)
    monkeypatch.setattr(Table, "terms", wrong)
    with pytest.raises(AssertionError, match="not close"):
        agrees(model(spec), x)


def test_windows_that_are_forgotten_are_seen(monkeypatch):
    monkeypatch.setattr(Table, "fixed", lambda self, grid, device: (None, None))
    with pytest.raises(AssertionError, match="not close"):
        agrees(model("cswin"), torch.randn(2, 3, 12, 20))


def test_the_trained_model_is_left_alone():
    trained, x = model("sp_sa"), torch.randn(2, 3, 12, 20)
    before = copy.deepcopy(trained.state_dict())
    folded = fold(trained)
    after = folded(x)
    for parameter in trained.parameters():
        nn.init.normal_(parameter)
    assert torch.equal(folded(x), after)
    assert set(before) == set(trained.state_dict())


def test_another_grid_is_refused_and_can_be_asked_for():
    trained, wide = model("log_cpb"), torch.randn(2, 3, 16, 24)
    with pytest.raises(Unsupported, match=r"folded for a 3x5 grid, not 4x6; fold\(model, grid=\(4, 6\)\)"):
        fold(trained)(wide)
    torch.testing.assert_close(fold(trained, grid=(4, 6))(wide), trained(wide))
    moved = model("rel_bias")
    moved.set_grid((4, 6))
    torch.testing.assert_close(fold(moved)(wide), moved(wide))


def test_an_adapted_model_folds():
    host = timm.create_model("eva02_tiny_patch14_224", img_size=56, depth=2, embed_dim=32, num_heads=4, num_classes=5)
    for parameter in host.parameters():
        nn.init.normal_(parameter, std=0.3)
    trained = adapt(host.eval(), "sp_sa", layers=1)
    for name, parameter in trained.named_parameters():
        if ".spatial." in name:
            nn.init.normal_(parameter)
    folded = agrees(trained, torch.randn(2, 3, 56, 56))
    assert not [name for name, _ in folded.named_parameters() if ".spatial." in name]
    assert "blocks.0.attn.spatial.relation.prior_table" in folded.state_dict()


def test_what_holds_no_variant_is_refused():
    with pytest.raises(ValueError, match="Linear holds no attention of a variant; give a model of"):
        fold(nn.Linear(2, 2))


def test_half_precision():
    trained = model("sp_sa").bfloat16()
    x = torch.randn(2, 3, 12, 20).bfloat16()
    torch.testing.assert_close(fold(trained)(x), trained(x))
    torch.testing.assert_close(fold(model("sp_sa")).bfloat16()(x), trained(x), rtol=0.05, atol=0.05)


@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
def test_a_folded_model_is_an_onnx_file_for_any_batch():
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    folded, file = fold(model("sp_sa")), io.BytesIO()
    example = (torch.randn(2, 3, 12, 20),)
    torch.onnx.export(folded, example, dynamo=True, dynamic_shapes=({0: "batch"},), verbose=False).save(file)
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        x = torch.randn(batch, 3, 12, 20)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), folded(x), rtol=1e-4, atol=1e-4)
