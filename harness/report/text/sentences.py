"""The sentences that a page makes of a row's `params`, each in one place; "" where the params say no such thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.text.formatting import listing, tick

Params = Mapping[str, Any]
BODIES = {"published": "the class token from the input on, every layer spatial", "own": "the size's own body"}


def at_another_resolution(variant: str, params: Params) -> str:
    """ "sp_sa recomputed; position embedding resampled": what is done to a model at a resolution not trained at."""
    rule, position = params.get("rule"), params.get("position")
    parts = [f"{variant} {rule}" if rule else "", f"position embedding {position}" if position else ""]
    return "; ".join(filter(None, parts))


def pairing(params: Params) -> str:
    """How a widened baseline is paired."""
    wide = params.get("mlp_hidden")
    return f"paired by data only: its MLPs are {wide} wide" if wide else ""


def at_places(params: Params) -> str:
    """ " at 3 places each": how often a test image was shown, each time elsewhere on its canvas."""
    return f" at {params['places']} places each" if params.get("places", 1) != 1 else ""


def one_model(same_as: Sequence[str], baseline: str) -> str:
    """That a variant is the same model as others: one comparison with them, and none where the baseline is one."""
    if not same_as:
        return ""
    counted = "it is no comparison" if baseline in same_as else "they are one comparison"
    return f"It has the same numbers as {listing(list(same_as))} in every seed and epoch: {counted}."


def proof(params: Params) -> str:
    """ "sp_sa: the equation by loops (within 1e-09); proved 2026-11-25 on this source"."""
    if not params.get("proofs"):
        return ""
    proofs = [f"{one['variant']}: {oracles(one['oracles'])}" for one in params["proofs"]]
    source = "this" if params.get("current") else "an earlier"
    return "; ".join([*proofs, f"proved {params.get('proved')} on {source} source"])


def oracles(found: Mapping[str, float]) -> str:
    """ "the equation by loops (within 1e-09); timm's Attention (within 1e-09)": what a variant was proved against."""
    return "; ".join(f"{oracle} (within {within:g})" for oracle, within in found.items())


def spared(params: Params) -> str:
    """Which parameters the recipe does not decay."""
    if "spared" not in params:
        return ""
    return (
        "beside all 1-D parameters, pos_embed and cls_token: "
        f"{', '.join(params['spared']) or 'none of the attention'}"
    )  # fmt: skip


def body(params: Params) -> str:
    """Around which body an attention as published was built."""
    return f"as published: {BODIES[params['body']]}" if params.get("body") in BODIES else ""


def mask(params: Params) -> str:
    """ "by mass, prior 1": how a prior was made binary."""
    return ", ".join(
        filter(None, [f"by {params['by']}" if params["by"] else "", "prior 1" if params["ones"] else "prior inside"])
    )


def part(params: Params, names: tuple[str, ...]) -> tuple[str, ...]:
    """What tells two numbers of one metric apart, each as a heading says it: ("Noise", "severity 2")."""
    said = [(name, params[name]) for name in names if params.get(name) is not None]
    return tuple(
        f"{name} {tick(value)}" if isinstance(value, int | float) else f"{value}"[:1].upper() + f"{value}"[1:]
        for name, value in said
    )
