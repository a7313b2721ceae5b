"""Controls by size: the baseline with wider MLPs, until it has a variant's parameters or GMACs.

A variant that is more accurate than the baseline may be so because it is larger; the baseline made as large answers.
Its shared weights have other shapes, so it is paired with the others by its batches and not by its initial weights.
"""

from __future__ import annotations

from harness.jobs.experiment import Experiment, ModelSpec

WORDS = {"params": "as large as", "gmac": "as costly as"}


def widened(experiment: Experiment, variants: list[str]) -> dict[str, ModelSpec]:
    """A widened baseline for each variant that has more than it: "sa as large as sp_sa" -> its model.

    Variants no larger than the baseline get no widened control.
    Parameters and GMACs are linear in the hidden width, so two models tell the width; it is exact to within half of
    what one hidden unit in every layer costs.
    """
    from harness.backbone.sizes import size_of
    from harness.backbone.vit import create
    from harness.measure.cost import count, params

    study, match, data = experiment.study, experiment.study.match, experiment.data
    if match is None:
        return {}
    own = size_of(study.size).hidden

    def cost(spec: str, hidden: int) -> float:
        model = create(
            spec, size=study.size, img_size=experiment.image, patch_size=study.patch_size, in_chans=data.channels,
            num_classes=len(data.classes), num_heads=study.num_heads, class_token=study.class_token,
            spatial_layers=study.spatial_layers, pos_embed=study.pos_embed, mlp_hidden=hidden, backend="eager", seed=0,
        )  # fmt: skip
        return params(model) if match == "params" else count(model, experiment.batch(1, experiment.image)[0].cpu())

    base, more = cost(study.baseline, own), cost(study.baseline, own + 1)
    found = {}
    for variant in variants:
        hidden = own + round((cost(variant, own) - base) / (more - base))
        if hidden > own:
            found[f"{study.baseline} {WORDS[match]} {variant}"] = ModelSpec(study.baseline, hidden)
    return found
