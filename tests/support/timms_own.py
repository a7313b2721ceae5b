"""A plug-in of pytest that runs timm's own tests/test_models.py on this project's models alone.

    python -m pytest -p tests.support.timms_own COPY_OF/test_models.py

Its tests ask timm for names when they are imported. Here they are answered with ours wherever timm's ViTs would be
among them: timm's tests of transformers apply, those of models with stages do not. Some tests name a few models of
timm's in full; where these stand for any ViT, or for those with a late class token (ANY), ours take their place. What
remains of timm's models is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch

import pytest
import timm

import harness.backbone.timm_models as registered

NAMES = tuple(timm.list_models(module=registered.__name__.rpartition(".")[2]))
MODULE = "vision_transformer"  # timm's tests list the modules whose models give intermediates
LATE = tuple(name for name in NAMES if "lv_vit" not in name and name.endswith("224"))  # the test has 224 px
ANY = {"test_prune_intermediate_layers_params_used": NAMES, "test_prune_class_token_avg_pool": LATE}


def _words(given: str | Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def names(filter="", module="", pretrained=False, exclude_filters="", **_):
    """As timm.list_models, of our models alone, each also known to the patterns as vit_NAME."""
    wanted, left_out = [word for word in _words(filter) if word], [word for word in _words(exclude_filters) if word]

    def matches(name, patterns):
        return any(fnmatch(known, pattern) for known in (name, f"vit_{name}") for pattern in patterns)

    if pretrained or (module and MODULE not in _words(module)):
        return []
    return [name for name in NAMES if (not wanted or matches(name, wanted)) and not matches(name, left_out)]


timm.list_models, timm.list_pretrained = names, lambda *_, **__: []


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc):
    """Puts our names in the place of those that a test of ANY names in full."""
    if (ours := ANY.get(metafunc.definition.originalname)) is not None:
        metafunc.definition.own_markers[:] = [
            pytest.mark.parametrize("model_name", ours).mark if mark.name == "parametrize" else mark
            for mark in metafunc.definition.own_markers
        ]


def pytest_collection_modifyitems(config, items):
    """Leaves out what runs a model of timm's."""
    ours = [
        item for item in items if getattr(item, "callspec", None) and item.callspec.params.get("model_name") in NAMES
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in ours])
    items[:] = ours
