"""The badge of a variant: how far its plain formula lies from its paper.

It is what `pytest tests/variants/published --badges` last proved: against which oracles, how closely, on which source.
How far a backend lies from the plain formula is harness.measure.timing.gate.
"""

from __future__ import annotations

import hashlib
from typing import Any

from harness.results import provenance, source, store
from variants.registry import parse

BADGES = provenance.ROOT / "results" / "parity" / "badges.jsonl"


def recorded() -> str | None:
    """A digest of the recorded badges; None where there are none."""
    return hashlib.sha256(BADGES.read_bytes()).hexdigest()[:10] if BADGES.exists() else None


def badge(spec: str) -> dict[str, Any]:
    """The proof of a spec's variants against their papers as a fact: the worst difference, and the oracles.

    The value is null, with a note, where one of them has no recorded proof.
    """
    fact: dict[str, Any] = {"metric": "parity", "unit": "1", "backend": "eager", "precision": "float64", "value": None}
    proved = store.load(BADGES) if BADGES.exists() else None
    names = list(dict.fromkeys(part.name for part in parse(spec)))
    missing = [name for name in names if proved is None or name not in set(proved["variant"])]
    if proved is None or missing:
        return fact | {"note": f"no proof against its paper is recorded for {', '.join(missing)}"}
    mine = proved[proved["variant"].isin(names)]
    now = {part.name: source.of_classes([part.cls]) for part in parse(spec)}
    current = all(made == now[name] for name, made in zip(mine["variant"], mine["source_hash"], strict=True))
    proofs = [{"variant": name, **params} for name, params in zip(mine["variant"], mine["params"], strict=True)]
    params = {"proofs": proofs, "proved": min(mine["when"])[:10], "current": current}
    return fact | {"value": float(mine["value"].max()), "n": int(mine["n"].sum()), "params": params}
