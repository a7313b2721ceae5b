"""Plain self-attention, the baseline: the empty relation.

    logit = <q_i, k_j> / sqrt(D)

Source: Vaswani et al., arXiv 1706.03762; as in DeiT (Touvron et al., arXiv 2012.12877) and timm. No departures.
"""

from variants.registry import register
from variants.relation import SpatialRelation


@register("sa", family=("baseline", "paper"))
class SelfAttention(SpatialRelation):
    """No prior, no bias, no mask."""

    equation = "logit = <q_i, k_j> / sqrt(D)"
    source = "ViT, DeiT; Vaswani et al., arXiv 1706.03762"
