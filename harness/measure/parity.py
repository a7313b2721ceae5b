"""Parity: how far a backend lies from the plain formula, and the plain formula from its paper.

The first is measured in every run, and no speed is recorded on a red gate. The second is the badge of a variant: what
`pytest tests/published --badges` last proved, against which oracles, how closely, on which source.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from harness import origin, results
from harness.measure.cost import eager
from variants.registry import parse

BADGES = origin.ROOT / "results" / "parity" / "badges.jsonl"
GATE = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 5e-3}


@torch.no_grad()
def parity(model: nn.Module, images: Tensor) -> float:
    """The largest difference of the logits from eager's, over the largest logit of eager's."""
    model.eval()
    found = model(images)
    with eager(model):
        truth = model(images)
    return float((found - truth).abs().max() / truth.abs().max())


def recorded() -> str | None:
    """A digest of the recorded badges; None where there are none."""
    return hashlib.sha256(BADGES.read_bytes()).hexdigest()[:10] if BADGES.exists() else None


def badge(spec: str) -> dict[str, Any]:
    """The proof of a spec's variants against their papers as a fact: the worst difference, and the oracles.

    The value is null, with a note, where one of them has no recorded proof.
    """
    fact: dict[str, Any] = {"metric": "parity", "unit": "1", "backend": "eager", "precision": "float64", "value": None}
    proved = results.load(BADGES) if BADGES.exists() else None
    names = list(dict.fromkeys(part.name for part in parse(spec)))
    missing = [name for name in names if proved is None or name not in set(proved["variant"])]
    if proved is None or missing:
        return fact | {"note": f"no proof against its paper is recorded for {', '.join(missing)}"}
    mine = proved[proved["variant"].isin(names)]
    current = set(mine["source_hash"]) == {origin.source_hash(origin.VARIANTS)}
    when = f"proved {min(mine['when'])[:10]} on {'this' if current else 'an earlier'} source"
    note = "; ".join([*mine["note"], when])
    return fact | {"value": float(mine["value"].max()), "n": int(mine["n"].sum()), "note": note}
