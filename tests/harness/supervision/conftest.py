"""timm:colours is a pretrained model of timm's: the network whose word is known by hand; no test downloads anything."""

from types import SimpleNamespace

import pytest
import timm

from harness.supervision import teacher
from tests.support.teachers import MEAN, STD, Colours


@pytest.fixture
def pretrained(monkeypatch):
    """What timm is said to know of its weights, which a test may change."""
    told = SimpleNamespace(
        input_size=(3, 4, 4), test_input_size=(3, 8, 16), num_classes=3, mean=MEAN, std=STD, has_weights=True
    )
    known = SimpleNamespace(
        is_model=lambda name: name == "colours" or timm.is_model(name),
        get_pretrained_cfg=lambda name: told if name == "colours" else timm.get_pretrained_cfg(name),
        create_model=lambda name, pretrained: Colours(),
    )
    monkeypatch.setattr(teacher, "timm", known)
    return told
