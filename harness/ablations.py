"""The paper's ablations (arXiv 2206.07662), each a function of a study that varies one factor of it. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import isqrt
from typing import Any

from harness.backbone.sizes import size_of
from harness.jobs.study import Study


def layers(study: Study) -> Study:
    """How many leading layers are spatial, the class token joining after them; 10 of 12 was the paper's best."""
    depth = _deep(study)
    few = tuple(range(1, depth)) if depth <= 6 else (*range(depth - 6, depth, 2), depth - 1)
    return replace(study, variants="sp_sa", class_token="late", vary=("spatial_layers", few))


def token(study: Study) -> Study:
    """The class token late, from the input on, or none (average pool), the spatial layers being the same."""
    _deep(study)
    layers = size_of(study.size).spatial_layers("late")
    return replace(study, variants="sp_sa", spatial_layers=layers, vary=("class_token", ("late", "input", "none")))


def _deep(study: Study) -> int:
    """The layers of the body. Raises ValueError where so few leave no spatial one before the two plain ones."""
    depth = size_of(study.size).depth
    if depth < 4:
        raise ValueError(f"the body {study.size} has {depth} layers, too few to vary how many are spatial or where the "
                         f"class token joins; choose a preset with a deeper one, as digits")  # fmt: skip
    return depth


def relations(study: Study) -> Study:
    """SP-SA against PSA and relative position embeddings, contextual and as biases."""
    heads = study.num_heads or size_of(study.size).num_heads
    quadratic = "psa" if isqrt(heads) ** 2 == heads else "psa[init=normal]"  # its local start wants a square of heads
    return replace(study, variants=f"sp_sa,{quadratic},rpe_1d,rpe_2d,rpe_1d[mode=bias],rpe_2d[mode=bias]")


def varied(**factors: Any) -> Callable[[Study], Study]:
    """An ablation that sets the same factors in every study."""
    return partial(replace, **factors)


ABLATIONS: dict[str, Callable[[Study], Study]] = {
    "layers": layers,
    "token": token,
    # the hidden width of the prior's MLP; the paper found 32 best
    "hidden": varied(variants="sp_sa[hidden=16],sp_sa,sp_sa[hidden=64]"),
    # one prior for each head of each layer, for each layer, for the whole network
    "scope": varied(variants="sp_sa,sp_sa[scope=layer],sp_sa[scope=network]"),
    # the function of the offset: an MLP, a linear map, a free table
    "form": varied(variants="sp_sa,sp_sa[form=linear],sp_sa[form=table]"),
    # the prior multiplied with the score or added to it
    "combine": varied(variants="sp_sa,sp_sa[combine=add]"),
    "relations": relations,
    # each bias with and without a position embedding, on which its gain depends (iRPE, arXiv 2107.14222)
    "position": varied(variants="paper", vary=("pos_embed", ("learned", "none"))),
}
