"""The specimens: spatial biases for Vision Transformers that plug into one attention.

from variants import build
attention = build("sp_sa[hidden=16]", dim=384, num_heads=6, grid=(14, 14))
y = attention(x, grid=(14, 14))                                         # x, y [B, P+196, 384]
"""

from variants import sa, sp_sa, psa, rpe, windows, controls  # noqa: I001  (the order in which they are listed)
from variants import irpe, decomposed, rope, neighborhood, lepe
from variants import rel_bias, levit, crossformer, log_cpb, t5, alibi, kerple, fire, gaussian, lookhere, cosine
from variants.adapt import adapt
from variants.attention import Attention, keep_terms
from variants.fold import fold
from variants.geometry import offsets
from variants.registry import build, canonical, families, names, register
from variants.relation import Site, SpatialRelation, Unsupported

__all__ = [
    "Attention", "Site", "SpatialRelation", "Unsupported", "adapt", "alibi", "build", "canonical", "controls",
    "cosine", "crossformer", "decomposed", "families", "fire", "fold", "gaussian", "irpe", "keep_terms", "kerple",
    "lepe", "levit", "log_cpb", "lookhere", "names", "neighborhood", "offsets", "psa", "register", "rel_bias", "rope",
    "rpe", "sa", "sp_sa", "t5", "windows",
]  # fmt: skip
