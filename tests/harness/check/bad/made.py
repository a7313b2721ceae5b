"""How the bad layers are made: a class from a few methods; none is registered until a test does so."""

from __future__ import annotations

import torch
from torch import nn

from variants import Attention, SpatialRelation


def relation(**methods):
    """A SpatialRelation of these methods; `init` is called after its __init__."""
    init = methods.pop("init", lambda self, site: None)

    def __init__(self, site):
        SpatialRelation.__init__(self, site)
        init(self, site)

    return type("Bad", (SpatialRelation,), {"__init__": __init__, **methods})


def attention(**methods):
    """An Attention of these methods; `init` is called after its __init__."""
    init = methods.pop("init", lambda self, site: None)

    def __init__(self, *parts, backend="auto"):
        Attention.__init__(self, *parts, backend=backend)
        init(self, parts[0])

    return type("Bad", (Attention,), {"__init__": __init__, **methods})


def parameter(name, *shape, value=0.5):
    """An init that gives the module a parameter."""
    return lambda self, site: setattr(self, name, nn.Parameter(torch.full(shape, value)))


def _offset(self, offsets):
    return offsets[:1]
