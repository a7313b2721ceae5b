"""Controls by size: the baseline with wider MLPs, until it has a variant's parameters or GMACs.

A variant that is more accurate than the baseline may be so because it is larger; the baseline made as large answers.
Its shared weights have other shapes, so it is paired with the others by its batches and not by its initial weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.jobs.experiment import Bench

WORDS = {"params": "as large as", "gmac": "as costly as"}


@dataclass(frozen=True)
class Arm:
    """What a model is built from: a spec, and the hidden width of its MLPs, None for the size's own."""

    spec: str
    mlp_hidden: int | None = None


def widened(bench: Bench, variants: list[str]) -> dict[str, Arm]:
    """A widened baseline for each variant that has more than it: "sa as large as sp_sa" -> its arm.

    A variant that has no more, to within that, has the baseline itself for its control.
    Parameters and GMACs are linear in the hidden width, so two models tell the width; it is exact to within half of
    what one hidden unit in every layer costs.
    """
    from harness.backbone.sizes import size_of
    from harness.backbone.vit import create
    from harness.measure.cost import count, params

    study, match = bench.study, bench.study.match
    if match is None:
        return {}
    own = size_of(study.size).hidden

    def cost(spec: str, hidden: int) -> float:
        model = create(
            spec, size=study.size, img_size=bench.image, patch_size=study.patch_size, in_chans=bench.data.channels,
            num_classes=len(bench.data.classes), num_heads=study.num_heads, class_token=study.class_token,
            spatial_layers=study.spatial_layers, pos_embed=study.pos_embed, mlp_hidden=hidden, backend="eager", seed=0,
        )  # fmt: skip
        return params(model) if match == "params" else count(model, bench.batch(1, bench.image)[0].cpu())

    base, more = cost(study.baseline, own), cost(study.baseline, own + 1)
    found = {}
    for variant in variants:
        hidden = own + round((cost(variant, own) - base) / (more - base))
        if hidden > own:
            found[f"{study.baseline} {WORDS[match]} {variant}"] = Arm(study.baseline, hidden)
    return found
