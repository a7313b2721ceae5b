"""What a network says of each cell: its own head there; networks without a map are refused."""

import pytest
import timm
import torch
from torch import nn

from harness.supervision import cells


def network(name, **settings):
    """With norms that do something, as after a training."""
    torch.manual_seed(3)
    model = timm.create_model(name, num_classes=7, in_chans=1, **settings).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.double()


def average_is_the_whole(dense, name):
    model, images = network(name, output_stride=8), torch.randn(2, 1, 32, 48, dtype=torch.float64)
    found = dense(model, images)
    assert found.shape == (2, 7, 4, 6)
    torch.testing.assert_close(found.mean((2, 3)), model(images))


def on_the_features_before_the_last_activation(model, images):
    seen = []
    with model.layer4[-1].act2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone())):
        model(images)
    return torch.einsum("bchw,kc->bkhw", seen[0], model.fc.weight) + model.fc.bias[:, None, None]


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_nfnet"])
def test_the_mean_of_the_cells_is_the_networks_word(name):
    average_is_the_whole(cells.dense, name)


def test_the_head_on_other_features_is_noticed():
    with pytest.raises(AssertionError):
        average_is_the_whole(on_the_features_before_the_last_activation, "test_resnet")


def each_cell_has_its_own(dense):
    """MobileNetV3's head: a pooling, a 1x1 convolution, an activation, a linear layer."""
    model, images = network("mobilenetv3_small_050"), torch.randn(1, 1, 64, 96, dtype=torch.float64)
    found, features = dense(model, images), model.forward_features(images)
    assert found.shape == (1, 7, 2, 3)
    for y in range(2):
        for x in range(3):
            hidden = model.act2(model.conv_head.weight[:, :, 0, 0] @ features[0, :, y, x] + model.conv_head.bias)
            torch.testing.assert_close(found[0, :, y, x], model.classifier(hidden))


def test_each_cell_goes_through_the_whole_head():
    each_cell_has_its_own(cells.dense)


def test_cells_in_another_order_are_noticed():
    with pytest.raises(AssertionError):
        each_cell_has_its_own(lambda *given: cells.dense(*given).flip(3))


def test_the_grid_is_that_of_the_cells():
    assert cells.grid(network("test_resnet", output_stride=8), "test_resnet", 1, 7, (32, 48)) == (4, 6)
    assert cells.grid(network("test_resnet"), "test_resnet", 1, 7, (64, 96)) == (2, 3)


@pytest.mark.parametrize("name", ["test_vit", "test_mambaout", "test_vit3"])
def test_a_network_without_a_map_is_refused(name):
    with pytest.raises(ValueError, match=rf"{name} is no convolutional network with a map .* choose another") as error:
        cells.grid(network(name), name, 1, 7, (32, 32))
    assert "\n" not in str(error.value)
