"""Errors on purpose: each function plants one into the running code, by pytest's monkeypatch."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from variants import backends, geometry
from variants.attention import Attention
from variants.relation import SpatialRelation


def _offsets(change):
    def plant(monkeypatch):
        true = geometry.offsets
        monkeypatch.setattr(geometry, "offsets", lambda *args: change(true(*args)))

    return plant


def _table(change):
    def plant(monkeypatch):
        for name in ("windows", "to_pairs"):
            true = getattr(geometry, name)
            monkeypatch.setattr(geometry, name, lambda table, *place, true=true: true(change(table), *place))

    return plant


def _projected(change):
    def plant(monkeypatch):
        true = Attention.project
        monkeypatch.setattr(Attention, "project", lambda self, x, grid: change(*true(self, x, grid)))

    return plant


def _eager(change):
    """Another plain formula: change(logits, v, terms) -> out."""

    def plant(monkeypatch):
        def eager(q, k, v, terms):
            return change(backends.eager.logits(q, k, terms), v, terms)

        monkeypatch.setitem(backends.BACKENDS, "eager", eager)

    return plant


def _term(name, value):
    def plant(monkeypatch):
        true = SpatialRelation.terms

        def terms(self, *args):
            found = true(self, *args)
            object.__setattr__(found, name, value)
            return found

        monkeypatch.setattr(SpatialRelation, "terms", terms)

    return plant


def class_token_not_neutral(monkeypatch):
    true = geometry.pad_prefix
    monkeypatch.setattr(geometry, "pad_prefix", lambda pairs, p, neutral, *q: true(pairs, p, neutral + 0.5, *q))


def class_token_cut_off(monkeypatch):
    def cut(mask, prefix):
        padded = F.pad(mask, (prefix, 0, prefix, 0), value=False)
        return padded | torch.eye(padded.shape[-1], dtype=torch.bool)

    monkeypatch.setattr(backends.eager, "pad_kept", cut)


IN_THE_OFFSETS = {
    "axes swapped": _offsets(lambda at: at.flip(0)),
    "sign flipped": _offsets(lambda at: -at),
    "rows flipped": _offsets(lambda at: at * torch.tensor([-1.0, 1.0]).view(2, 1, 1).to(at)),
    "off by one": _offsets(lambda at: at + 1),
    "in units of the grid": _offsets(lambda at: at / at.shape[1]),
}

IN_THE_TABLE = {
    "axes of the table swapped": _table(lambda t: t.mT),
    "table read query minus key": _table(lambda t: t.flip(-2, -1)),
    "columns of the table flipped": _table(lambda t: t.flip(-1)),
    "table off by one row": _table(lambda t: t.roll(1, -2)),
    "table off by one column": _table(lambda t: t.roll(1, -1)),
    "heads of the table rolled": _table(lambda t: t.roll(1, 0) if t.dim() == 3 else t.roll(1, 1)),
}

IN_THE_ATTENTION = {
    "scale forgotten": _projected(lambda q, k, v: (q * q.shape[-1] ** 0.5, k, v)),
    "scaled twice": _projected(lambda q, k, v: (q * q.shape[-1] ** -0.5, k, v)),
    "scaled by the model width": _projected(lambda q, k, v: (q * q.shape[1] ** -0.5, k, v)),
    "query and key exchanged": _projected(lambda q, k, v: (k, q, v)),
    "key and value exchanged": _projected(lambda q, k, v: (q, v, k)),
    "heads exchanged in the value": _projected(lambda q, k, v: (q, k, v.flip(1))),
}

IN_THE_SOFTMAX = {
    "softmax over the queries": _eager(
        lambda s, v, terms: backends.eager.apply(s.softmax(dim=-2).nan_to_num(), v, terms),
    ),
    "softmax over the heads": _eager(
        lambda s, v, terms: backends.eager.apply(s.softmax(dim=1).nan_to_num(), v, terms),
    ),
    "no softmax": _eager(
        lambda s, v, terms: backends.eager.apply(s.masked_fill(s == -torch.inf, 0.0), v, terms),
    ),
    "attention map transposed": _eager(lambda s, v, terms: backends.eager.apply(s.softmax(dim=-1).mT, v, terms)),
}

DROPPED = {f"no {name}": _term(name, ()) for name in ("prior", "bias", "keys", "values")}
DROPPED |= {f"no {name}": _term(name, None) for name in ("kept", "groups")}
