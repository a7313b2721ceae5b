"""crossformer: vit-pytorch's DynamicPositionBias head by head; errors on purpose; how it starts."""

import pytest
import torch

from variants import build, geometry

from .agreement import SQUARE, WIDE, WIDTH, agree, agrees_with_equation, at, drawn, on, rejected
from .initial import is_normal, layer


def agrees_with_vit_pytorch(grid, hidden=5, sign=-1.0, swap=False):
    """It has one head and a last bias, and is read at query minus key."""
    crossformer = pytest.importorskip("vit_pytorch.crossformer", reason="vit-pytorch is not installed")
    attention = drawn(f"crossformer[hidden={hidden}]", grid)
    mlp = attention.relation.mlp
    h, w = grid
    places = geometry.offsets(grid, dtype=torch.float64)
    terms = attention.terms(torch.zeros(1, 1, 1, dtype=torch.float64), grid)
    for head in range(4):
        other = crossformer.DynamicPositionBias(hidden).double()
        state = {name: p.detach().clone() for name, p in mlp.state_dict().items()}
        state["0.weight"] *= sign
        state["9.weight"], state["9.bias"] = state["9.weight"][head : head + 1], torch.tensor([0.25])
        other.load_state_dict(state)
        at_offsets = -(places.flip(0) if swap else places)
        expected = other(at_offsets.movedim(0, -1)) - 0.25
        assert expected.shape == (2 * h - 1, 2 * w - 1)
        agree(terms.bias[0][head], expected)


@pytest.mark.proof("vit-pytorch's DynamicPositionBias", "crossformer")
@on(SQUARE, WIDE)
def test_crossformer_equals_vit_pytorchs_head_by_head(grid):
    agrees_with_vit_pytorch(grid)
    agrees_with_vit_pytorch(grid, hidden=16)


def test_vit_pytorchs_rejects_the_other_sign_and_axes_swapped():
    with rejected():
        agrees_with_vit_pytorch(WIDE, sign=1.0)
    with rejected():
        agrees_with_vit_pytorch(SQUARE, swap=True)


@pytest.mark.parametrize("module", [torch.nn.LayerNorm, torch.nn.ReLU])
def test_an_mlp_without_its_norms_or_bends_is_rejected(module, monkeypatch):
    monkeypatch.setattr(module, "forward", lambda self, x: x)
    with rejected():
        agrees_with_equation("crossformer[hidden=4]", SQUARE)


def test_it_starts_normal_with_biases_of_0_and_no_last_one():
    mlp = layer("crossformer[hidden=200]").relation.mlp
    for n in (3, 6, 9):
        is_normal(mlp[n].weight, 0.02)
    assert not any(mlp[n].bias.any() for n in (0, 3, 6))
    assert mlp[9].bias is None


@at("width", 64, 384)
def test_its_width_is_a_sixteenth_of_the_models_but_at_least_eight(width):
    relation = build("crossformer", width, 4, grid=WIDE).relation
    assert relation.mlp[0].out_features == max(8, width // 16)
    eight = build("crossformer[hidden=4]", width, 4, grid=WIDE).relation  # as many units as heads
    assert eight.mlp[9].bias is None
    assert eight.mlp[3].bias is not None


def test_a_hidden_layer_of_one_unit_is_a_sentence():
    with pytest.raises(ValueError, match="leaves a LayerNorm nothing"):
        build("crossformer[hidden=1]", WIDTH, 4, grid=WIDE)
