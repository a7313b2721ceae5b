"""What every variant says of a new resolution, and that sums and attentions pass it on."""

import pytest

from variants import build, names
from variants.relation import RESOLUTION_RULES, Site, SpatialRelation, resolution_rules

SAYS = {
    "sa": "",
    "sp_sa": "recomputed",
    "sp_sa[form=linear]": "recomputed",
    "sp_sa[combine=add,form=table]": "resampled",
    "psa": "recomputed",
    "gpsa": "recomputed",
    "rpe_1d": "resampled",
    "rpe_1d[mode=bias]": "resampled",
    "rpe_2d": "resampled",
    "rpe_2d[factorized=True]": "resampled",
    "rpe_2d[extent=3]": "clipped",
    "swin": "fixed",
    "cswin": "fixed",
    "window": "fixed",
    "no_content": "",
    "no_content+psa": "recomputed",
    "uniform": "",
    "uniform+swin": "fixed",
    "position_only": "resampled",
    "position_only[extent=3]": "clipped",
    "position_only+swin": "resampled, fixed",
    "swin+rpe_2d[extent=7,mode=bias]": "fixed, clipped",
    "sp_sa+psa+sa": "recomputed",
    "rpe_1d+sp_sa+rpe_2d": "resampled, recomputed",
    "gpsa+swin": "recomputed, fixed",
    "rpe_2d+gpsa": "recomputed, resampled",
}


@pytest.mark.parametrize(("spec", "words"), SAYS.items(), ids=SAYS)
def test_what_each_variant_says(spec, words):
    assert build(spec, 64, 4, grid=(4, 4)).resolution_rule() == words


@pytest.mark.parametrize("name", names())
def test_every_registered_variant_uses_the_words(name):
    words = build(name, 64, 4, grid=(4, 4)).resolution_rule()
    assert not words or set(words.split(", ")) <= RESOLUTION_RULES.keys()


def test_a_relation_is_recomputed_unless_it_says_otherwise_and_the_empty_one_says_nothing():
    class Slope(SpatialRelation):
        def bias(self, offsets):
            return offsets[:1]

    class Row(SpatialRelation):
        def mask(self, qy, qx, ky, kx, grid):
            return qy == ky

    site = Site(4, 16, (4, 4))
    assert SpatialRelation(site).resolution_rule() == ""
    assert Slope(site).resolution_rule() == Row(site).resolution_rule() == "recomputed"


def test_several_words_appear_once_each_in_their_order():
    site = Site(4, 16, (4, 4))

    class Both(SpatialRelation):
        def resolution_rule(self):
            return "clipped, recomputed"

    class Stretched(SpatialRelation):
        def resolution_rule(self):
            return "rescaled"

    assert resolution_rules([Stretched(site), Both(site), SpatialRelation(site), Both(site)]) == (
        "rescaled, clipped, recomputed"
    )
    assert ((Both(site) + Stretched(site)) + Both(site)).resolution_rule() == "clipped, recomputed, rescaled"
